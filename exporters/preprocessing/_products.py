"""Resize and crop as two matrix products, columns first, equal to Pillow's resize to the bit.

A row of the resized image is a weighted sum of a few rows of the image, so blocks of rows are products of a
small matrix and a few rows. The graph computes the weights from the image's shape, reads only what the crop
needs, and goes through the rows in Loops, so that what is between stays in the processor's cache, which takes
half the time at 12 megapixels. Products are in float32:

- ``fast``: with weights in float32, where halves may round the other way; all that is not rounded.
- ``exact``: with weights of 22 bits, as Pillow's, in pieces of 14 and 8 bits, whose sums are exact.

ONNX's Resize with antialias is a loop over output bytes in onnxruntime, and OpenVINO ignores its antialias.
The method is Pillow's (Pillow 13, ``Resample.c``): filters widen when the image shrinks, weights sum to 1,
the width is resized and rounded to bytes before the height.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Literal

import numpy as np
import onnx_ir as ir

from cnntk.exporters.preprocessing._expressions import DOUBLE, Expression, Nodes
from cnntk.exporters.preprocessing._node_builder import FLOAT, INT64, UINT8, ImageValue, NodeBuilder
from cnntk.runtime.artifact.spec import PREPROCESS_SCOPE, Interpolation, Preprocessing, ResizeForm

_BLOCK = 8
"""Rows or columns of a block: larger ones have more weights that are 0."""

_STEP = 32
"""Rows of a step of the Loops, of the image and of the result: what they need stays below 1 MB."""

_BITS = 22  # of a weight's fraction, in Pillow

_SMALL = 96
"""Sides below which ONNX's Resize is faster: weights cost 40 µs."""


def with_resize_form(p: Preprocessing, form: Literal["exact", "fast"]) -> Preprocessing:
    """Returns preprocessing that resizes in this form, if matrix products can, and are faster."""
    filters = p.antialias and p.interpolation in _FILTERS
    form = form if p.levels == "uint8" else "fast"
    small = max(p.height, p.width) < _SMALL and p.interpolation != "lanczos"  # which ONNX's Resize lacks
    return replace(p, resize_form=form if filters and not small else "operator")


@dataclass(frozen=True)
class Blocks:
    """The blocks of resized pixels, along both sides of an image; [2, ...] are height and width.

    Attributes:
        first: First pixel of the image that each block is computed from, int64 [2, blocks].
        counts: Number of pixels that each block is computed from, int64 [2, 1].
        weights: Weights times 2^22, whole numbers in float64 [2, blocks, `_BLOCK`, K]; K is the larger of
            ``counts``.
    """

    first: Expression
    counts: Expression
    weights: Expression


def blocks(
    nodes: Nodes,
    size: Expression,
    resized: Expression,
    start: Expression | None,
    p: Preprocessing,
) -> Blocks:
    """Adds the nodes that compute which pixels are read, and their weights.

    Positions are integers in units of ``1 / (2 * resized)`` pixels, so that no rounding moves a filter. Both
    sides are computed together, because a node costs more time than its numbers.

    Args:
        nodes: Nodes to add to.
        size: Height and width, int64 [2].
        resized: Height and width after the resize, int64 [2].
        start: First row and column of the crop, int64 [2]; None without one.
        p: Preprocessing whose form is ``exact`` or ``fast``.
    """
    support, weigh = _FILTERS[p.interpolation]
    size, resized = (x.reshape(2, 1, 1, 1) for x in (size, resized))
    unit, wide = resized * 2, size.max(resized)
    reach = wide * (2 * support)
    center = _centers(nodes, resized, start, p) * size
    lead = center.slice(0, 1, [2])
    counts = ((size * (_BLOCK - 1) + reach) / resized + 2).min(size)
    first = ((lead - reach + resized) / unit).max(0).min(size - counts)
    tap = nodes.add("Range", nodes.int64(0), nodes.add("ReduceMax", counts, keepdims=0), nodes.int64(1))
    distance = nodes.add("Abs", tap * unit - (center - first * unit - resized))
    inside = first + tap < size  # which K pixels of the shorter side may not be
    distance = nodes.add("Where", inside, distance, wide * 8, dtype=INT64)
    return Blocks(first.reshape(2, -1), counts.reshape(2, 1), weigh(distance, wide * 2))


