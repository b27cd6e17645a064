"""The shape of each layer's output by a formula from the shapes of its inputs.

Convolution and pooling: floor((n + 2p - d(k - 1) - 1)/s) + 1 along each axis (Dumoulin and Visin, "A guide to
convolution arithmetic for deep learning", 2016), with unequal pads, rounding up and ONNX's ``auto_pad``.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import zip_longest

import onnx_ir as ir

from cnntk.exporters.shapes._dims import (
    Dim,
    Shape,
    batch_symbols,
    product,
    quotient,
    recorded_shape,
    same,
    shape_text,
)
from cnntk.exporters.shapes._shape_values import constant_shape, shape_value
from cnntk.exporters.shapes._windows import transposed_window, window
from cnntk.exporters.shapes.dataflow import layer_name, layer_nodes

_SAME_SHAPE = [
    "Abs",
    "Acos",
    "Asin",
    "Atan",
    "BatchNormalization",
    "Cast",
    "CastLike",
    "Ceil",
    "Celu",
    "Clip",
    "Cos",
    "CumSum",
    "DequantizeLinear",
    "Dropout",
    "Elu",
    "Erf",
    "Exp",
    "Floor",
    "Gelu",
    "GroupNormalization",
    "HardSigmoid",
    "HardSwish",
    "Hardmax",
    "Identity",
    "InstanceNormalization",
    "IsInf",
    "IsNaN",
    "LRN",
    "LayerNormalization",
    "LeakyRelu",
    "Log",
    "LogSoftmax",
    "LpNormalization",
    "MeanVarianceNormalization",
    "Mish",
    "Neg",
    "Not",
    "QuantizeLinear",
    "RMSNormalization",
    "Reciprocal",
    "Relu",
    "Round",
    "Selu",
    "Shrink",
    "Sigmoid",
    "Sign",
    "Sin",
    "Softmax",
    "Softplus",
    "Softsign",
    "Sqrt",
    "Swish",
    "Tan",
    "Tanh",
    "ThresholdedRelu",
]
"""Operators whose output has the first input's shape."""

_BROADCASTING = [
    "Add",
    "And",
    "Div",
    "Equal",
    "Greater",
    "GreaterOrEqual",
    "Less",
    "LessOrEqual",
    "Max",
    "Mean",
    "Min",
    "Mod",
    "Mul",
    "Or",
    "PRelu",
    "Pow",
    "Sub",
    "Sum",
    "Where",
    "Xor",
]
"""Operators whose inputs are broadcast."""

_REDUCTIONS = [
    "ReduceL1",
    "ReduceL2",
    "ReduceLogSum",
    "ReduceLogSumExp",
    "ReduceMax",
    "ReduceMean",
    "ReduceMin",
    "ReduceProd",
    "ReduceSum",
    "ReduceSumSquare",
]
"""Operators that reduce axes to 1, or remove them."""


@dataclass(frozen=True)
class ShapeFormula:
    """The shape of one layer's output by arithmetic.

    Attributes:
        layer: Name of the torch module, or of the node.
        op: ONNX operator.
        value: Name of the node's first output.
        shape: Shape of that output; None where the operator has no formula, or an input's shape is not known.
        text: Arithmetic, like ``floor((28 + 2*2 - 1*(5-1) - 1)/1) + 1 = 28``; or why there is none.
    """

    layer: str
    op: str
    value: str
    shape: Shape | None
    text: str


def shape_formulas(model: ir.Model) -> tuple[ShapeFormula, ...]:
    """A formula for each layer; behind a layer without one, the shape recorded in the graph is used."""
    shapes = _Shapes(model)
    layers = frozenset(layer_nodes(model))
    rows = []
    for node in model.graph:
        shape, text = shapes.predict(node)
        if node in layers:
            rows.append(ShapeFormula(layer_name(node), node.op_type, node.outputs[0].name or "", shape, text))
    return tuple(rows)


class _Shapes:
    """Shapes, and values of shape arithmetic, of the nodes so far."""

    def __init__(self, model: ir.Model) -> None:
        self._symbols = batch_symbols(model)
        self._shapes: dict[ir.Value, Shape] = {}
        self._numbers: dict[ir.Value, Shape] = {}

    def predict(self, node: ir.Node) -> tuple[Shape | None, str]:
        """Shape of a node's output and the arithmetic; stored for the nodes behind it."""
        if (numbers := shape_value(node, self.numbers, self.shape)) is not None:
            self._numbers[node.outputs[0]] = numbers
        shape, text = self._formula(node)
        if shape is not None:
            self._shapes[node.outputs[0]] = shape
        return shape, text

    def shape(self, value: ir.Value | None) -> Shape | None:
        """Shape of a value: by formula, else as recorded in the graph."""
        if value is None:
            return None
        if (shape := self._shapes.get(value)) is not None:
            return shape
        constant = constant_shape(value)
        return recorded_shape(value, self._symbols) if constant is None else constant

    def numbers(self, value: ir.Value | None) -> Shape | None:
        """Integers that a value holds, with the batch as a symbol."""
        if value is None or value in self._numbers:
            return self._numbers.get(value) if value is not None else None
        return shape_value(value, self.numbers, self.shape)

    def _formula(self, node: ir.Node) -> tuple[Shape | None, str]:
        formula = _FORMULAS.get(node.op_type)
        if formula is None or node.domain not in ("", "ai.onnx"):
            return None, "no formula"
        shapes = [self.shape(value) for value in node.inputs]
        numbers = [self.numbers(value) for value in node.inputs]
        try:
            return formula(node, shapes, numbers)
        except _UnknownError as unknown:
            return None, str(unknown)
        except ValueError as error:
            return None, f"no shape: {error}"


