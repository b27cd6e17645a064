"""Scale and bias into the linear layer next to them.

``Mul``, ``Div``, ``Add`` and ``Sub`` with a constant that differs by channel alone are ``s * x + t``;
`linear.py` has the algebra that moves that into a Conv, ConvTranspose, Gemm or MatMul behind or in front.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import onnx_ir as ir

from cnntk.exporters.passes.graph import constant, dimensions, label, only_user
from cnntk.exporters.passes.infra import Rewrites
from cnntk.exporters.passes.linear import Affine, Layer, explain, fed, layer_at, rebuild, scaled

__all__ = ["FoldAffine", "fold"]

Found = tuple[ir.Value, Affine]


class FoldAffine:
    """Moves scales and biases into linear layers."""

    name = "scale and bias into linear layers"
    reason = "the layer's weights can scale and shift at no cost"

    def __call__(self, model: ir.Model) -> Rewrites:
        done: list[str] = []
        declined: list[str] = []
        for node in list(model.graph):
            if node.graph is not None and not node.domain and node.op_type in ("Mul", "Div", "Add", "Sub"):
                fold(model, node, _arithmetic, done, declined)
        return Rewrites(tuple(done), tuple(declined))


def fold(
    model: ir.Model,
    node: ir.Node,
    read: Callable[[ir.Node, int, int], Found | None],
    done: list[str],
    declined: list[str],
) -> None:
    """Moves what a node does into the layer in front of it, else into the one behind it.

    Args:
        model: changed in place.
        node: ``scale * x + shift``.
        read: gives x, scale and shift of a node, for a channel axis and a number of channels.
        done: lines are added.
        declined: lines are added.
    """
    output = node.outputs[0]
    for given in node.inputs:
        layer = layer_at(given.producer() if given is not None else None)
        found = read(node, layer.channel_axis, layer.channels) if layer is not None else None
        if layer is None or found is None or found[0] is not given or _lacks_bias(layer, found[1].shift):
            continue
        reason = _behind(layer, found[0], found[1])
        if reason is None:
            done.append(f"{label(node)}: into {label(layer.node)}")
            rebuild(model, layer, scaled(layer, found[1]), output, layer.node.inputs[0])
            return
        declined.append(f"{label(node)}: not into {label(layer.node)}: {reason}")
    _into_next(model, node, read, done, declined)


def _into_next(
    model: ir.Model,
    node: ir.Node,
    read: Callable[[ir.Node, int, int], Found | None],
    done: list[str],
    declined: list[str],
) -> None:
    output = node.outputs[0]
    user = only_user(output)
    layer = layer_at(user)
    if user is None or layer is None or user.inputs[0] is not output:
        return
    found = read(node, layer.channel_axis, _inputs(layer))
    if found is None or _lacks_bias(layer, found[1].shift):
        return
    reason = explain(layer, found[1], behind=False)
    if reason is not None:
        declined.append(f"{label(node)}: not into {label(user)}: {reason}")
        return
    done.append(f"{label(node)}: into {label(user)}")
    rebuild(model, layer, fed(layer, found[1]), user.outputs[0], found[0])


def _behind(layer: Layer, output: ir.Value, affine: Affine) -> str | None:
    if only_user(output) is None:
        return "its output is read elsewhere, too"
    return explain(layer, affine, behind=True)


def _lacks_bias(layer: Layer, shift: np.ndarray) -> bool:
    """MatMul has no bias; only on rows is there a Gemm in its place. Behind it is where a bias belongs."""
    shape = dimensions(layer.node.inputs[0])
    return layer.node.op_type == "MatMul" and bool(shift.any()) and (shape is None or len(shape) != 2)


def _inputs(layer: Layer) -> int:
    if layer.node.op_type == "ConvTranspose":
        return int(layer.weight.shape[0])
    if layer.node.op_type == "Conv":
        return int(layer.weight.shape[1]) * layer.groups
    return int(layer.weight.shape[1 - layer.output_axis])


def _arithmetic(node: ir.Node, axis: int, channels: int) -> Found | None:
    """x, and what is done to it, where a constant differs along the channel axis alone."""
    first, second = node.inputs
    for given, other, swapped in ((first, second, False), (second, first, True)):
        numbers = _per_channel(other, given, axis, channels)
        if given is None or numbers is None or (swapped and node.op_type == "Div"):
            continue
        return given, _affine(node.op_type, numbers, swapped)
    return None


def _affine(operator: str, numbers: np.ndarray, swapped: bool) -> Affine:
    one, zero = np.ones(1), np.zeros(1)
    if operator == "Mul":
        return Affine(numbers, zero)
    if operator == "Div":
        with np.errstate(divide="ignore"):
            return Affine(1 / numbers, zero)
    if operator == "Add":
        return Affine(one, numbers)
    return Affine(-one, numbers) if swapped else Affine(one, -numbers)


def _per_channel(
    value: ir.Value | None, given: ir.Value | None, axis: int, channels: int
) -> np.ndarray | None:
    """The constant as one number a channel, or one for all; None where it differs otherwise or widens x."""
    array, shape = constant(value), dimensions(given)
    if (
        array is None
        or shape is None
        or array.ndim > len(shape)
        or not np.issubdtype(array.dtype, np.floating)
    ):
        return None
    wide = array.reshape((1,) * (len(shape) - array.ndim) + array.shape)
    if shape[axis] != channels or any(d != 1 for i, d in enumerate(wide.shape) if i != axis % len(shape)):
        return None
    return wide.astype(np.float64).reshape(-1) if wide.size in (1, channels) else None
