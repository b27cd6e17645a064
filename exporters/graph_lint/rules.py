"""What is odd about a network's build: hints to who built it. Each check yields a line for each finding.

None of it makes an artifact wrong.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import onnx_ir as ir

from cnntk.exporters.graph_lint.linear_pairs import LINEAR, is_pointwise, linear_pairs
from cnntk.exporters.graph_lint.view import View
from cnntk.exporters.shapes.dataflow import layer_name, weight_of
from cnntk.exporters.shapes.receptive import Field
from cnntk.exporters.shapes.windows import window_axes

__all__ = ["CHECKS"]

_WINDOWS = frozenset({"AveragePool", "Conv", "LpPool", "MaxPool"})
_NOT_NEGATIVE = frozenset({"Abs", "Exp", "HardSigmoid", "Relu", "Sigmoid", "Softmax", "Softplus"})
_KEEPS_SIGN = frozenset({"AveragePool", "Flatten", "GlobalAveragePool", "Identity", "MaxPool", "Reshape"})
_SMALL_FIELD = 1 / 3
"""Of the input's longer side; no usual classifier pools globally what has seen less."""
_LARGE_FIELD = 12
"""Times the input's longer side; DenseNet-121 at 224 pixels has 9, ResNet-18 at 32 pixels 14."""
_DYNAMIC_RANGE = 1e4
"""Largest weight over the median one; normally distributed weights stay below 10."""
_SAMPLE = 65536
"""Weights behind a median."""
_CHUNK = 1 << 20
"""Weights looked at in one go, so that no copy of a large one is made."""


def pointwise_without_nonlinearity(seen: View) -> Iterator[str]:
    """A 1x1 convolution next to a linear layer, with nothing nonlinear between: together they are one layer.

    Not where what is between is narrower than both sides (a bottleneck is what one layer can't be), nor where
    one is grouped (a separable convolution is cheaper than the one layer).
    """
    for first, second in linear_pairs(seen):
        if is_pointwise(first) or is_pointwise(second):
            one, other = (first, second) if is_pointwise(first) else (second, first)
            neighbor = layer_name(other)
            yield f"{layer_name(one)}: 1x1 convolution without a nonlinearity between it and {neighbor}"


def linear_chain(seen: View) -> Iterator[str]:
    """Two linear layers with nothing between: W2(W1 x + b1) + b2 is one layer."""
    for first, second in linear_pairs(seen):
        if not is_pointwise(first) and not is_pointwise(second):
            neighbor = layer_name(first)
            yield f"{layer_name(second)}: nothing nonlinear between it and {neighbor}: they are one layer"


def without_effect(seen: View) -> Iterator[str]:
    """Layers whose output is their input."""
    for node in seen.nodes:
        if (why := _no_effect(node, seen)) is not None:
            yield f"{layer_name(node)}: {node.op_type} without effect: {why}"


def zero_weights(seen: View) -> Iterator[str]:
    """Linear layers that answer their bias whatever they see."""
    for node, weight in _weights(seen):
        if not any(part.any() for part in _chunks(weight)):
            yield f"{layer_name(node)}: all weights are zero, so it ignores its input"


def dead_channels(seen: View) -> Iterator[str]:
    """Output channels whose weights are all zero."""
    for node, weight in _weights(seen):
        alive = _by_output(node, weight)
        dead = np.flatnonzero(~alive)
        if alive.any() and len(dead):
            names = ", ".join(map(str, dead[:8])) + (", ..." if len(dead) > 8 else "")
            count = f"{len(dead)} of {len(alive)}"
            yield f"{layer_name(node)}: {count} channels are dead, all their weights zero ({names})"


def denormal_weights(seen: View) -> Iterator[str]:
    """Weights below the smallest normal number: zero to some devices, and slow on others."""
    for node, weight in _weights(seen):
        tiny = np.finfo(weight.dtype).tiny
        count = sum(int(np.count_nonzero((part != 0) & (np.abs(part) < tiny))) for part in _chunks(weight))
        if count:
            yield f"{layer_name(node)}: {count} of {weight.size} weights are denormal (below {tiny:.2g})"


