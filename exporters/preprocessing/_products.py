"""Resize and crop as two matrix products, columns first, equal to Pillow's resize to the bit.

A row of the resized image is a weighted sum of a few rows of the image, so blocks of rows are products of a
small matrix and a few rows. The graph computes the weights from the image's shape, reads only what the crop
needs, and multiplies in one of three ways:

- ``float``: in float32, where halves may round the other way.
- ``pieces``: weights of 22 bits, as Pillow's, in pieces of 14 and 8 bits, whose sums are exact in float32.
- ``bytes``: the same in three signed bytes for MatMulInteger: less memory, and faster on large images.

ONNX's Resize with antialias is a loop over output bytes in onnxruntime, and OpenVINO ignores its antialias.
The method is Pillow's (Pillow 13, ``Resample.c``): filters widen when the image shrinks, weights sum to 1,
the width is resized and rounded to bytes before the height.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from cnntk.exporters.preprocessing._node_builder import FLOAT, INT64, UINT8, Dims, ImageValue, NodeBuilder
from cnntk.runtime.artifact.spec import PREPROCESS_SCOPE, Interpolation, Preprocessing

Method = Literal["float", "pieces", "bytes"]

_EXACT: tuple[Method, Method] = ("bytes", "pieces")
"""Methods for large and for other images."""

_LARGE = 3 << 19
"""Pixels of an image from which on ``bytes`` are faster than ``pieces``: 1.6 million."""

_COLUMNS, _ROWS = 8, 16  # sizes of blocks: more of them share fewer weights that are 0
_BITS = 22  # of a weight's fraction, in Pillow
DOUBLE = ir.DataType.DOUBLE

_SMALL = 96
"""Sides below which ONNX's Resize is faster: weights cost 40 µs."""


def with_resize_form(p: Preprocessing, form: Literal["exact", "fast"]) -> Preprocessing:
    """Returns preprocessing that resizes in this form, if matrix products can, and are faster."""
    filters = p.antialias and p.levels == "uint8" and p.interpolation in _FILTERS
    small = max(p.height, p.width) < _SMALL and p.interpolation != "lanczos"  # which ONNX's Resize lacks
    return replace(p, resize_form=form if filters and not small else "operator")


class Nodes:
    """Nodes of a subgraph, whose names begin with ``scope``."""

    def __init__(self, scope: str) -> None:
        self._scope = scope
        self._nodes: list[ir.Node] = []
        self._constants: dict[tuple[Any, ...], ir.Value] = {}

    def add(
        self,
        operator: str,
        *inputs: Expression | ir.Value,
        dtype: ir.DataType | None = None,
        **attributes: Any,
    ) -> Expression:
        """Adds a node; its type is by default that of the first input."""
        return self.add_several(operator, *inputs, count=1, dtype=dtype, **attributes)[0]

    def add_several(
        self,
        operator: str,
        *inputs: Expression | ir.Value,
        count: int,
        dtype: ir.DataType | None = None,
        **attributes: Any,
    ) -> list[Expression]:
        """Adds a node of ``count`` outputs."""
        values = [x.value if isinstance(x, Expression) else x for x in inputs]
        node = ir.node(operator, values, attributes, num_outputs=count)
        node.name = f"{self._scope}/{operator}_{len(self._nodes)}"
        for i, output in enumerate(node.outputs):
            output.name = f"{node.name}.{i}" if count > 1 else node.name
            output.type = ir.TensorType(dtype or values[0].dtype or FLOAT)
        self._nodes.append(node)
        return [Expression(self, output) for output in node.outputs]

    def constant(self, numbers: float | Sequence[int] | NDArray[Any], dtype: ir.DataType) -> Expression:
        """Adds a weight, once for equal numbers."""
        array = np.array(numbers, dtype.numpy())
        key = (array.tobytes(), array.shape, dtype)
        if key not in self._constants:
            name = f"{self._scope}/constant_{len(self._constants)}"
            tensor = ir.tensor(array, name=name)
            self._constants[key] = ir.Value(
                name=name, shape=ir.Shape(array.shape), type=ir.TensorType(dtype), const_value=tensor
            )
        return Expression(self, self._constants[key])

    def int64(self, numbers: int | Sequence[int] | NDArray[np.int64]) -> Expression:
        """Adds an int64 weight."""
        return self.constant(numbers, INT64)

    def select(
        self, condition: Expression, then: Callable[[Nodes], Expression], other: Callable[[Nodes], Expression]
    ) -> Expression:
        """Adds an If of two expressions, whose nodes the functions add."""
        branches = [Nodes(f"{self._scope}/{side}") for side in ("then", "else")]
        values = [build(nodes) for build, nodes in zip((then, other), branches, strict=True)]
        graphs = [nodes.graph(value, nodes._scope) for nodes, value in zip(branches, values, strict=True)]
        dtype = values[0].dtype
        return self.add("If", condition, dtype=dtype, then_branch=graphs[0], else_branch=graphs[1])

    def graph(self, output: Expression, name: str) -> ir.Graph:
        """The subgraph without inputs that returns ``output``."""
        constants = list(self._constants.values())
        return ir.Graph([], [output.value], nodes=self._nodes, initializers=constants, name=name)


