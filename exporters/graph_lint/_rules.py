"""Rules of the graph lint: each yields a line for each finding that its network's author may want to change.

No finding makes an artifact wrong.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx_ir as ir

from cnntk.exporters.shapes._dims import Shape
from cnntk.exporters.shapes._receptive import Field, receptive_fields
from cnntk.exporters.shapes._windows import window_axes
from cnntk.exporters.shapes.dataflow import layer_name, layer_nodes, readers, weight_of
from cnntk.exporters.shapes.shape_table import value_shapes

LINEAR = frozenset({"Conv", "Gemm", "MatMul"})
_TRANSPARENT = frozenset({"BatchNormalization", "Dropout", "Flatten", "Identity", "Reshape"})
_AFFINE = frozenset({"Add", "Div", "Mul", "Sub"})
_WINDOWS = frozenset({"AveragePool", "Conv", "LpPool", "MaxPool"})
_NOT_NEGATIVE = frozenset({"Abs", "Exp", "HardSigmoid", "Relu", "Sigmoid", "Softmax", "Softplus"})
_KEEPS_SIGN = frozenset({"AveragePool", "Flatten", "GlobalAveragePool", "Identity", "MaxPool", "Reshape"})
_SMALL_FIELD = 1 / 3
"""Smallest usual receptive field before a global pool, as a share of the input's longer side."""
_LARGE_FIELD = 12
"""Largest usual receptive field, in input sides: DenseNet-121 at 224 pixels has 9, ResNet-18 at 32 has 14."""
_DYNAMIC_RANGE = 1e4
"""Largest ratio of a weight to the median one; normally distributed weights stay below 10."""
_SAMPLE = 65536
"""Number of weights in the sample for a median."""
_CHUNK = 1 << 20
"""Number of weights that are read at once, so that no large weight is copied."""


@dataclass(frozen=True)
class LintedGraph:
    """A graph, its layers in order and as a set, and the known shapes and receptive fields of its values."""

    model: ir.Model
    nodes: tuple[ir.Node, ...]
    layers: frozenset[ir.Node]
    shapes: dict[ir.Value, Shape]
    fields: dict[ir.Value, Field]

    def next(self, node: ir.Node) -> ir.Node | None:
        """Returns the one layer that reads ``node``'s output; None for several readers or a graph output."""
        users = readers(node.outputs[0], self.layers)
        return users[0] if len(users) == 1 and not node.outputs[0].is_graph_output() else None

    def before(self, node: ir.Node) -> ir.Node | None:
        """Returns the layer that computes ``node``'s first input."""
        value = node.inputs[0] if node.inputs else None
        producer = value.producer() if value is not None else None
        return producer if producer in self.layers else None


def analyze(model: ir.Model) -> LintedGraph:
    """Collects what the rules need to know about a graph."""
    nodes, shapes = layer_nodes(model), value_shapes(model)
    return LintedGraph(model, nodes, frozenset(nodes), shapes, receptive_fields(model, shapes))


def pointwise_without_nonlinearity(graph: LintedGraph) -> Iterator[str]:
    """Reports a 1x1 convolution that is one layer with its neighbor, because nothing nonlinear is between.

    Not where the value between is narrower than both sides (one layer can't replace a bottleneck), nor where
    one is grouped (a separable convolution is cheaper than the one layer).
    """
    for first, second in _linear_pairs(graph):
        if _is_pointwise(first) or _is_pointwise(second):
            one, other = (first, second) if _is_pointwise(first) else (second, first)
            neighbor = layer_name(other)
            yield f"{layer_name(one)}: 1x1 convolution without a nonlinearity between it and {neighbor}"


def linear_chain(graph: LintedGraph) -> Iterator[str]:
    """Reports two linear layers with nothing between: W2(W1 x + b1) + b2 is one layer."""
    for first, second in _linear_pairs(graph):
        if not _is_pointwise(first) and not _is_pointwise(second):
            pair = f"{layer_name(second)}: nothing nonlinear between it and {layer_name(first)}"
            yield f"{pair}: together they are one layer"


def without_effect(graph: LintedGraph) -> Iterator[str]:
    """Reports layers whose output is their input."""
    for node in graph.nodes:
        if (reason := _no_effect(node, graph)) is not None:
            yield f"{layer_name(node)}: {node.op_type} without effect: {reason}"


def zero_weights(graph: LintedGraph) -> Iterator[str]:
    """Reports linear layers whose output is their bias for every input."""
    for node, weight in _weights(graph):
        if not any(part.any() for part in _chunks(weight)):
            yield f"{layer_name(node)}: all weights are zero, so it ignores its input"