class _UnknownError(Exception):
    """An input of a formula is not known."""


_Inputs = list[Shape | None]
_Formula = Callable[[ir.Node, _Inputs, _Inputs], tuple[Shape | None, str]]


def _need(shape: Shape | None, what: str = "the shape of its input") -> Shape:
    if shape is None:
        raise _UnknownError(f"{what} is not known")
    return shape


def _same(node: ir.Node, shapes: _Inputs, numbers: _Inputs) -> tuple[Shape, str]:
    return _need(shapes[0]), "same as its input"


def _broadcast(node: ir.Node, shapes: _Inputs, numbers: _Inputs) -> tuple[Shape, str]:
    inputs = [_need(shape) for shape in shapes]
    text = " and ".join(dict.fromkeys(map(shape_text, inputs)))
    return _broadcast_all(inputs), f"{text} broadcast"


def _broadcast_all(shapes: list[Shape]) -> Shape:
    columns = zip_longest(*(reversed(shape) for shape in shapes), fillvalue=1)
    return tuple(reversed([_broadcast_dims(column) for column in columns]))


def _broadcast_dims(dims: tuple[Dim, ...]) -> Dim:
    kinds = list(dict.fromkeys(d for d in dims if d != 1))
    if len([d for d in kinds if isinstance(d, int)]) > 1:
        raise ValueError(f"{' and '.join(map(str, kinds))} do not broadcast")
    return kinds[0] if len(kinds) == 1 else None if kinds else 1


def _convolution(node: ir.Node, shapes: _Inputs, numbers: _Inputs) -> tuple[Shape, str]:
    before, weight = _need(shapes[0]), _need(shapes[1], "its weight's shape")
    sizes, text = window(node, before, weight[2:])
    return (before[0], weight[0], *sizes), text


def _transposed(node: ir.Node, shapes: _Inputs, numbers: _Inputs) -> tuple[Shape, str]:
    before, weight = _need(shapes[0]), _need(shapes[1], "its weight's shape")
    sizes, text = transposed_window(node, before, weight[2:])
    return (before[0], product((weight[1], node.attributes.get_int("group", 1))), *sizes), text


def _pooling(node: ir.Node, shapes: _Inputs, numbers: _Inputs) -> tuple[Shape, str]:
    before = _need(shapes[0])
    sizes, text = window(node, before, ())
    return (*before[:2], *sizes), text


def _global_pooling(node: ir.Node, shapes: _Inputs, numbers: _Inputs) -> tuple[Shape, str]:
    before = _need(shapes[0])
    return (*before[:2], *(1 for _ in before[2:])), "1 along each axis of the map"


def _gemm(node: ir.Node, shapes: _Inputs, numbers: _Inputs) -> tuple[Shape, str]:
    left = _flipped(_need(shapes[0]), node.attributes.get_int("transA", 0))
    right = _flipped(_need(shapes[1], "its weight's shape"), node.attributes.get_int("transB", 0))
    return _dot(left, right)


def _flipped(shape: Shape, flip: int) -> Shape:
    return tuple(reversed(shape)) if flip else shape


def _matmul(node: ir.Node, shapes: _Inputs, numbers: _Inputs) -> tuple[Shape, str]:
    left, right = _need(shapes[0]), _need(shapes[1])
    if len(left) < 2 or len(right) < 2:
        raise _UnknownError("a product with a vector")
    return _dot(left, right)


def _dot(left: Shape, right: Shape) -> tuple[Shape, str]:
    inner = left[-1], right[-2]
    if all(isinstance(d, int) for d in inner) and inner[0] != inner[1]:
        raise ValueError(f"{shape_text(left)} times {shape_text(right)}: {inner[0]} is not {inner[1]}")
    text = f"{shape_text(left)} times {shape_text(right)}"
    return (*_broadcast_all([left[:-2], right[:-2]]), left[-2], right[-1]), text


def _flatten(node: ir.Node, shapes: _Inputs, numbers: _Inputs) -> tuple[Shape, str]:
    before = _need(shapes[0])
    axis = node.attributes.get_int("axis", 1)
    cut = axis + len(before) if axis < 0 else axis
    return (product(before[:cut]), product(before[cut:])), _factors(before[cut:])


def _factors(dims: Shape) -> str:
    return f"{'*'.join(map(str, dims)) or '1'} = {product(dims)}"