@dataclass(frozen=True)
class Expression:
    """A value of a subgraph, with numpy's operators, which add nodes; numbers get the type of the value."""

    nodes: Nodes
    value: ir.Value

    def _binary(self, operator: str, other: Expression | float) -> Expression:
        return self.nodes.add(operator, self, self._like(other))

    def _like(self, other: Expression | float) -> Expression:
        return other if isinstance(other, Expression) else self.nodes.constant(other, self.dtype)

    @property
    def dtype(self) -> ir.DataType:
        """Type of the value."""
        return self.value.dtype or FLOAT

    def __add__(self, other: Expression | float) -> Expression:
        return self._binary("Add", other)

    def __sub__(self, other: Expression | float) -> Expression:
        return self._binary("Sub", other)

    def __mul__(self, other: Expression | float) -> Expression:
        return self._binary("Mul", other)

    def __truediv__(self, other: Expression | float) -> Expression:
        """The quotient; of integers, without its fraction."""
        return self._binary("Div", other)

    def __rsub__(self, other: float) -> Expression:
        return self._like(other) - self

    def __lt__(self, other: Expression | float) -> Expression:
        return self.nodes.add("Less", self, self._like(other), dtype=ir.DataType.BOOL)

    def max(self, other: Expression | float) -> Expression:
        """The larger of two values."""
        return self._binary("Max", other)

    def min(self, other: Expression | float) -> Expression:
        """The smaller of two values."""
        return self._binary("Min", other)

    def cast(self, dtype: ir.DataType) -> Expression:
        """The value as another type."""
        return self if self.dtype == dtype else self.nodes.add("Cast", self, dtype=dtype, to=int(dtype))

    def slice(self, start: int | Expression, end: int | Expression, axes: Sequence[int]) -> Expression:
        """A part of the value, from ``start`` to ``end``, which have one number an axis."""
        ends = [x if isinstance(x, Expression) else self.nodes.int64([x]) for x in (start, end)]
        return self.nodes.add("Slice", self, *ends, self.nodes.int64(axes))

    def gather(self, indices: Expression, axis: int) -> Expression:
        """The elements of these indices."""
        return self.nodes.add("Gather", self, indices, axis=axis)

    def reshape(self, *sizes: int | Expression) -> Expression:
        """The value with another shape; 0 keeps a size, -1 is what is left."""
        if all(isinstance(size, int) for size in sizes):
            shape = self.nodes.int64([size for size in sizes if isinstance(size, int)])
        else:
            parts = [size if isinstance(size, Expression) else self.nodes.int64([size]) for size in sizes]
            shape = self.nodes.add("Concat", *parts, axis=0)
        return self.nodes.add("Reshape", self, shape)


