"""Folds scale and bias into the linear layer next to them.

``Mul``, ``Div``, ``Add`` and ``Sub`` with a constant that differs only between channels are
``scale * x + shift``; ``linear.py`` has the algebra that moves this into the Conv, ConvTranspose, Gemm or
MatMul before or after it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import onnx_ir as ir

from cnntk.exporters.passes._linear import (
    LINEAR,
    Affine,
    LinearLayer,
    blocking_reason,
    linear_layer,
    rebuild,
    with_input_affine,
    with_output_affine,
)
from cnntk.exporters.passes.graph import constant, dimensions, label, only_user, producer_of
from cnntk.exporters.passes.infra import Rewrites
from cnntk.exporters.passes.origins import Origin, origin_of

__all__ = ["Affine", "FoldAffine", "fold"]

AffineInput = tuple[ir.Value, Affine]


class FoldAffine:
    """Moves scales and biases into linear layers."""

    name = "scale and bias into linear layers"
    reason = "the layer's weights can scale and shift without extra cost"

    def __call__(self, model: ir.Model) -> Rewrites:
        applied: list[str] = []
        skipped: list[str] = []
        for node in list(model.graph):
            if node.graph is not None and not node.domain and node.op_type in ("Mul", "Div", "Add", "Sub"):
                fold(model, node, _arithmetic, applied, skipped)
        return Rewrites(tuple(applied), tuple(skipped))


def fold(
    model: ir.Model,
    node: ir.Node,
    read: Callable[[ir.Node, int, int], AffineInput | None],
    applied: list[str],
    skipped: list[str],
) -> None:
    """Moves what a node does into the layer before it, else into the layer after it.

    Args:
        model: Model that is changed in place.
        node: Node that computes ``scale * x + shift``.
        read: Function of a node, a channel axis and a number of channels that returns x and the affine map,
            or None where the node is none for that axis.
        applied: List that gets one line for each rewrite.
        skipped: List that gets one line for each layer that can't take the node over, with the reason.
    """
    for layer, value, is_next in _neighbors(node):
        match = read(node, layer.channel_axis, layer.input_channels if is_next else layer.channels)
        if match is None or _lacks_bias(layer, match[1].shift):
            continue
        source, affine = match
        if not is_next and source is not value:
            continue
        reason = blocking_reason(layer, affine, follows=not is_next)
        if not is_next and only_user(value) is None:
            reason = "its output is used elsewhere"
        if reason is not None:
            skipped.append(f"{label(node)}: not into {label(layer.node)}: {reason}")
            continue
        applied.append(f"{label(node)}: into {label(layer.node)}")
        inputs = (*affine.origins, *layer.origins)
        origin = Origin("before layer" if is_next else "after layer", inputs=inputs, attributes=layer.algebra)
        if is_next:
            rebuild(model, layer, with_input_affine(layer, affine), layer.node.outputs[0], source, origin)
        else:
            new = with_output_affine(layer, affine)
            rebuild(model, layer, new, node.outputs[0], layer.node.inputs[0], origin)
        return


def _neighbors(node: ir.Node) -> Iterator[tuple[LinearLayer, ir.Value, bool]]:
    """Yields the layers next to a node, the value between, and whether the layer follows the node."""
    for value in node.inputs:
        layer = linear_layer(producer_of(value, *LINEAR))
        if layer is not None and value is not None:
            yield layer, value, False
    output = node.outputs[0]
    layer = linear_layer(only_user(output))
    if layer is not None and layer.node.inputs[0] is output:
        yield layer, output, True


def _lacks_bias(layer: LinearLayer, shift: np.ndarray) -> bool:
    """Whether the layer can't hold the shift: MatMul has no bias, and Gemm replaces it only on 2-D inputs."""
    shape = dimensions(layer.node.inputs[0])
    return layer.node.op_type == "MatMul" and bool(shift.any()) and (shape is None or len(shape) != 2)


def _arithmetic(node: ir.Node, axis: int, channels: int) -> AffineInput | None:
    """Returns x and the affine map of arithmetic with a constant that differs only between channels."""
    first, second = node.inputs
    for value, other, swapped in ((first, second, False), (second, first, True)):
        numbers = _per_channel(other, value, axis, channels)
        if value is None or numbers is None or (swapped and node.op_type == "Div"):
            continue
        attributes = {"operator": node.op_type, "swapped": swapped}
        origin = Origin("arithmetic", inputs=(origin_of(other),), attributes=attributes)
        return value, _affine(node.op_type, numbers, swapped, origin)
    return None


def _affine(operator: str, numbers: np.ndarray, swapped: bool, origin: Origin) -> Affine:
    one, zero = np.ones(1), np.zeros(1)
    if operator == "Mul":
        return Affine(numbers, zero, origin)
    if operator == "Div":
        with np.errstate(divide="ignore"):
            return Affine(1 / numbers, zero, origin)
    if operator == "Add":
        return Affine(one, numbers, origin)
    return Affine(-one, numbers, origin) if swapped else Affine(one, -numbers, origin)


def _per_channel(factor: ir.Value | None, x: ir.Value | None, axis: int, channels: int) -> np.ndarray | None:
    """Returns the constant as one number per channel, or one for all.

    None where it varies along another axis or broadcasting would widen x.
    """
    array, shape = constant(factor), dimensions(x)
    if array is None or shape is None or array.ndim > len(shape):
        return None
    if not np.issubdtype(array.dtype, np.floating):
        return None
    wide = array.reshape((1,) * (len(shape) - array.ndim) + array.shape)
    if shape[axis] != channels or any(d != 1 for i, d in enumerate(wide.shape) if i != axis % len(shape)):
        return None
    return wide.astype(np.float64).reshape(-1) if wide.size in (1, channels) else None
