"""What onnxruntime can't run: an operator in a precision for which its CPU provider has no kernel.

Measured with onnxruntime 1.32: bfloat16 has a kernel for Cast and hardly another; float64 has them for dense
layers and elementwise functions, not for Conv, AveragePool, GlobalAveragePool, Erf or Resize; what float16
lacks is computed in float32 without a word. So a float64 network with a convolution becomes float32, unless
float64 was asked for.
"""

from __future__ import annotations

import re
from pathlib import Path

import onnx_ir as ir

from cnntk.exporters.capture import capture
from cnntk.exporters.checks.check import blame
from cnntk.exporters.session import GraphSession
from cnntk.exporters.source import Dtype, Source
from cnntk.exporters.sources.precision import cast_source, weight_dtypes
from cnntk.runtime.errors import CaptureError, InferenceError
from cnntk.runtime.session.devices import import_onnxruntime

__all__ = ["missing_kernel", "runnable", "unrunnable"]

_MISSING = re.compile(r"implementation for (?P<op>\w+)\(\d+\) node with name '(?P<node>[^']*)'")
_MISTYPED = re.compile(r"of operator \((?P<op>\w+)\) in node \((?P<node>[^)]*)\) is invalid")


def runnable(source: Source, dtype: Dtype, folder: Path | None = None) -> Source:
    """``source``, or where it is in float64 and onnxruntime can't run that, ``source`` in float32.

    Args:
        source: as it was opened.
        dtype: as asked for; only ``auto`` lets it change.
        folder: for torch's report on a failure.

    Raises:
        CaptureError: torch can't capture it.
    """
    if dtype != "auto" or source.module is None or "float64" not in weight_dtypes(source):
        return source
    model = capture(source, folder).model
    try:
        GraphSession(model)
    except InferenceError as error:
        if (missing := missing_kernel(model, error)) is not None:
            note = (
                f"{missing}: the file holds the network in float32, each of its float64 weights rounded once"
            )
            return cast_source(source, "float32", note)
    return source


def missing_kernel(model: ir.Model, error: InferenceError) -> str | None:
    """Which kernel is missing, for people; None where ``error`` is about something else."""
    found = _MISSING.search(str(error)) or _MISTYPED.search(str(error))
    if found is None:
        return None
    # What onnxruntime takes apart itself bears names of its own: then it is the first node of a rare type.
    rare = (
        n for n in model.graph for v in n.outputs if v.dtype in (ir.DataType.BFLOAT16, ir.DataType.DOUBLE)
    )
    node = next((n for n in model.graph if n.name == found["node"]), None) or next(rare, None)
    kind = f"{_type_of(node)} " if node is not None else ""
    what = found["op"] if node is None else blame(node)
    return f"onnxruntime {import_onnxruntime().__version__} has no {kind}kernel on the CPU for {what}"


def _type_of(node: ir.Node) -> str:
    types = (v.dtype for v in (*node.outputs, *node.inputs) if v is not None and v.dtype is not None)
    return next((t.numpy().name for t in types if t.is_floating_point()), "such")


def unrunnable(source: Source, model: ir.Model, error: InferenceError) -> Exception:
    """What to raise where onnxruntime refuses a captured graph: ``error``, or in better words."""
    missing = missing_kernel(model, error)
    if missing is None:
        return error
    if source.module is None:
        advice = "capture the module again in float32" if source.program else "export it again in float32"
    elif weight_dtypes(source) <= {"float32"}:
        advice = "its weights are float32, so it converts to that type itself: take that out of its code"
    else:
        advice = "export it with --dtype float32"
    return CaptureError(f"{source.name}: {missing}; {advice}. Nothing was written")
