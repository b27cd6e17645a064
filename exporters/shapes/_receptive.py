"""The receptive field of each layer: the input pixels on which one output depends.

Araujo, Norris and Sim, "Computing receptive fields of convolutional neural networks", Distill, 2019: a window
of k taps, d apart, with stride s widens a field r on a grid of step j to r + (k - 1)dj and the step to sj.
Where paths join, the widest counts. Behind an upsampling the step is a fraction, and single outputs may
depend on up to one step of the coarser map more.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction

import onnx_ir as ir

from cnntk.exporters.shapes._dims import BATCH, Shape
from cnntk.exporters.shapes._windows import Axis, window_axes
from cnntk.exporters.shapes.dataflow import data_inputs, layer_nodes

Pair = tuple[Fraction, Fraction]

_WINDOWS = {"AveragePool", "Conv", "LpPool", "MaxPool"}
_GLOBAL = {"GlobalAveragePool", "GlobalLpPool", "GlobalMaxPool"}
_CHANNELS = (1, 3, 4)
_INTERPOLATION_TAPS = {"nearest": 1, "linear": 2, "cubic": 4}


@dataclass(frozen=True)
class Field:
    """The receptive field of one output of a layer, along (height, width).

    Attributes:
        size: Size of the field in input pixels.
        jump: Input pixels from one output to its neighbor; below 1 behind an upsampling.
        grid: Size of the feature map; unchanged while it is flattened.
        image: Size of the image in pixels.
        whole: Whether every output depends on the whole image, so that nothing widens the field any more.
    """

    size: Pair
    jump: Pair
    grid: tuple[int, int]
    image: tuple[int, int]
    whole: bool = False

    @property
    def pixels(self) -> int:
        """The longer side, rounded up."""
        return math.ceil(max(self.size))

    @property
    def step(self) -> int:
        """The jump in whole pixels; at least 1."""
        return max(1, math.ceil(max(self.jump)))


def receptive_fields(model: ir.Model, shapes: Mapping[ir.Value, Shape]) -> dict[ir.Value, Field]:
    """Receptive fields of the values that depend on an image (N, C, H, W) with known H and W.

    Where an image of any size is resized in the graph, pixels are those of the resized image.
    """
    layers = frozenset(layer_nodes(model))
    fields: dict[ir.Value, Field] = {}
    for value in model.graph.inputs:
        if (field := _image(shapes.get(value))) is not None:
            fields[value] = field
    for node in (n for n in model.graph if n in layers):
        before = [fields[v] for v in data_inputs(node, layers) if v in fields]
        if (field := _behind(node, before, shapes, layers)) is not None:
            fields |= dict.fromkeys(node.outputs, field)
    return fields


def _image(shape: Shape | None) -> Field | None:
    """The field of an image: one pixel. (N, H, W, C) is recognized by its 1, 3 or 4 channels."""
    if shape is not None and len(shape) == 4 and shape[3] in _CHANNELS and shape[1] not in _CHANNELS:
        shape = (shape[0], shape[3], shape[1], shape[2])
    grid = _grid(shape)
    one = (Fraction(1), Fraction(1))
    return None if grid is None else Field(one, one, grid, grid)


def _grid(shape: Shape | None) -> tuple[int, int] | None:
    if shape is None or len(shape) != 4 or not isinstance(shape[2], int) or not isinstance(shape[3], int):
        return None
    return shape[2], shape[3]


def _behind(
    node: ir.Node, before: list[Field], shapes: Mapping[ir.Value, Shape], layers: frozenset[ir.Node]
) -> Field | None:
    after = shapes.get(node.outputs[0])
    if not before:
        return _image(after) if node.op_type == "Resize" else None
    joined = _join(before)
    grid = _grid(after) or joined.grid
    if node.op_type in _WINDOWS:
        axes = _window(node, shapes)
        return _moved(joined, [a.reach for a in axes], [Fraction(a.stride) for a in axes], grid)
    if node.op_type == "ConvTranspose":  # an output gathers from ceil(reach / stride) inputs
        axes = _window(node, shapes)
        taps = [-(-a.reach // a.stride) for a in axes]
        return _moved(joined, taps, [Fraction(1, a.stride) for a in axes], grid)
    if node.op_type == "Resize":
        taps = [_INTERPOLATION_TAPS.get(node.attributes.get_string("mode", "nearest"), 1)] * 2
        return _moved(joined, taps, [Fraction(n, m) for n, m in zip(joined.grid, grid, strict=True)], grid)
    if _mixes(node, shapes, layers):
        return replace(_widened(joined, joined.grid), whole=True)
    return joined


def _window(node: ir.Node, shapes: Mapping[ir.Value, Shape]) -> tuple[Axis, ...]:
    weight = node.inputs[1] if len(node.inputs) > 1 else None
    axes = window_axes(node, shapes.get(weight, ())[2:] if weight is not None else ())
    return axes if len(axes) == 2 else (Axis(1), Axis(1))


def _join(fields: list[Field]) -> Field:
    """The widest field and jump, on the finest map."""
    largest = max(fields, key=lambda field: math.prod(field.grid))
    size = max(f.size[0] for f in fields), max(f.size[1] for f in fields)
    jump = max(f.jump[0] for f in fields), max(f.jump[1] for f in fields)
    return replace(largest, size=size, jump=jump, whole=any(f.whole for f in fields))


def _moved(field: Field, taps: Sequence[int], strides: Sequence[Fraction], grid: tuple[int, int]) -> Field:
    """The field of an output that reads ``taps`` neighbors and whose step is ``strides`` times as long."""
    down, right = (jump * stride for jump, stride in zip(field.jump, strides, strict=True))
    return replace(_widened(field, taps), jump=(down, right), grid=grid)


def _widened(field: Field, taps: Sequence[int]) -> Field:
    """The field of as many neighbors together: r + (k - 1)j."""
    if field.whole:
        return field
    sides = zip(field.size, field.jump, taps, strict=True)
    height, width = (size + (n - 1) * jump for size, jump, n in sides)
    return replace(field, size=(height, width))


def _mixes(node: ir.Node, shapes: Mapping[ir.Value, Shape], layers: frozenset[ir.Node]) -> bool:
    """Whether each output of a node depends on the whole feature map.

    A dense layer does behind Flatten, (N, C*H*W), and not on tokens, (N, T, C) or (T*N, C); attention, the
    product of two computed values, does; so do pooling and reduction over the map.
    """
    before = shapes.get(node.inputs[0]) if node.inputs[0] is not None else None
    if node.op_type in _GLOBAL:
        return True
    if node.op_type.startswith("Reduce"):
        return _reduces_space(before, shapes.get(node.outputs[0]))
    if node.op_type not in ("Gemm", "MatMul"):
        return node.op_type == "Attention"
    if len(data_inputs(node, layers)) == 2:
        return True
    return before is not None and len(before) == 2 and before[0] in (BATCH, 1)


def _reduces_space(before: Shape | None, after: Shape | None) -> bool:
    """Whether a reduction runs over another axis than the channels of (N, C, H, W) or of tokens (N, T, C)."""
    if before is None or after is None:
        return False
    axes = {3: (1,), 4: (2, 3)}.get(len(before), ())
    if len(after) == len(before):
        return any(before[i] != after[i] for i in axes)
    return len(after) <= 2
