"""Operators that onnxruntime can't run: its CPU provider has no kernel for them in some precision.

Measured with onnxruntime 1.32: bfloat16 has a kernel for Cast and hardly another; float64 has them for dense
layers and elementwise functions, not for Conv, AveragePool, GlobalAveragePool, Erf or Resize; what float16
lacks is computed in float32 without a word. So a float64 network with a convolution becomes float32, unless
float64 was asked for.
"""

from __future__ import annotations

import re

import onnx_ir as ir

from cnntk.exporters.capture import capture
from cnntk.exporters.options import Dtype
from cnntk.exporters.session import GraphSession
from cnntk.exporters.shapes.dataflow import node_origin
from cnntk.exporters.source import Source
from cnntk.exporters.sources.precision import cast_source, weight_dtypes
from cnntk.runtime.errors import CaptureError, InferenceError
from cnntk.runtime.session.devices import import_onnxruntime

_MISSING = re.compile(r"implementation for (?P<op>\w+)\(\d+\) node with name '(?P<node>[^']*)'")
_MISTYPED = re.compile(r"of operator \((?P<op>\w+)\) in node \((?P<node>[^)]*)\) is invalid")


def ensure_runnable(source: Source, dtype: Dtype) -> Source:
    """``source``, or ``source`` in float32 where it is in float64 and onnxruntime can't run that.

    Args:
        source: Source as it was opened.
        dtype: Type that the user wants; only with ``auto`` the source's type changes.

    Raises:
        CaptureError: torch can't capture the source.
    """
    if dtype != "auto" or source.module is None or "float64" not in weight_dtypes(source):
        return source
    model = capture(source).model
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
    """Description of the missing kernel; None where ``error`` has another cause."""
    match = _MISSING.search(str(error)) or _MISTYPED.search(str(error))
    if match is None:
        return None
    # Operators that onnxruntime decomposes get new names: then it is the first node of a rare type.
    rare = (
        n for n in model.graph for v in n.outputs if v.dtype in (ir.DataType.BFLOAT16, ir.DataType.DOUBLE)
    )
    node = next((n for n in model.graph if n.name == match["node"]), None) or next(rare, None)
    kind = f"{_type_of(node)} " if node is not None else ""
    op = match["op"] if node is None else node_origin(node)
    return f"onnxruntime {import_onnxruntime().__version__} has no {kind}kernel on the CPU for {op}"


def _type_of(node: ir.Node) -> str:
    types = (v.dtype for v in (*node.outputs, *node.inputs) if v is not None and v.dtype is not None)
    return next((t.numpy().name for t in types if t.is_floating_point()), "such")


def unsupported_op_error(source: Source, model: ir.Model, error: InferenceError) -> Exception:
    """The error to raise where onnxruntime can't run a captured graph: ``error``, or one with advice."""
    missing = missing_kernel(model, error)
    if missing is None:
        return error
    if source.module is None:
        advice = "capture the module again in float32" if source.program else "export it again in float32"
    elif weight_dtypes(source) <= {"float32"}:
        advice = "its weights are float32, so its code converts to that type: remove that conversion"
    else:
        advice = "export it with --dtype float32"
    return CaptureError(f"{source.name}: {missing}; {advice}. Nothing was written")