@dataclass(frozen=True)
class ResizedSide:
    """How one side of an image is resized and cropped; all numbers are int64 [1].

    Attributes:
        size: Length of the side.
        resized: Length after the resize.
        start: First pixel of the resized side that is kept.
        length: Number of pixels that stay: a number, or an expression where the graph computes it.
    """

    size: Expression
    resized: Expression
    start: Expression
    length: int | Expression


@dataclass(frozen=True)
class Taps:
    """The pixels that blocks of B resized pixels are computed from, K for each of the blocks.

    Attributes:
        first: First pixel of the side that is read, int64 [1].
        end: Pixel after the last one, int64 [1].
        offsets: Pixels of each block, counted from ``first``, int64 [blocks, K].
        weights: Weights times 2^22, whole numbers in float64 [blocks, B, K].
    """

    first: Expression
    end: Expression
    offsets: Expression
    weights: Expression


def taps(nodes: Nodes, side: ResizedSide, block: int, interpolation: Interpolation) -> Taps:
    """Adds the nodes that compute which pixels are read, and their weights.

    Positions are integers in units of ``1 / (2 * resized)`` pixels, so that no rounding moves a filter.

    Args:
        nodes: Nodes to add to.
        side: Side that is resized.
        block: Number of resized pixels of a block.
        interpolation: Filter.
    """
    support, kernel = _FILTERS[interpolation]
    size, unit = side.size, side.resized * 2
    wide = size.max(side.resized)
    reach = wide * (2 * support)
    center = ((_indices(nodes, side.length, block) + side.start) * 2 + 1) * size
    lead = center.slice(0, 1, [1])
    count = ((size * (2 * (block - 1)) + reach * 2) / unit + 2).min(size)
    start = ((lead - reach + side.resized) / unit).max(0).min(size - count)
    first, last = (start.slice(a, b, [0]).reshape(1) for a, b in ((0, 1), (-1, np.iinfo(np.int64).max)))
    tap = nodes.add("Range", nodes.int64(0), count.reshape(), nodes.int64(1))
    relative = nodes.add("Unsqueeze", center - start * unit - side.resized, nodes.int64([2]))
    distance = nodes.add("Abs", tap * unit - relative).cast(DOUBLE)
    weights = kernel(distance / (wide * 2).cast(DOUBLE))
    weights = weights / nodes.add("ReduceSum", weights, nodes.int64([2]), keepdims=1)
    weights = nodes.add("Round", weights * 2.0**_BITS)
    return Taps(first, last + count, start - first + tap, weights)