def dead_channels(graph: LintedGraph) -> Iterator[str]:
    """Reports output channels whose weights are all zero."""
    for node, weight in _weights(graph):
        alive = _by_output(node, weight)
        dead = np.flatnonzero(~alive)
        if alive.any() and len(dead):
            names = ", ".join(map(str, dead[:8])) + (", ..." if len(dead) > 8 else "")
            count = f"{len(dead)} of {len(alive)}"
            yield f"{layer_name(node)}: {count} channels are dead, all their weights zero ({names})"


def denormal_weights(graph: LintedGraph) -> Iterator[str]:
    """Reports weights below the smallest normal number: zero on some devices, and slow on others."""
    for node, weight in _weights(graph):
        tiny = np.finfo(weight.dtype).tiny
        count = sum(int(np.count_nonzero((part != 0) & (np.abs(part) < tiny))) for part in _chunks(weight))
        if count:
            yield f"{layer_name(node)}: {count} of {weight.size} weights are denormal (below {tiny:.2g})"


def dynamic_range(graph: LintedGraph) -> Iterator[str]:
    """Reports weights so large that the others vanish beside them in float16 or int8."""
    for node, weight in _weights(graph):
        sample = np.abs(weight.reshape(-1)[:: max(1, weight.size // _SAMPLE)])
        usual = float(np.median(sample[sample > 0])) if sample.any() else 0.0
        largest = max(abs(float(weight.max())), abs(float(weight.min())))
        if usual and largest > _DYNAMIC_RANGE * usual:
            times = f"{largest / usual:.2g} times the median"
            yield f"{layer_name(node)}: its largest weight, {largest:.3g}, is {times}"


def window_wider_than_map(graph: LintedGraph) -> Iterator[str]:
    """Reports a convolution some of whose taps only see padding, as a 3x3 on a map of 1x1."""
    for node in (n for n in graph.nodes if n.op_type == "Conv"):
        before, weight = graph.shapes.get(_first(node)), graph.shapes.get(_first(node, 1))
        if before is None or weight is None:
            continue
        sizes = [(n, axis) for n, axis in zip(before[2:], window_axes(node, weight[2:]), strict=True)]
        if any(isinstance(n, int) and axis.dilation * (axis.kernel - 1) // 2 >= n for n, axis in sizes):
            window = "x".join(str(axis.reach) for _, axis in sizes)
            grid = "x".join(str(n) for n, _ in sizes)
            yield (
                f"{layer_name(node)}: its window {window} is wider than its map {grid}: "
                "some taps see only padding"
            )


def field_and_input(graph: LintedGraph) -> Iterator[str]:
    """Reports a receptive field far smaller or far larger than the image, where the map is pooled."""
    pooled = [(node, field) for node in graph.nodes if (field := _pooled_field(node, graph)) is not None]
    for node, field in pooled[-1:]:
        share = max(field.size) / max(field.image)
        height, width = field.image
        size = f"has a receptive field of {field.pixels} pixels in an image of {height}x{width}"
        if share < _SMALL_FIELD and not _windows_after(node, graph):
            yield f"{layer_name(node)}: its pooled map {size}"
        elif share > _LARGE_FIELD:
            yield f"{layer_name(node)}: its pooled map {size}: most of that is padding"


RULES: tuple[Callable[[LintedGraph], Iterator[str]], ...] = (
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


def _linear_pairs(graph: LintedGraph) -> Iterator[tuple[ir.Node, ir.Node]]:
    """Yields pairs of layers that could be one: nothing nonlinear and no other reader between."""
    for first in (n for n in graph.nodes if _is_linear(n)):
        second = graph.next(first)
        while second is not None and _is_affine(second):
            second = graph.next(second)
        if second is not None and _is_linear(second) and _is_one_layer(first, second):
            yield first, second


def _is_linear(node: ir.Node) -> bool:
    return node.op_type in LINEAR and weight_of(node) is not None and node.attributes.get_int("group", 1) == 1


def _is_affine(node: ir.Node) -> bool:
    if node.op_type in _AFFINE:
        return any(weight_of(node, i) is not None for i in (0, 1))
    return node.op_type in _TRANSPARENT


def _is_one_layer(first: ir.Node, second: ir.Node) -> bool:
    one, other = _shape(first), _shape(second)
    if _is_spatial(one) and _is_spatial(other):
        return 1 not in one[2:] and 1 not in other[2:]
    width, read = _channels(first, one)[0], _channels(second, other)[1]
    if width != read:  # a whole map, flattened
        return True
    return width >= min(math.prod(one) // width, math.prod(other) // read)


def _channels(node: ir.Node, shape: tuple[int, ...]) -> tuple[int, int]:
    """Returns the numbers of output and input channels of a linear layer."""
    if node.op_type == "Conv" or (node.op_type == "Gemm" and node.attributes.get_int("transB", 0) == 1):
        return shape[0], shape[1]
    return shape[-1], shape[-2]


def _shape(node: ir.Node) -> tuple[int, ...]:
    weight = weight_of(node)
    return () if weight is None else tuple(weight.shape.numpy())


def _is_spatial(shape: tuple[int, ...]) -> bool:
    return any(k > 1 for k in shape[2:])


def _is_pointwise(node: ir.Node) -> bool:
    return node.op_type == "Conv" and not _is_spatial(_shape(node))


def _no_effect(node: ir.Node, graph: LintedGraph) -> str | None:
    """Returns why a layer does nothing; None where it does something."""
    before = graph.before(node)
    match node.op_type:
        case "Identity":
            return "its output is its input"
        case "Relu" if before is not None and _is_not_negative(before, graph):
            return f"{layer_name(before)} has no negative outputs"
        case "MaxPool" | "AveragePool" if all(a.kernel == a.stride == 1 for a in window_axes(node)):
            return "its window is one pixel"
        case "Softmax" if _softmax_of_one(node, graph):
            return "it runs over one element, so its output is 1"
        case "Add" | "Sub" | "Mul" | "Div":
            return _neutral(node)
    return None


def _is_not_negative(node: ir.Node | None, graph: LintedGraph) -> bool:
    while node is not None and node.op_type in _KEEPS_SIGN:
        node = graph.before(node)
    return node is not None and node.op_type in _NOT_NEGATIVE


def _softmax_of_one(node: ir.Node, graph: LintedGraph) -> bool:
    shape = graph.shapes.get(node.outputs[0], ())
    axis = node.attributes.get_int("axis", -1)
    return -len(shape) <= axis < len(shape) and shape[axis] == 1


def _neutral(node: ir.Node) -> str | None:
    constant = weight_of(node)
    neutral = 0 if node.op_type in ("Add", "Sub") else 1
    if constant is None or constant.size != 1 or constant.numpy().item() != neutral:
        return None
    return f"its constant is {neutral}"


def _weights(graph: LintedGraph) -> Iterator[tuple[ir.Node, np.ndarray[Any, Any]]]:
    """Yields the linear layers with float weights."""
    for node in graph.nodes:
        weight = weight_of(node) if node.op_type in (*LINEAR, "ConvTranspose") else None
        if weight is not None and weight.size and np.issubdtype(weight.numpy().dtype, np.floating):
            yield node, weight.numpy()


def _by_output(node: ir.Node, weight: np.ndarray[Any, Any]) -> np.ndarray[Any, np.dtype[np.bool_]]:
    """Returns for each output channel whether any of its weights is not zero."""
    if node.op_type == "ConvTranspose":
        axis = 1
    else:
        first = node.op_type == "Conv" or node.attributes.get_int("transB", 0) == 1
        axis = 0 if first else weight.ndim - 1
    return np.asarray(weight.any(axis=tuple(i for i in range(weight.ndim) if i != axis)))


def _chunks(weight: np.ndarray[Any, Any]) -> Iterator[np.ndarray[Any, Any]]:
    flat = weight.reshape(-1)
    return (flat[i : i + _CHUNK] for i in range(0, len(flat), _CHUNK))


def _first(node: ir.Node, index: int = 0) -> ir.Value:
    value = node.inputs[index] if index < len(node.inputs) else None
    return value if value is not None else node.outputs[0]


def _pooled_field(node: ir.Node, graph: LintedGraph) -> Field | None:
    """Returns the receptive field before a global pool; None for other layers and for whole images."""
    value = _first(node)
    pools = node.op_type.startswith("Global") or node.op_type == "ReduceMean"
    field, after = graph.fields.get(value), graph.fields.get(node.outputs[0])
    if not pools or field is None or field.whole or after is None or not after.whole:
        return None
    return field if max(field.grid) > 1 else None


def _windows_after(node: ir.Node, graph: LintedGraph) -> bool:
    """Whether windows still slide over the map later: then the pool fed a gate beside it."""
    after = graph.nodes[graph.nodes.index(node) + 1 :]
    return any(n.op_type in _WINDOWS and any(a.kernel > 1 for a in window_axes(n)) for n in after)
