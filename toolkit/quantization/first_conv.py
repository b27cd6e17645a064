"""The first convolution reads the image's own bytes.

An artifact's graph subtracts the mean of each channel from the pixels, which is linear as the layer is::

    sum w (p - mean) + b  =  sum w p  +  (b - sum w mean)

So pixels are the levels, with scale 1 and zero point 0, and nothing is rounded. Where the layer pads, it pads
with zeros behind the mean, which in pixels is the mean itself: it fills the border, rounded to a level.

Three channels are short runs of memory. Where the window moves by several columns at a time, as many are
read as channels of one: (N, H, W, C) is (N, H, W / s, s C) without moving a byte, and a window of w columns
is one of ceil(w / s), which moves by 1, its weights filled up with zeros.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from cnntk.exporters.passes.graph import constant, producer_of
from cnntk.quantization.builder import Levels, Tape

__all__ = ["Pixels", "Window", "pixels_of"]


_SHORT = 8
"""Channels that are too few for the kernel to read them fast."""


@dataclass(frozen=True)
class Window:
    """Where a convolution looks.

    Attributes:
        kernel: height, width.
        strides: down, to the right.
        dilations: down, to the right.
        pads: top, left, bottom, right.
    """

    kernel: tuple[int, int]
    strides: tuple[int, int]
    dilations: tuple[int, int]
    pads: tuple[int, int, int, int]


@dataclass(frozen=True)
class Pixels:
    """The image's bytes, where a convolution can read them.

    Attributes:
        levels: of scale 1; with ``columns`` s, (N, H, W / s, s C).
        mean: (C,) that the float graph subtracts.
        window: that the convolution has on them.
        columns: of the image that stand as channels of one.
    """

    levels: Levels
    mean: NDArray[Any]
    window: Window
    columns: int = 1

    def weights(self, weights: NDArray[Any]) -> NDArray[Any]:
        """The convolution's weights (M, C, h, w) as they are for its window here."""
        if self.columns == 1:
            return weights
        count, channels, height, width = weights.shape
        groups = self.window.kernel[1]
        filled = np.zeros((count, channels, height, groups * self.columns), weights.dtype)
        filled[..., :width] = weights
        parts = filled.reshape(count, channels, height, groups, self.columns)
        return parts.transpose(0, 4, 1, 2, 3).reshape(count, -1, height, groups)


def pixels_of(value: ir.Value, window: Window, tape: Tape) -> Pixels | None:
    """The bytes of which ``value`` is the floats; None where something else is done to them on the way.

    Args:
        value: float32 (N, C, H, W), read by a convolution.
        window: of the convolution.
        tape: writes the border.
    """
    way = _way(value)
    if way is None:
        return None
    source, mean, expanded = way
    levels = Levels(source, 1.0, 0)
    sizes = _sizes(value)
    padded = any(window.pads) and mean.any()
    if sizes is None and (expanded or padded):
        return None
    if expanded and sizes is not None:  # gray images, of which a network of colors sees three equal channels
        shape = tape.weight("channels", np.array([1, 1, 1, sizes[0]], np.int64))
        levels = Levels(tape.put("Expand", [source, shape]), 1.0, 0)
    columns = _columns(window, sizes)
    if sizes is None or (columns == 1 and not padded):
        return Pixels(levels, mean, window)
    return _laid_out(Pixels(levels, mean, window, columns), sizes, tape)


def _way(value: ir.Value) -> tuple[ir.Value, NDArray[Any], bool] | None:
    """From the floats back to uint8 (N, H, W, C): that value, the mean, and whether channels are repeated."""
    mean: NDArray[Any] = np.zeros(1)
    expanded = turned = False
    found: ir.Value | None = value
    while (node := producer_of(found, "Sub", "Cast", "Expand", "Transpose")) is not None:
        if node.op_type == "Sub":
            subtracted = constant(node.inputs[1])
            if subtracted is None or mean.any() or subtracted.size not in (1, _channels(value)):
                return None
            mean = subtracted.reshape(-1).astype(np.float64)
        elif node.op_type == "Expand":
            expanded = True
        elif node.op_type == "Transpose":
            if turned or list(node.attributes.get_ints("perm", [])) != [0, 3, 1, 2]:
                return None
            turned = True
        found = node.inputs[0]
        if turned and found is not None and found.dtype is ir.DataType.UINT8:
            return found, mean, expanded
    return None


def _columns(window: Window, sizes: tuple[int, int, int] | None) -> int:
    """How many columns are best read as one."""
    step = window.strides[1]
    fits = sizes is not None and sizes[0] < _SHORT and window.dilations[1] == 1
    return step if fits and window.kernel[1] >= 2 * step else 1


def _laid_out(found: Pixels, sizes: tuple[int, int, int], tape: Tape) -> Pixels:
    """The image with its border, as many columns wide as the windows look at, in groups of ``columns``."""
    channels, height, width = sizes
    window, columns = found.window, found.columns
    top, left, bottom, right = window.pads
    groups = -(-window.kernel[1] // columns)
    if columns > 1:
        windows = (left + width + right - window.kernel[1]) // columns + 1
        right = (windows + groups - 1) * columns - left - width
    value = found.levels.value
    if any((top, left, bottom, right)):  # rows in one: of three dimensions Pad is ten times as fast
        flat = tape.put("Reshape", [value, tape.weight("rows", np.array([0, height, -1], np.int64))])
        border = np.array([0, top, left * channels, 0, bottom, right * channels], np.int64)
        value = tape.put("Pad", [flat, tape.weight("border", border)])
        height, width = top + height + bottom, left + width + right
        if any(window.pads) and found.mean.any():  # Pad has one value for all; the greater of both is taken
            frame = _frame(np.broadcast_to(found.mean, channels), (height, width), (top, left, bottom, right))
            value = tape.put("Max", [value, tape.weight("border_levels", frame)])
    shape = np.array([0, height, width // columns, columns * channels], np.int64)
    value = tape.put("Reshape", [value, tape.weight("columns", shape)])
    kernel, strides = window.kernel, window.strides
    if columns > 1:
        kernel, strides = (kernel[0], groups), (strides[0], 1)
    seen = Window(kernel, strides, window.dilations, (0, 0, 0, 0))
    return replace(found, levels=replace(found.levels, value=value), window=seen)


def _frame(mean: NDArray[Any], size: tuple[int, int], pads: Sequence[int]) -> NDArray[np.uint8]:
    """(1, H, W C): the mean where the border is, zeros where the image is."""
    top, left, bottom, right = pads
    frame = np.empty((1, *size, len(mean)), np.uint8)
    frame[:] = np.rint(mean).clip(0, 255)
    frame[:, top : size[0] - bottom, left : size[1] - max(right, 0)] = 0
    return frame.reshape(1, size[0], -1)


def _channels(value: ir.Value) -> object:
    return None if value.shape is None or len(value.shape) != 4 else value.shape[1]


def _sizes(value: ir.Value) -> tuple[int, int, int] | None:
    """Channels, height and width, where they are known."""
    if value.shape is None or len(value.shape) != 4:
        return None
    _, c, h, w = value.shape
    return (c, h, w) if isinstance(c, int) and isinstance(h, int) and isinstance(w, int) else None
