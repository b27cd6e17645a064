"""Folds Pad into the Conv or AveragePool after it.

A Pad with zeros on the spatial axes and the layer's own padding become one padding with their sum.
AveragePool then has to count the zeros, as it did when they were part of its input. MaxPool pads with minus
infinity, so it can't take the zeros over.
"""

from __future__ import annotations

from typing import Any

import onnx_ir as ir

from cnntk.exporters.passes.graph import (
    constant,
    dimensions,
    label,
    only_user,
    remove_unused,
    replace_node,
    uniform,
)
from cnntk.exporters.passes.infra import Rewrites


class FoldPadding:
    """Moves padding into the layer that reads it."""

    name = "padding into convolutions and pools"
    reason = "the layer can pad itself, without a padded copy of its input"

    def __call__(self, model: ir.Model) -> Rewrites:
        applied, skipped = [], []
        for node in [n for n in model.graph if n.op_type == "Pad" and not n.domain]:
            user = only_user(node.outputs[0])
            if user is None or user.domain or user.op_type not in ("Conv", "AveragePool", "MaxPool"):
                continue
            reason = _unfit(node, user)
            if reason is not None:
                skipped.append(f"{label(node)}: not into {label(user)}: {reason}")
                continue
            applied.append(f"{label(node)}: into {label(user)}")
            _fold(model, node, user)
        return Rewrites(tuple(applied), tuple(skipped))


def _unfit(pad: ir.Node, layer: ir.Node) -> str | None:
    """Returns why a Pad can't be folded into its reader; None where it can."""
    amounts, mode = _amounts(pad), pad.attributes.get_string("mode", "constant")
    if layer.op_type == "MaxPool":
        return "MaxPool pads with minus infinity, not with 0"
    if layer.inputs[0] is not pad.outputs[0]:
        return "it does not pad the layer's data input"
    if mode != "constant" or (
        len(pad.inputs) > 2 and pad.inputs[2] is not None and uniform(pad.inputs[2]) != 0
    ):
        return f"it pads with {mode if mode != 'constant' else 'another number than 0'}"
    if amounts is None:
        return "its padding is not constant"
    half = len(amounts) // 2
    if min(amounts) < 0 or any(amounts[i] for i in (0, 1, half, half + 1)):
        return "it crops, or pads the batch or channel axis"
    if layer.attributes.get_string("auto_pad", "NOTSET") not in ("NOTSET", "VALID"):
        return "the layer's padding depends on the input size (auto_pad)"
    return _unfit_pool(layer, _sum(layer, amounts)) if layer.op_type == "AveragePool" else None


def _unfit_pool(pool: ir.Node, pads: list[int]) -> str | None:
    has_padding = any(pool.attributes.get_ints("pads", ()))
    if pool.attributes.get_int("ceil_mode", 0):
        return "its last windows may exceed the padding (ceil_mode)"
    if has_padding and not pool.attributes.get_int("count_include_pad", 0):
        return "AveragePool counts the zeros of the Pad but not its own"
    kernel = list(pool.attributes.get_ints("kernel_shape", ()))
    if any(p >= k for p, k in zip(pads, [*kernel, *kernel], strict=True)):
        return "the padding is as wide as the window"
    return None


def _amounts(pad: ir.Node) -> list[int] | None:
    """Returns the padding before all axes, then after all axes."""
    source, shape = pad.inputs[0], dimensions(pad.inputs[0])
    array = constant(pad.inputs[1]) if len(pad.inputs) > 1 else None
    if source is None or shape is None or array is None:
        return None
    rank, listed = len(shape), array.reshape(-1).tolist()
    if len(pad.inputs) < 4 or pad.inputs[3] is None:
        return listed if len(listed) == 2 * rank else None
    axes = constant(pad.inputs[3])
    if axes is None:
        return None
    full = [0] * (2 * rank)
    for i, axis in enumerate(axes.reshape(-1).tolist()):
        full[axis % rank], full[axis % rank + rank] = listed[i], listed[i + axes.size]
    return full


def _sum(layer: ir.Node, amounts: list[int]) -> list[int]:
    half = len(amounts) // 2
    spatial = amounts[2:half] + amounts[half + 2 :]
    pads = layer.attributes.get_ints("pads", [0] * len(spatial))
    return [a + b for a, b in zip(spatial, pads, strict=True)]


def _fold(model: ir.Model, pad: ir.Node, layer: ir.Node) -> None:
    attributes: dict[str, Any] = {k: a.value for k, a in layer.attributes.items() if k != "auto_pad"}
    attributes["pads"] = _sum(layer, _amounts(pad) or [])
    if layer.op_type == "AveragePool":
        attributes["count_include_pad"] = 1
    old = layer.outputs[0]
    replace_node(old, layer.op_type, [pad.inputs[0], *layer.inputs[1:]], attributes)
    remove_unused(model, old)