def _indices(nodes: Nodes, length: int | Expression, block: int) -> Expression:
    """The pixels 0 to ``length - 1`` in blocks, [blocks, block]; the last one fills the last block."""
    if isinstance(length, int):
        blocks = -(-length // block)
        return nodes.int64(np.minimum(np.arange(blocks * block), length - 1).reshape(blocks, block))
    end = (length + (block - 1)) / block * block
    indices = nodes.add("Range", nodes.int64(0), end.reshape(), nodes.int64(1))
    return indices.min(length - 1).reshape(-1, block)


def _linear(x: Expression) -> Expression:
    return (1.0 - x).max(0.0)


def _cubic(x: Expression) -> Expression:
    """The cubic convolution kernel with a = -0.5 (Keys 1981)."""
    near = (x * 1.5 - 2.5) * x * x + 1.0
    y = x.min(2.0)
    far = (((y - 5.0) * y + 8.0) * y - 4.0) * -0.5
    return x.nodes.add("Where", x < 1.0, near, far, dtype=DOUBLE)


def _lanczos(x: Expression) -> Expression:
    """``sinc(x) * sinc(x / 3)`` up to 3."""
    sinc = [x.nodes.add("Sin", y) / y for y in (x.max(1e-9) * np.pi, x.max(1e-9) * (np.pi / 3))]
    zero = x.nodes.constant(0.0, DOUBLE)
    return x.nodes.add("Where", x < 3.0, sinc[0] * sinc[1], zero, dtype=DOUBLE)


_FILTERS: dict[Interpolation, tuple[int, Callable[[Expression], Expression]]] = {
    "bilinear": (1, _linear),
    "bicubic": (2, _cubic),
    "lanczos": (3, _lanczos),
}
"""Half the width of each filter, and its value at a distance of 0 or more."""


def multiply(nodes: Nodes, weights: Expression, pixels: Expression, method: Method, axis: int) -> Expression:
    """The product of weights, times 2^22, and pixels uint8 [..., blocks, K, M], rounded to uint8.

    Args:
        nodes: Nodes to add to.
        weights: Whole numbers in float64 [blocks, B, K].
        pixels: Pixel values.
        method: Arithmetic of the product.
        axis: Axis of B in the result.
    """
    weights, pixels = Expression(nodes, weights.value), Expression(nodes, pixels.value)
    if method == "float":
        product = nodes.add("MatMul", (weights * 2.0**-_BITS).cast(FLOAT), pixels.cast(FLOAT))
        return _rounded(product, 1 - 2.0**-20)  # QuantizeLinear rounds halves to even, Pillow up
    high = nodes.add("Floor", (weights + 128.0) * 2.0**-8)
    low = weights - high * 256.0  # -128 to 127
    if method == "pieces":
        # high sums to less than 2^14 * 255 * 2, low to less than 2^15 a pixel: exact for 512 pixels.
        stacked = nodes.add("Concat", high, low * 2.0**-8, axis=1).cast(FLOAT)
        product = nodes.add("MatMul", stacked, pixels.cast(FLOAT))
        high, low = nodes.add_several("Split", product, count=2, axis=axis, num_outputs=2)
        return _rounded(high + (nodes.add("Floor", low) + 0.5), 2.0 ** (_BITS - 8))  # never a tie
    top = nodes.add("Floor", (high + 128.0) * 2.0**-8)
    stacked = nodes.add("Concat", top, high - top * 256.0, low, axis=1) + 128.0
    product = nodes.add(
        "MatMulInteger", stacked.cast(UINT8), pixels, nodes.constant(128, UINT8), dtype=ir.DataType.INT32
    )
    top, middle, low = nodes.add_several("Split", product, count=3, axis=axis, num_outputs=3)
    total = (top * 256 + middle) * 256 + low
    # Without its last 7 bits a sum is exact in float32; with 64 in their place it is never a tie.
    bits = nodes.add("BitwiseAnd", total, nodes.constant(-128, ir.DataType.INT32))
    bits = nodes.add("BitwiseOr", bits, nodes.constant(64, ir.DataType.INT32))
    return _rounded(bits.cast(FLOAT), 2.0**_BITS)


def _rounded(values: Expression, level: float) -> Expression:
    """Values in units of ``level``, rounded and clipped to bytes."""
    nodes = values.nodes
    scale, zero = nodes.constant(level, FLOAT), nodes.constant(0, UINT8)
    return nodes.add("QuantizeLinear", values, scale, zero, dtype=UINT8)


def resize_and_crop(
    builder: NodeBuilder,
    image: ImageValue,
    size: ir.Value,
    resized: ir.Value,
    start: ir.Value | None,
    p: Preprocessing,
) -> ImageValue:
    """Resizes uint8 images (N, H, W, C), and crops them.

    Args:
        builder: Builder of the graph.
        image: Images of any size.
        size: Their height and width, int64 [2].
        resized: Height and width to resize to, int64 [2].
        start: First row and column of the crop, int64 [2]; None without a crop.
        p: Preprocessing whose form is ``exact`` or ``fast``.

    Returns:
        uint8 (N, C, height, width), in one node, If: images of the right size are only cropped.
    """
    if start is None:
        dims: Dims = (image.dims[0], image.channels, "resized_height", "resized_width")
    else:
        dims = (image.dims[0], image.channels, p.height, p.width)
    branches = {
        "then_branch": _cropped(image, start, p),
        "else_branch": _resized(image, size, resized, start, p),
    }
    fits = _equal(builder, size, resized)
    value = builder.add("If", [fits], branches, name="resize_and_crop", dtype=UINT8, shape=dims)
    return ImageValue(value, dims, resized if start is None else None, (2, 3))


def _equal(builder: NodeBuilder, size: ir.Value, resized: ir.Value) -> ir.Value:
    """Whether images have the size to resize to already."""
    equal = builder.add("Equal", [size, resized], name="sides_fit", dtype=ir.DataType.BOOL)
    count = builder.add(
        "Cast", [equal], {"to": int(ir.DataType.INT32)}, name="sides_fit_count", dtype=ir.DataType.INT32
    )
    both = builder.add("ReduceMin", [count], {"keepdims": 0}, name="both_fit", shape=())
    return builder.add("Cast", [both], {"to": int(ir.DataType.BOOL)}, name="fits", dtype=ir.DataType.BOOL)


def _cropped(image: ImageValue, start: ir.Value | None, p: Preprocessing) -> ir.Graph:
    nodes = Nodes(f"{PREPROCESS_SCOPE}/cropped")
    value = Expression(nodes, image.value)
    if start is not None and (p.resize == "shortest" or p.edges != (p.height, p.width)):
        first = Expression(nodes, start)
        value = value.slice(first, first + nodes.int64([p.height, p.width]), [1, 2])
    return nodes.graph(nodes.add("Transpose", value, perm=[0, 3, 1, 2]), "cropped")


def _resized(
    image: ImageValue, size: ir.Value, resized: ir.Value, start: ir.Value | None, p: Preprocessing
) -> ir.Graph:
    nodes = Nodes(f"{PREPROCESS_SCOPE}/resized")

    def side(values: ir.Value, index: int) -> Expression:
        return Expression(nodes, values).slice(index, index + 1, [0])

    vertical, horizontal = (
        ResizedSide(side(size, i), side(resized, i), nodes.int64([0]), side(resized, i))
        if start is None
        else ResizedSide(side(size, i), side(resized, i), side(start, i), length)
        for i, length in enumerate((p.height, p.width))
    )
    rows = taps(nodes, vertical, _ROWS, p.interpolation)
    columns = taps(nodes, horizontal, _COLUMNS, p.interpolation)
    shape = nodes.add("Shape", image.value, start=3, dtype=INT64)
    channels: Expression | int = image.channels if isinstance(image.channels, int) else shape
    first, end = (
        nodes.add("Concat", *pair, axis=0) for pair in ((rows.first, columns.first), (rows.end, columns.end))
    )
    value = Expression(nodes, image.value).slice(first, end, [1, 2])
    value = nodes.add("Transpose", value, perm=[0, 2, 3, 1]).reshape(0, 0, -1)
    value = value.gather(columns.offsets, 1)
    if p.resize_form == "fast":
        value = multiply(nodes, columns.weights, value, "float", 2)
    else:
        pixels = vertical.size * horizontal.size
        by_bytes, by_pieces = (
            functools.partial(multiply, weights=columns.weights, pixels=value, method=method, axis=2)
            for method in _EXACT
        )
        value = nodes.select(nodes.int64([_LARGE]) < pixels, by_bytes, by_pieces)
    value = _to(value.reshape(0, -1, channels, rows.end - rows.first), horizontal.length, _COLUMNS, 1)
    value = nodes.add("Transpose", value, perm=[0, 2, 3, 1]).gather(rows.offsets, 2)
    value = multiply(nodes, rows.weights, value, "float" if p.resize_form == "fast" else "pieces", 3)
    return nodes.graph(_to(value.reshape(0, 0, -1, horizontal.length), vertical.length, _ROWS, 2), "resized")


def _to(value: Expression, length: int | Expression, block: int, axis: int) -> Expression:
    """Removes the pixels that only fill the last block."""
    if isinstance(length, int) and length % block == 0:
        return value
    return value.slice(0, length, [axis])
