"""Input of the first convolution: it reads the image's bytes directly.

An artifact's graph subtracts the mean of each channel from the pixels, which is linear as the layer is::

    sum w (p - mean) + b  =  sum w p  +  (b - sum w mean)

So the bytes are the quantized value, with scale 1 and zero point 0, and nothing is rounded. If the layer
pads, it pads with zeros after the mean is subtracted. In bytes that is the mean, rounded, in the border.

Where that is one byte for all channels, it is the zero point, and padding needs no border of its own; what
is left of the mean goes into the bias.

Three channels are short runs of memory, and the fast kernels read four bytes at a time. If the window moves
by s > 1 columns, s columns are read as channels of one: (N, H, W, C) is (N, H, W / s, s C) without moving a
byte. Where s C is not a multiple of 4, 2 s columns are one, from which 2 columns of the output are computed
as channels of one, with the same weights, moved by s columns: (N, H, W / 2, 2 M) is (N, H, W, M).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from cnntk.exporters.passes.graph import constant, producer_of
from cnntk.quantization.builder import GraphBuilder, QuantizedValue
from cnntk.quantization.ranges import Scaling

__all__ = ["ConvWindow", "ImageBytes", "image_bytes", "trace_to_bytes"]

_FEW_CHANNELS = 8
"""Number of channels below which the kernel reads them slowly."""

_READ_BYTES = 4
"""Number of bytes that the kernel reads at a time."""

_MOST_WASTE = 1.5
"""Largest ratio of the columns that are read to those of the windows."""


@dataclass(frozen=True)
class ConvWindow:
    """Window of a convolution.

    Attributes:
        kernel: Height and width.
        strides: Strides down and to the right.
        dilations: Dilations down and to the right.
        pads: Padding at the top, left, bottom and right.
    """

    kernel: tuple[int, int]
    strides: tuple[int, int]
    dilations: tuple[int, int]
    pads: tuple[int, int, int, int]

    @classmethod
    def of(cls, node: ir.Node, weights: tuple[int, ...]) -> ConvWindow:
        """Window of a convolution with weights of shape (M, C, h, w)."""
        down, right = node.attributes.get_ints("strides", [1, 1])
        rows, columns = node.attributes.get_ints("dilations", [1, 1])
        top, left, bottom, end = node.attributes.get_ints("pads", [0, 0, 0, 0])
        return cls((weights[2], weights[3]), (down, right), (rows, columns), (top, left, bottom, end))

    @property
    def attributes(self) -> dict[str, tuple[int, ...]]:
        """The window as attributes of a convolution."""
        names = {"kernel_shape": self.kernel, "strides": self.strides, "dilations": self.dilations}
        return {**names, "pads": self.pads}


@dataclass(frozen=True)
class ImageBytes:
    """The image's bytes as input of a convolution.

    Attributes:
        quantized: Bytes with scale 1; in groups of g columns (N, H, W / g, g C).
        mean: What the float graph subtracts besides the zero point, (C,).
        window: Window of the convolution on these bytes.
        columns: Number g of image columns that are read as channels of one.
        outputs: Number of columns of the output that are computed as channels of one.
        offset: Number of columns in the first group that lie before the window.
    """

    quantized: QuantizedValue
    mean: NDArray[Any]
    window: ConvWindow
    columns: int = 1
    outputs: int = 1
    offset: int = 0

    def weights(self, weights: NDArray[Any]) -> NDArray[Any]:
        """The convolution's weights (M, C, h, w) for the first column of the output: (M, g C, h, w')."""
        if self.columns == 1:
            return weights
        count, channels, height, width = weights.shape
        groups = self.window.kernel[1]
        padded = np.zeros((count, channels, height, groups * self.columns), weights.dtype)
        padded[..., self.offset : self.offset + width] = weights
        parts = padded.reshape(count, channels, height, groups, self.columns)
        return parts.transpose(0, 4, 1, 2, 3).reshape(count, -1, height, groups)

    def for_all_outputs(self, weights: NDArray[Any]) -> NDArray[Any]:
        """Weights (M, g C, h, w') of the first column, moved for the other ones: (outputs M, g C, h, w')."""
        count, bytes_, height, groups = weights.shape
        rows = weights.transpose(0, 2, 3, 1).reshape(count, height, -1)  # in the order of memory
        step = bytes_ // self.outputs
        moved = np.concatenate([np.roll(rows, i * step, axis=2) for i in range(self.outputs)])
        return moved.reshape(-1, height, groups, bytes_).transpose(0, 3, 1, 2)


def image_bytes(value: ir.Value, window: ConvWindow, builder: GraphBuilder) -> ImageBytes | None:
    """The bytes that ``value`` is computed from; None if more than subtracting a mean is done to them.

    Args:
        value: Input of a convolution, float32 (N, C, H, W).
        window: Window of the convolution.
        builder: Builder that adds the border.
    """
    origin = trace_to_bytes(value)
    if origin is None:
        return None
    source, mean = origin
    zero_point = _zero_point(mean)
    quantized = QuantizedValue(source, Scaling(1.0, zero_point or 0))
    sizes, mean = _sizes(value), mean - (zero_point or 0)
    padded = any(window.pads) and zero_point is None
    if sizes is None and padded:
        return None
    columns, outputs = _columns(window, sizes)
    image = ImageBytes(quantized, mean, window, columns, outputs)
    if sizes is None or (columns == 1 and not padded):
        return image
    if not padded and (grouped := _in_groups(image, sizes)) is not None:
        return _group(grouped, sizes, builder)
    return _with_border(image, sizes, builder)


def _zero_point(mean: NDArray[Any]) -> int | None:
    """The mean, rounded, where it is one byte for all channels."""
    levels = np.rint(mean).reshape(-1)
    return int(levels[0]) if (levels == levels[0]).all() and 0 <= levels[0] <= 255 else None


def trace_to_bytes(value: ir.Value) -> tuple[ir.Value, NDArray[Any]] | None:
    """The uint8 (N, H, W, C) that a value comes from, and the mean."""
    mean: NDArray[Any] = np.zeros(1)
    transposed = False
    source: ir.Value | None = value
    while (node := producer_of(source, "Sub", "Cast", "Transpose")) is not None:
        if node.op_type == "Sub":
            subtracted = constant(node.inputs[1])
            if subtracted is None or mean.any() or subtracted.size not in (1, _channels(value)):
                return None
            mean = subtracted.reshape(-1).astype(np.float64)
        elif node.op_type == "Transpose":
            if transposed or list(node.attributes.get_ints("perm", [])) != [0, 3, 1, 2]:
                return None
            transposed = True
        source = node.inputs[0]
        if transposed and source is not None and source.dtype is ir.DataType.UINT8:
            return source, mean
    return None


def _columns(window: ConvWindow, sizes: tuple[int, int, int] | None) -> tuple[int, int]:
    """Number of image columns that are best read as one, and of columns of the output from each."""
    step = window.strides[1]
    if sizes is None or sizes[0] >= _FEW_CHANNELS or window.dilations[1] > 1 or step == 1:
        return 1, 1
    two = (sizes[0] * step) % _READ_BYTES == 2 and _width_out(window, sizes[2]) % 2 == 0
    outputs = 2 if two else 1
    columns, width = step * outputs, (outputs - 1) * step + window.kernel[1]
    read = -(-width // columns) * columns
    return (columns, outputs) if read <= _MOST_WASTE * outputs * window.kernel[1] else (1, 1)


def _width_out(window: ConvWindow, width: int) -> int:
    return (window.pads[1] + width + window.pads[3] - window.kernel[1]) // window.strides[1] + 1


def _in_groups(image: ImageBytes, sizes: tuple[int, int, int]) -> ImageBytes | None:
    """The image in whole groups of columns, with padding in groups; None where its width is none of these."""
    window, columns = image.window, image.columns
    top, left, bottom, _ = window.pads
    before = -(-left // columns)
    offset = before * columns - left
    groups = -(-(offset + (image.outputs - 1) * window.strides[1] + window.kernel[1]) // columns)
    after = _width_out(window, sizes[2]) // image.outputs - 1 + groups - before - sizes[2] // columns
    if sizes[2] % columns or after < 0 or max(before, after) >= groups:
        return None
    pads = top, before, bottom, after
    grouped = ConvWindow((window.kernel[0], groups), (window.strides[0], 1), window.dilations, pads)
    return replace(image, window=grouped, offset=offset)


def _group(image: ImageBytes, sizes: tuple[int, int, int], builder: GraphBuilder) -> ImageBytes:
    channels, height, width = sizes
    shape = np.array([0, height, width // image.columns, image.columns * channels], np.int64)
    value = builder.add_node("Reshape", [image.quantized.value, builder.add_weight("columns", shape)])
    return replace(image, quantized=replace(image.quantized, value=value))


def _with_border(image: ImageBytes, sizes: tuple[int, int, int], builder: GraphBuilder) -> ImageBytes:
    """Adds the border, makes the image as wide as the windows need, and groups its columns."""
    channels, height, width = sizes
    window, columns, level = image.window, image.columns, image.quantized.scaling.zero_point
    top, left, bottom, right = window.pads
    step, kernel = window.strides[1], window.kernel[1]
    groups = -(-((image.outputs - 1) * step + kernel) // columns)
    if columns > 1:
        right = (_width_out(window, width) // image.outputs + groups - 1) * columns - left - width
    value = image.quantized.value
    if any((top, left, bottom, right)):  # rows as one dimension: Pad is ten times as fast on three
        rows = builder.add_weight("rows", np.array([0, height, -1], np.int64))
        flat = builder.add_node("Reshape", [value, rows])
        border = np.array([0, top, left * channels, 0, bottom, right * channels], np.int64)
        inputs = [flat, builder.add_weight("border", border)]
        value = builder.add_node("Pad", [*inputs, *([builder.zero_point(level)] if level else [])])
        height, width = top + height + bottom, left + width + right
        if (
            any(window.pads) and np.rint(image.mean).any()
        ):  # Pad has one value for all channels, so it pads with 0
            frame = _frame(image.mean, (height, width, channels), (top, left, bottom, right), builder)
            value = builder.add_node("Max", [value, frame])
    kernel_shape, strides = window.kernel, window.strides
    if columns > 1:
        kernel_shape, strides = (window.kernel[0], groups), (strides[0], 1)
    grouped = ConvWindow(kernel_shape, strides, window.dilations, (0, 0, 0, 0))
    padded = replace(image, quantized=replace(image.quantized, value=value), window=grouped)
    return _group(padded, (channels, height, width), builder)


def _frame(
    mean: NDArray[Any], sizes: tuple[int, int, int], pads: Sequence[int], builder: GraphBuilder
) -> ir.Value:
    """The mean in the border and zeros in the image, uint8 (1, H, W C); computed from a row and a column.

    onnxruntime computes it once, when it loads the file.
    """
    height, width, channels = sizes
    top, left, bottom, right = pads
    levels = np.broadcast_to(np.rint(mean).clip(0, 255).astype(np.uint8), (1, 1, width, channels))
    sides, rows = levels.copy(), np.full((1, height, 1), 255, np.uint8)
    sides[:, :, left : width - max(right, 0)] = 0
    rows[:, top : height - bottom] = 0
    ends = [builder.add_weight("border_rows", rows), builder.add_weight("levels", levels.reshape(1, 1, -1))]
    top_and_bottom = builder.add_node("Min", ends)
    return builder.add_node(
        "Max", [top_and_bottom, builder.add_weight("border_sides", sides.reshape(1, 1, -1))]
    )


def _channels(value: ir.Value) -> object:
    return None if value.shape is None or len(value.shape) != 4 else value.shape[1]


def _sizes(value: ir.Value) -> tuple[int, int, int] | None:
    """Channels, height and width, if all are known."""
    if value.shape is None or len(value.shape) != 4:
        return None
    _, c, h, w = value.shape
    return (c, h, w) if isinstance(c, int) and isinstance(h, int) and isinstance(w, int) else None