def _centers(nodes: Nodes, resized: Expression, start: Expression | None, p: Preprocessing) -> Expression:
    """Twice the centers of the resized pixels, [1 or 2, blocks, `_BLOCK`, 1]; the last fills its block."""
    count = -(-max(p.height, p.width) // _STEP) * _STEP
    if start is None:
        odd = nodes.int64(2 * np.arange(count).reshape(1, -1, _BLOCK, 1) + 1)
        return odd.min(resized * 2 - 1)
    indices = np.minimum(np.arange(count), np.array([[p.height], [p.width]]) - 1)
    return nodes.int64(2 * indices.reshape(2, -1, _BLOCK, 1) + 1) + (start * 2).reshape(2, 1, 1, 1)


def _linear(distance: Expression, width: Expression) -> Expression:
    """Weights ``width - distance`` by their sum, as quotients of whole numbers.

    The lower half of the bits is the quotient of the upper half's remainder, so that OpenVINO gets the same,
    which computes float64 as float32.
    """
    nodes, half = distance.nodes, 2.0 ** (_BITS // 2)
    weights = (width - distance).cast(DOUBLE).max(0.0)
    scaled, total = weights * half, _sum(weights)
    upper = nodes.add("Floor", scaled / total)
    return upper * half + nodes.add("Round", (scaled - upper * total) * half / total)


def _by_kernel(
    kernel: Callable[[Expression], Expression], distance: Expression, width: Expression
) -> Expression:
    """Weights that are values of a function, at distances in units of ``width``, by their sum."""
    values = kernel(distance.cast(DOUBLE) / width.cast(DOUBLE))
    return distance.nodes.add("Round", values / _sum(values) * 2.0**_BITS)


def _sum(weights: Expression) -> Expression:
    return weights.nodes.add("ReduceSum", weights, weights.nodes.int64([3]), keepdims=1)


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


_FILTERS: dict[Interpolation, tuple[int, Callable[[Expression, Expression], Expression]]] = {
    "bilinear": (1, _linear),
    "bicubic": (2, partial(_by_kernel, _cubic)),
    "lanczos": (3, partial(_by_kernel, _lanczos)),
}
"""Half of each filter's width, and weights times 2^22 at distances of 0 or more, whole numbers in float64."""


def _matrices(weights: Expression, form: ResizeForm) -> Expression:
    """The matrices, float32 [2, blocks, B or 2 B, K], of weights times 2^22."""
    if form == "fast":
        return (weights * 2.0**-_BITS).cast(FLOAT)
    nodes = weights.nodes
    high = nodes.add("Floor", (weights + 128.0) * 2.0**-8)
    low = (weights - high * 256.0) * 2.0**-8  # -128 to 127, over 256
    return nodes.add("Concat", high, low, axis=2).cast(FLOAT)


def _multiply(matrices: Expression, pixels: Expression, p: Preprocessing) -> Expression:
    """The product of matrices and pixels (N, blocks, K, M), (N, blocks, `_BLOCK`, M) of type ``p.levels``."""
    nodes = matrices.nodes
    product = nodes.add("MatMul", matrices, pixels.cast(FLOAT))
    if p.levels == "float32":
        return product
    if p.resize_form == "fast":
        return _rounded(product, 1 - 2.0**-20)  # QuantizeLinear rounds halves to even, Pillow up
    # high sums to less than 2^14 * 255 * 2, low to less than 2^15 a pixel: exact for 512 weights but 0.
    high, low = nodes.add_several("Split", product, count=2, axis=2, num_outputs=2)
    # Sums are whole numbers up to 2^22. A scale of one step less moves halves up, and nothing else.
    return _rounded(high + nodes.add("Floor", low), 2.0 ** (_BITS - 8) * (1 - 2.0**-23))


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
        ``p.levels`` (N, height, width, C), in one node, If: images of the right size are only cropped.
    """
    dims = image.with_size(*(("resized_height", "resized_width") if start is None else (p.height, p.width)))
    branches = {
        "then_branch": _cropped(image, start, p),
        "else_branch": _resized(image, size, resized, start, p),
    }
    fits = _equal(builder, size, resized)
    dtype = UINT8 if p.levels == "uint8" else FLOAT
    value = builder.add("If", [fits], branches, name="resize_and_crop", dtype=dtype, shape=dims)
    return ImageValue(value, dims, resized if start is None else None)


def with_stated_size(builder: NodeBuilder, image: ImageValue, p: Preprocessing) -> ImageValue:
    """Images (N, H, W, C) from an If are reshaped to their own shape, which is at most (height, width).

    OpenVINO 2026.4 writes other values over an If's output before it is read, in the first inference, unless
    a node whose shape depends on values follows. An Expand must come before that, or it subtracts the mean in
    bytes.
    """
    if not any(node.op_type == "If" for node in builder.nodes):
        return image
    shape = builder.add("Shape", [image.value], name="images_shape", dtype=INT64, shape=(4,))
    largest = builder.constant("largest_shape", [2**31 - 1, p.height, p.width, p.channels], INT64)
    limited = builder.add("Min", [shape, largest], name="limited_shape", dtype=INT64, shape=(4,))
    value = builder.add("Reshape", [image.value, limited], name="images", dtype=image.dtype, shape=image.dims)
    return image.with_value(value)


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
    value = nodes.use(image.value)
    if start is not None and (p.resize == "shortest" or p.edges != (p.height, p.width)):
        first = nodes.use(start)
        value = value.slice(first, first + nodes.int64([p.height, p.width]), [1, 2])
    else:
        value = nodes.add("Identity", value)
    return nodes.graph([value if p.levels == "uint8" else value.cast(FLOAT)], "cropped")


def _resized(
    image: ImageValue, size: ir.Value, resized: ir.Value, start: ir.Value | None, p: Preprocessing
) -> ir.Graph:
    nodes = Nodes(f"{PREPROCESS_SCOPE}/resized")
    sizes, lengths = nodes.use(size), nodes.use(resized)
    all_blocks = blocks(nodes, sizes, lengths, nodes.use(start) if start else None, p)
    if start is not None:
        lengths = nodes.int64([p.height, p.width])
    shape = nodes.add("Shape", nodes.use(image.value), start=3, dtype=INT64)
    channels = nodes.int64([image.channels]) if isinstance(image.channels, int) else shape
    matrices = _matrices(all_blocks.weights, p.resize_form)
    rows = _side(all_blocks, matrices, lengths, 0, _STEP)
    columns = _side(all_blocks, matrices, lengths, 1, _BLOCK)
    value, last = _columns(nodes, image, rows, columns, channels, p)
    value = _rows(nodes, value, rows, last, p)
    width = (lengths.slice(1, 2, [0]) + (_BLOCK - 1)) / _BLOCK * _BLOCK
    value = value.reshape(0, -1, width, channels)
    if start is None or p.height % _STEP or p.width % _BLOCK:
        value = value.slice(nodes.int64([0, 0]), lengths, [1, 2])
    return nodes.graph([value], "resized")


@dataclass(frozen=True)
class Side:
    """The blocks along one side.

    Attributes:
        offsets: Pixels that each block is computed from, counted from ``start``, int64 [blocks, K].
        start: First pixel of all, int64 [1].
        length: Number of pixels from the first of all to the last, int64 [1].
        matrices: Matrices of the blocks, float32 [blocks, `_BLOCK` or twice as many, K].
    """

    offsets: Expression
    start: Expression
    length: Expression
    matrices: Expression


def _side(every: Blocks, matrices: Expression, lengths: Expression, axis: int, multiple: int) -> Side:
    """The blocks along one axis that make up ``multiple`` pixels or a multiple of it."""
    nodes = matrices.nodes
    index = nodes.int64(axis)
    count, first = every.counts.gather(index, 0), every.first.gather(index, 0)
    number = (lengths.slice(axis, axis + 1, [0]) + (multiple - 1)) / multiple * (multiple // _BLOCK)
    first = first.slice(0, number, [0])
    start, last = (first.gather(nodes.int64([i]), 0) for i in (0, -1))
    tap = nodes.add("Range", nodes.int64(0), count.reshape(), nodes.int64(1))
    ends = nodes.add("Concat", number, count, axis=0)
    matrices = matrices.gather(index, 0).slice(nodes.int64([0, 0]), ends, [0, 2])
    return Side((first - start).reshape(-1, 1) + tap, start, last + count - start, matrices)


def _columns(
    nodes: Nodes, image: ImageValue, rows: Side, columns: Side, channels: Expression, p: Preprocessing
) -> tuple[Expression, Expression]:
    """Resizes the width, step by step of rows; the last step begins earlier, to be as high as the others.

    Returns:
        ``p.levels`` (N, rows, width * C), and where in them the rows of the last step are, which is where
        they would be and how far they moved, int64 [2].
    """
    height = rows.length.min(_STEP)
    steps = (rows.length + height - 1) / height
    index = nodes.add("Range", nodes.int64(0), steps.reshape(), nodes.int64(1)).reshape(-1, 1)
    first = (index * height).min(rows.length - height) + rows.start
    corner = first * nodes.int64([1, 0]) + columns.start * nodes.int64([0, 1])
    end = corner + nodes.add("Concat", height, columns.length, axis=0)
    shape = nodes.add("Concat", nodes.int64([0, -1]), channels, height, axis=0)

    def step(body: Nodes, inputs: Sequence[Expression]) -> Expression:
        first, last = inputs
        pixels = body.use(image.value).slice(first, last, [1, 2])
        pixels = body.add("Transpose", pixels, perm=[0, 2, 3, 1]).reshape(0, 0, -1)
        pixels = pixels.gather(body.use(columns.offsets), 1)
        value = _multiply(body.use(columns.matrices), pixels, p)
        return body.add("Transpose", body.add("Reshape", value, body.use(shape)), perm=[0, 3, 1, 2])

    value = nodes.add("Transpose", nodes.loop([corner, end], step, "columns"), perm=[1, 0, 2, 3, 4])
    value = value.reshape(0, steps * height, -1)
    return value, nodes.add("Concat", (steps - 1) * height, steps * height - rows.length, axis=0)


def _rows(nodes: Nodes, value: Expression, rows: Side, last: Expression, p: Preprocessing) -> Expression:
    """Resizes the height of what `_columns` returns: (N, steps, blocks, `_BLOCK`, width * C)."""
    early = rows.offsets < last.slice(0, 1, [0])
    moved = rows.offsets + last.slice(1, 2, [0])
    offsets = nodes.add("Where", early, rows.offsets, moved, dtype=INT64)
    blocks = _STEP // _BLOCK
    shape = nodes.add("Shape", rows.matrices, start=1, dtype=INT64)
    shape = nodes.add("Concat", nodes.int64([-1, blocks]), shape, axis=0)
    matrices = nodes.add("Reshape", rows.matrices, shape)

    def step(body: Nodes, inputs: Sequence[Expression]) -> Expression:
        matrices, offsets = inputs
        return _multiply(matrices, body.use(value).gather(offsets, 1), p)

    count = nodes.add("Shape", rows.offsets, start=1, dtype=INT64)
    resized = nodes.loop([matrices, offsets.reshape(-1, blocks, count)], step, "rows")
    return nodes.add("Transpose", resized, perm=[1, 0, 2, 3, 4])
