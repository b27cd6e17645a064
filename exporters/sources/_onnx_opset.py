"""The opset of somebody's ONNX graph: older ones are converted upward, where that keeps what they compute."""

from __future__ import annotations

from collections.abc import Sequence

import onnx_ir as ir
from onnx_ir.passes.common import ShapeInferencePass
from onnxscript.version_converter import ConvertVersionPass

from cnntk.exporters.passes import deterministic
from cnntk.exporters.passes.graph import opset
from cnntk.exporters.passes.run import compare_graphs, sensitivity
from cnntk.exporters.session import Arrays, GraphSession
from cnntk.exporters.sources.console import suppress_output
from cnntk.models.user_errors import one_line
from cnntk.runtime.errors import InferenceError

OPSET = 18
"""Oldest opset whose operators can preprocess images (Resize with antialias)."""


def convert_opset(model: ir.Model, images: Sequence[Arrays]) -> tuple[ir.Model, tuple[str, ...]]:
    """Converts a graph of an older opset to `OPSET`.

    Args:
        model: Graph of a foreign file; it is not changed.
        images: Inputs, one image each, on which both graphs have to agree.

    Returns:
        The converted graph, or ``model`` where the conversion fails or changes outputs by more than rounding;
        and notes for the user.
    """
    version = opset(model)
    if not 0 < version < OPSET:
        return model, ()
    converted = model.clone()
    try:
        with suppress_output():
            ConvertVersionPass(OPSET, fallback=True)(converted)
        done = opset(converted) == OPSET
        reason = _difference(model, converted, images) if done else "onnx can't convert one of its operators"
    except (InferenceError, ir.passes.PassError, RuntimeError, ValueError) as error:
        reason = one_line(error)
    if reason is not None:
        return model, (f"the graph has opset {version}, and is not converted to {OPSET}: {reason}",)
    infer_shapes(converted)
    return converted, (f"converted from opset {version} to {OPSET}: the same outputs up to rounding",)


def infer_shapes(model: ir.Model) -> None:
    """Lets onnx infer shapes in place, as far as it can."""
    with suppress_output():
        ShapeInferencePass(check_type=False, strict_mode=False)(model)


def changed_weight(model: ir.Model, converted: ir.Model) -> str | None:
    """The first weight that has the same name in both graphs and other bytes."""
    for name, value in converted.graph.initializers.items():
        before = model.graph.initializers.get(name)
        tensors = (before.const_value, value.const_value) if before is not None else (None, None)
        if tensors[0] is tensors[1] or tensors[0] is None or tensors[1] is None:
            continue
        if tensors[0].tobytes() != tensors[1].tobytes() or tensors[0].shape != tensors[1].shape:
            return name
    return None


def _difference(model: ir.Model, converted: ir.Model, images: Sequence[Arrays]) -> str | None:
    if (name := changed_weight(model, converted)) is not None:
        return f"weight {name} has other bytes"
    session, other = (GraphSession(deterministic(each)) for each in (model, converted))
    before, after = ([each.run(image) for image in images] for each in (session, other))
    return compare_graphs((model, converted), before, after, sensitivity(session, images, before))[1]
