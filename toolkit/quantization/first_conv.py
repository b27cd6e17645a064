"""Input of the first convolution: it reads the image's bytes directly.

An artifact's graph subtracts the mean of each channel from the pixels, which is linear as the layer is::

    sum w (p - mean) + b  =  sum w p  +  (b - sum w mean)

So the bytes are the quantized value, with scale 1 and zero point 0, and nothing is rounded. If the layer
pads, it pads with zeros after the mean is subtracted. In bytes that is the mean, rounded, in the border.

Three channels are short runs of memory. If the window moves by s > 1 columns, s columns are read as channels
of one: (N, H, W, C) is (N, H, W / s, s C) without moving a byte, and a window of w columns is one of
ceil(w / s) that moves by 1, its weights padded with zeros.
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


@dataclass(frozen=True)
class ImageBytes:
    """The image's bytes as input of a convolution.

    Attributes:
        quantized: Bytes with scale 1; with ``columns`` s, (N, H, W / s, s C).
        mean: Mean that the float graph subtracts, (C,).
        window: Window of the convolution on these bytes.
        columns: Number of image columns that are read as channels of one.
    """

    quantized: QuantizedValue
    mean: NDArray[Any]
    window: ConvWindow
    columns: int = 1

    def weights(self, weights: NDArray[Any]) -> NDArray[Any]:
        """The convolution's weights (M, C, h, w), arranged for ``window``."""
        if self.columns == 1:
            return weights
        count, channels, height, width = weights.shape
        groups = self.window.kernel[1]
        padded = np.zeros((count, channels, height, groups * self.columns), weights.dtype)
        padded[..., :width] = weights
        parts = padded.reshape(count, channels, height, groups, self.columns)
        return parts.transpose(0, 4, 1, 2, 3).reshape(count, -1, height, groups)


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
    source, mean, expanded = origin
    quantized = QuantizedValue(source, Scaling(1.0, 0))
    sizes = _sizes(value)
    padded = any(window.pads) and mean.any()
    if sizes is None and (expanded or padded):
        return None
    if expanded and sizes is not None:  # gray images, which a color network sees as three equal channels
        shape = builder.add_weight("channels", np.array([1, 1, 1, sizes[0]], np.int64))
        quantized = replace(quantized, value=builder.add_node("Expand", [source, shape]))
    columns = _columns(window, sizes)
    if sizes is None or (columns == 1 and not padded):
        return ImageBytes(quantized, mean, window)
    return _with_border(ImageBytes(quantized, mean, window, columns), sizes, builder)


def trace_to_bytes(value: ir.Value) -> tuple[ir.Value, NDArray[Any], bool] | None:
    """The uint8 (N, H, W, C) that a value comes from, the mean, and whether channels are repeated."""
    mean: NDArray[Any] = np.zeros(1)
    expanded = transposed = False
    source: ir.Value | None = value
    while (node := producer_of(source, "Sub", "Cast", "Expand", "Transpose")) is not None:
        if node.op_type == "Sub":
            subtracted = constant(node.inputs[1])
            if subtracted is None or mean.any() or subtracted.size not in (1, _channels(value)):
                return None
            mean = subtracted.reshape(-1).astype(np.float64)
        elif node.op_type == "Expand":
            expanded = True
        elif node.op_type == "Transpose":
            if transposed or list(node.attributes.get_ints("perm", [])) != [0, 3, 1, 2]:
                return None
            transposed = True
        source = node.inputs[0]
        if transposed and source is not None and source.dtype is ir.DataType.UINT8:
            return source, mean, expanded
    return None


def _columns(window: ConvWindow, sizes: tuple[int, int, int] | None) -> int:
    """Number of columns that are best read as one."""
    step = window.strides[1]
    fits = sizes is not None and sizes[0] < _FEW_CHANNELS and window.dilations[1] == 1
    return step if fits and window.kernel[1] >= 2 * step else 1


def _with_border(image: ImageBytes, sizes: tuple[int, int, int], builder: GraphBuilder) -> ImageBytes:
    """Adds the border, makes the image as wide as the windows need, and groups its columns."""
    channels, height, width = sizes
    window, columns = image.window, image.columns
    top, left, bottom, right = window.pads
    groups = -(-window.kernel[1] // columns)
    if columns > 1:
        windows = (left + width + right - window.kernel[1]) // columns + 1
        right = (windows + groups - 1) * columns - left - width
    value = image.quantized.value
    if any((top, left, bottom, right)):  # rows as one dimension: Pad is ten times as fast on three
        rows = builder.add_weight("rows", np.array([0, height, -1], np.int64))
        flat = builder.add_node("Reshape", [value, rows])
        border = np.array([0, top, left * channels, 0, bottom, right * channels], np.int64)
        value = builder.add_node("Pad", [flat, builder.add_weight("border", border)])
        height, width = top + height + bottom, left + width + right
        if any(window.pads) and image.mean.any():  # Pad has one value for all channels, so it pads with 0
            mean = np.broadcast_to(image.mean, channels)
            frame = _frame(mean, (height, width), (top, left, bottom, right))
            value = builder.add_node("Max", [value, builder.add_weight("border_levels", frame)])
    shape = np.array([0, height, width // columns, columns * channels], np.int64)
    value = builder.add_node("Reshape", [value, builder.add_weight("columns", shape)])
    kernel, strides = window.kernel, window.strides
    if columns > 1:
        kernel, strides = (kernel[0], groups), (strides[0], 1)
    grouped = ConvWindow(kernel, strides, window.dilations, (0, 0, 0, 0))
    return replace(image, quantized=replace(image.quantized, value=value), window=grouped)


def _frame(mean: NDArray[Any], size: tuple[int, int], pads: Sequence[int]) -> NDArray[np.uint8]:
    """The mean in the border and zeros in the image, (1, H, W C)."""
    top, left, bottom, right = pads
    frame = np.empty((1, *size, len(mean)), np.uint8)
    frame[:] = np.rint(mean).clip(0, 255)
    frame[:, top : size[0] - bottom, left : size[1] - max(right, 0)] = 0
    return frame.reshape(1, size[0], -1)


def _channels(value: ir.Value) -> object:
    return None if value.shape is None or len(value.shape) != 4 else value.shape[1]


def _sizes(value: ir.Value) -> tuple[int, int, int] | None:
    """Channels, height and width, if all are known."""
    if value.shape is None or len(value.shape) != 4:
        return None
    _, c, h, w = value.shape
    return (c, h, w) if isinstance(c, int) and isinstance(h, int) and isinstance(w, int) else None