def _reshape(node: ir.Node, shapes: _Inputs, numbers: _Inputs) -> tuple[Shape, str]:
    target = _need(numbers[1], "the target shape")
    if not node.attributes.get_int("allowzero", 0):
        target = tuple(_need(shapes[0])[i] if d == 0 else d for i, d in enumerate(target))
    shape = _need(shapes[0])
    before = product(shape)
    rest = quotient(before, product(d for d in target if d != -1))
    result = tuple(rest if d == -1 else d for d in target)
    if same(before, product(result)) is False:
        raise ValueError(f"{before} elements do not fit {shape_text(result)}")
    return result, f"{shape_text(shape)}, {before} elements"


def _concat(node: ir.Node, shapes: _Inputs, numbers: _Inputs) -> tuple[Shape, str]:
    inputs = [_need(shape) for shape in shapes]
    first = inputs[0]
    axis = node.attributes.get_int("axis", 0) % len(first)
    sizes = [shape[axis] for shape in inputs]
    total = sum(d for d in sizes if isinstance(d, int)) if all(isinstance(d, int) for d in sizes) else None
    return (*first[:axis], total, *first[axis + 1 :]), f"{' + '.join(map(str, sizes))} = {total}"


def _transpose(node: ir.Node, shapes: _Inputs, numbers: _Inputs) -> tuple[Shape, str]:
    before = _need(shapes[0])
    order = node.attributes.get_ints("perm", tuple(reversed(range(len(before)))))
    return tuple(before[i] for i in order), f"axes {', '.join(map(str, order))}"


def _axes(node: ir.Node, numbers: _Inputs, rank: int) -> set[int] | None:
    """The axes that a node names in an attribute (old opsets) or in its second input."""
    if "axes" not in node.attributes and (len(node.inputs) < 2 or node.inputs[1] is None):
        return None
    attribute: Shape = tuple(node.attributes.get_ints("axes", ()))
    axes = attribute if "axes" in node.attributes else _need(numbers[1], "the axes")
    return {axis % rank for axis in axes if isinstance(axis, int)}


def _reduce(node: ir.Node, shapes: _Inputs, numbers: _Inputs) -> tuple[Shape, str]:
    before = _need(shapes[0])
    axes = _axes(node, numbers, len(before))
    if axes is None:
        axes = set() if node.attributes.get_int("noop_with_empty_axes", 0) else set(range(len(before)))
    keepdims = node.attributes.get_int("keepdims", 1)
    shape = tuple(1 if i in axes else d for i, d in enumerate(before) if keepdims or i not in axes)
    return shape, f"over the axes {', '.join(map(str, sorted(axes)))}"


def _squeeze(node: ir.Node, shapes: _Inputs, numbers: _Inputs) -> tuple[Shape, str]:
    before = _need(shapes[0])
    axes = _axes(node, numbers, len(before))
    if axes is None:
        axes = {i for i, d in enumerate(before) if d == 1}
    return tuple(d for i, d in enumerate(before) if i not in axes), "axes of 1 removed"


def _unsqueeze(node: ir.Node, shapes: _Inputs, numbers: _Inputs) -> tuple[Shape, str]:
    before = _need(shapes[0])
    count = len(_need(numbers[1], "the axes")) if "axes" not in node.attributes else 1
    axes = _axes(node, numbers, len(before) + count) or set()
    rest = iter(before)
    return tuple(1 if i in axes else next(rest) for i in range(len(before) + len(axes))), "axes of 1 inserted"


def _gather(node: ir.Node, shapes: _Inputs, numbers: _Inputs) -> tuple[Shape, str]:
    before, indices = _need(shapes[0]), _need(shapes[1], "the shape of its indices")
    axis = node.attributes.get_int("axis", 0) % len(before)
    return (*before[:axis], *indices, *before[axis + 1 :]), f"selected along axis {axis}"


def _shape(node: ir.Node, shapes: _Inputs, numbers: _Inputs) -> tuple[Shape, str]:
    before = _need(shapes[0])
    dims = before[node.attributes.get_int("start", 0) : node.attributes.get_int("end", len(before))]
    return (len(dims),), f"dimensions of {shape_text(before)}"


def _expand(node: ir.Node, shapes: _Inputs, numbers: _Inputs) -> tuple[Shape, str]:
    target = _need(numbers[1], "the target shape")
    return _broadcast_all([_need(shapes[0]), target]), f"broadcast to {shape_text(target)}"


_FORMULAS: dict[str, _Formula] = {
    **dict.fromkeys(_SAME_SHAPE, _same),
    **dict.fromkeys(_BROADCASTING, _broadcast),
    **dict.fromkeys(_REDUCTIONS, _reduce),
    "AveragePool": _pooling,
    "Concat": _concat,
    "Conv": _convolution,
    "ConvTranspose": _transposed,
    "Expand": _expand,
    "Flatten": _flatten,
    "Gather": _gather,
    "Gemm": _gemm,
    "GlobalAveragePool": _global_pooling,
    "GlobalLpPool": _global_pooling,
    "GlobalMaxPool": _global_pooling,
    "LpPool": _pooling,
    "MatMul": _matmul,
    "MaxPool": _pooling,
    "Reshape": _reshape,
    "Shape": _shape,
    "Squeeze": _squeeze,
    "Transpose": _transpose,
    "Unsqueeze": _unsqueeze,
}
