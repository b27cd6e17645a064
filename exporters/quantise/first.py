"""The first convolution reads the image's own bytes.

An artifact's graph subtracts the mean of each channel from the pixels, which is linear as the layer is::

    sum w (p - mean) + b  =  sum w p  +  (b - sum w mean)

So pixels are the levels, with scale 1 and zero point 0, and nothing is rounded. Where the layer pads, it pads
with zeros behind the mean, which in pixels is the mean itself: it fills the border, rounded to a level.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from cnntk.exporters.passes.graph import constant, made_by
from cnntk.exporters.quantise.tape import Levels, Tape

__all__ = ["Pixels", "pixels_of"]


@dataclass(frozen=True)
class Pixels:
    """The image's bytes, where a convolution can read them.

    Attributes:
        levels: of scale 1.
        mean: (C,) that the float graph subtracts.
        pads: that are left for the convolution.
    """

    levels: Levels
    mean: NDArray[Any]
    pads: list[int]


def pixels_of(value: ir.Value, pads: list[int], tape: Tape) -> Pixels | None:
    """The bytes of which ``value`` is the floats; None where something else is done to them on the way.

    Args:
        value: float32 (N, C, H, W), read by a convolution.
        pads: of the convolution: top, left, bottom, right.
        tape: writes the border.
    """
    way = _way(value)
    if way is None:
        return None
    source, mean, expanded = way
    levels = Levels(source, 1.0, 0)
    sizes = _sizes(value)
    if sizes is None and (expanded or (any(pads) and mean.any())):
        return None
    if expanded and sizes is not None:  # grey images, of which a network of colours sees three equal channels
        shape = tape.weight("channels", np.array([1, 1, 1, sizes[0]], np.int64))
        levels = Levels(tape.put("Expand", [source, shape]), 1.0, 0)
    if sizes is None or not any(pads) or not mean.any():
        return Pixels(levels, mean, pads)
    return Pixels(_bordered(levels, mean, pads, sizes, tape), mean, [0, 0, 0, 0])


def _way(value: ir.Value) -> tuple[ir.Value, NDArray[Any], bool] | None:
    """From the floats back to uint8 (N, H, W, C): that value, the mean, and whether channels are repeated."""
    mean: NDArray[Any] = np.zeros(1)
    expanded = turned = False
    found: ir.Value | None = value
    while (node := made_by(found, "Sub", "Cast", "Expand", "Transpose")) is not None:
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


def _bordered(
    levels: Levels, mean: NDArray[Any], pads: list[int], sizes: tuple[int, int, int], tape: Tape
) -> Levels:
    """Zeros around the image, and on them, by the greater of both, the mean: Pad has one value for all."""
    channels, height, width = sizes
    top, left, bottom, right = pads
    padded = tape.put(
        "Pad",
        [levels.value, tape.weight("border", np.array([0, top, left, 0, 0, bottom, right, 0], np.int64))],
    )
    frame = np.empty((1, top + height + bottom, left + width + right, channels), np.uint8)
    frame[:] = np.rint(mean).clip(0, 255).astype(np.uint8)
    frame[:, top : top + height, left : left + width] = 0
    value = tape.put("Max", [padded, tape.weight("border_levels", frame)])
    return Levels(value, levels.scale, levels.zero_point)


def _channels(value: ir.Value) -> object:
    return None if value.shape is None or len(value.shape) != 4 else value.shape[1]


def _sizes(value: ir.Value) -> tuple[int, int, int] | None:
    """Channels, height and width, where they are known."""
    if value.shape is None or len(value.shape) != 4:
        return None
    _, c, h, w = value.shape
    return (c, h, w) if isinstance(c, int) and isinstance(h, int) and isinstance(w, int) else None