def dynamic_range(seen: View) -> Iterator[str]:
    """A few weights so large that the others vanish beside them in float16 or int8."""
    for node, weight in _weights(seen):
        sample = np.abs(weight.reshape(-1)[:: max(1, weight.size // _SAMPLE)])
        usual = float(np.median(sample[sample > 0])) if sample.any() else 0.0
        largest = max(abs(float(weight.max())), abs(float(weight.min())))
        if usual and largest > _DYNAMIC_RANGE * usual:
            times = f"{largest / usual:.2g} times the median"
            yield f"{layer_name(node)}: its largest weight, {largest:.3g}, is {times}"


def window_wider_than_map(seen: View) -> Iterator[str]:
    """A convolution some of whose taps see nothing but padding, as a 3x3 on a map of 1x1."""
    for node in (n for n in seen.nodes if n.op_type == "Conv"):
        before, weight = seen.shapes.get(_first(node)), seen.shapes.get(_first(node, 1))
        if before is None or weight is None:
            continue
        sizes = [(n, axis) for n, axis in zip(before[2:], window_axes(node, weight[2:]), strict=True)]
        if any(isinstance(n, int) and axis.dilation * (axis.kernel - 1) // 2 >= n for n, axis in sizes):
            window = "x".join(str(axis.reach) for _, axis in sizes)
            grid = "x".join(str(n) for n, _ in sizes)
            yield (
                f"{layer_name(node)}: its window, {window}, is wider than its map, {grid}: "
                "some taps see only padding"
            )


def field_and_input(seen: View) -> Iterator[str]:
    """A receptive field far smaller or far larger than the image, where the map is pooled."""
    pooled = [(node, field) for node in seen.nodes if (field := _pooled_field(node, seen)) is not None]
    for node, field in pooled[-1:]:
        share = max(field.size) / max(field.image)
        height, width = field.image
        if share < _SMALL_FIELD and not _windows_behind(node, seen):
            yield f"{layer_name(node)}: what it pools has seen {field.pixels} pixels of {height}x{width}"
        elif share > _LARGE_FIELD:
            seen_pixels = f"sees {field.pixels} pixels of an image of {height}x{width}"
            yield f"{layer_name(node)}: what it pools {seen_pixels}: most of it is padding"


CHECKS: tuple[Callable[[View], Iterator[str]], ...] = (
    pointwise_without_nonlinearity,
    linear_chain,
    without_effect,
    zero_weights,
    dead_channels,
    denormal_weights,
    dynamic_range,
    window_wider_than_map,
    field_and_input,
)


def _no_effect(node: ir.Node, seen: View) -> str | None:
    """Why a layer does nothing; None where it does something."""
    before = seen.before(node)
    match node.op_type:
        case "Identity":
            return "it answers its input"
        case "Relu" if before is not None and _is_not_negative(before, seen):
            return f"{layer_name(before)} answers nothing negative"
        case "MaxPool" | "AveragePool" if all(a.kernel == a.stride == 1 for a in window_axes(node)):
            return "its window is one pixel"
        case "Softmax" if _softmax_of_one(node, seen):
            return "it runs over one number, so it answers 1"
        case "Add" | "Sub" | "Mul" | "Div":
            return _neutral(node)
    return None


def _is_not_negative(node: ir.Node | None, seen: View) -> bool:
    while node is not None and node.op_type in _KEEPS_SIGN:
        node = seen.before(node)
    return node is not None and node.op_type in _NOT_NEGATIVE


def _softmax_of_one(node: ir.Node, seen: View) -> bool:
    shape = seen.shapes.get(node.outputs[0], ())
    axis = node.attributes.get_int("axis", -1)
    return -len(shape) <= axis < len(shape) and shape[axis] == 1


def _neutral(node: ir.Node) -> str | None:
    constant = weight_of(node)
    neutral = 0 if node.op_type in ("Add", "Sub") else 1
    if constant is None or constant.size != 1 or constant.numpy().item() != neutral:
        return None
    return f"its constant is {neutral}"


def _weights(seen: View) -> Iterator[tuple[ir.Node, np.ndarray[Any, Any]]]:
    """The float weights of the linear layers."""
    for node in seen.nodes:
        weight = weight_of(node) if node.op_type in (*LINEAR, "ConvTranspose") else None
        if weight is not None and weight.size and np.issubdtype(weight.numpy().dtype, np.floating):
            yield node, weight.numpy()


def _by_output(node: ir.Node, weight: np.ndarray[Any, Any]) -> np.ndarray[Any, np.dtype[np.bool_]]:
    """For each output channel, whether any of its weights is not zero."""
    if node.op_type == "ConvTranspose":
        axis = 1
    else:
        first = node.op_type == "Conv" or node.attributes.get_int("transB", 0) == 1
        axis = 0 if first else weight.ndim - 1
    rows = np.moveaxis(weight, axis, 0).reshape(weight.shape[axis], -1)
    return np.array([row.any() for row in rows])


def _chunks(weight: np.ndarray[Any, Any]) -> Iterator[np.ndarray[Any, Any]]:
    flat = weight.reshape(-1)
    return (flat[i : i + _CHUNK] for i in range(0, len(flat), _CHUNK))


def _first(node: ir.Node, index: int = 0) -> ir.Value:
    value = node.inputs[index] if index < len(node.inputs) else None
    return value if value is not None else node.outputs[0]


def _pooled_field(node: ir.Node, seen: View) -> Field | None:
    """The field of what a layer pools over the whole map; None where it does not pool or sees everything."""
    value = _first(node)
    pools = node.op_type.startswith("Global") or node.op_type == "ReduceMean"
    field, after = seen.fields.get(value), seen.fields.get(node.outputs[0])
    if not pools or field is None or field.whole or after is None or not after.whole:
        return None
    return field if max(field.grid) > 1 else None


def _windows_behind(node: ir.Node, seen: View) -> bool:
    """Whether the map is still worked on: the pooling was of a gate beside it."""
    behind = seen.nodes[seen.nodes.index(node) + 1 :]
    return any(n.op_type in _WINDOWS and any(a.kernel > 1 for a in window_axes(n)) for n in behind)
