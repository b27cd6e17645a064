"""Light backgrounds to dark ones.

Levels are taken around the middle, ``v - 127.5``, where ``255 - v`` is a change of sign::

    light = sum over the outermost pixels of (v - 127.5) > LIGHT
    (v - 127.5) * (-1 if light else 1)

The outermost pixels are picked by a mask where the size is known, else they are all less the inner ones.
Whole levels make exact sums, in float32 up to 2^23, else in double, so that every machine decides alike.
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from cnntk.exporters.preprocessing.tape import FLOAT, INT64, Dims, Picture, Tape, as_float
from cnntk.runtime.artifact.spec import Preprocessing
from cnntk.runtime.preprocessing.preprocess import LIGHT_MARGIN

__all__ = ["MIDDLE", "to_dark"]

MIDDLE = 127.5
"""Halfway between black and white."""

_EXACT = 2.0**23
"""Up to which float32 holds halves."""


def to_dark(tape: Tape, picture: Picture, p: Preprocessing) -> Picture:
    """Levels less `MIDDLE`, float32, of which each image with a light background is inverted."""
    picture = as_float(tape, picture)
    middle = tape.constant("middle", MIDDLE, FLOAT)
    centered = tape.put("Sub", [picture.value, middle], name="centered", dtype=FLOAT, shape=picture.dims)
    total = _border_sum(tape, picture.become(centered), p)
    threshold = tape.constant("light", LIGHT_MARGIN, total.dtype or FLOAT)
    each = (picture.dims[0], 1, 1, 1)
    light = tape.put("Greater", [total, threshold], name="is_light", dtype=ir.DataType.BOOL, shape=each)
    signs = [tape.constant("inverted", -1.0, FLOAT), tape.constant("as_it_is", 1.0, FLOAT)]
    sign = tape.put("Where", [light, *signs], name="sign", dtype=FLOAT, shape=each)
    dark = tape.put("Mul", [centered, sign], name="dark", dtype=FLOAT, shape=picture.dims)
    return picture.become(dark)


def _border_sum(tape: Tape, centered: Picture, p: Preprocessing) -> ir.Value:
    """Of each image, (N, 1, 1, 1)."""
    if centered.sizes is None:
        mask = np.ones((p.height, p.width))
        mask[1:-1, 1:-1] = 0
        border = tape.constant("border", mask if centered.axes == (2, 3) else mask[:, :, None], FLOAT)
        outer = tape.put("Mul", [centered.value, border], name="outer", dtype=FLOAT, shape=centered.dims)
        return _sum(tape, outer, centered.dims, "outer_sum")
    value, dtype = centered.value, FLOAT
    if p.levels == "float32" or p.height * p.width * p.channels * MIDDLE > _EXACT:
        dtype = ir.DataType.DOUBLE
        value = tape.put("Cast", [value], {"to": int(dtype)}, name="wide", dtype=dtype, shape=centered.dims)
    cut = [("inner_start", [1, 1]), ("inner_end", [-1, -1]), ("inner_axes", centered.axes)]
    ends = [tape.constant(name, numbers, INT64) for name, numbers in cut]
    dims = centered.with_size("inner_height", "inner_width")
    inner = tape.put("Slice", [value, *ends], name="inner", dtype=dtype, shape=dims)
    sums = [_sum(tape, value, dims, "whole_sum"), _sum(tape, inner, dims, "inner_sum")]
    return tape.put("Sub", sums, name="outer_sum", dtype=dtype, shape=(dims[0], 1, 1, 1))


def _sum(tape: Tape, value: ir.Value, dims: Dims, name: str) -> ir.Value:
    axes = tape.constant(f"{name}_axes", [1, 2, 3], INT64)
    each = (dims[0], 1, 1, 1)
    return tape.put("ReduceSum", [value, axes], name=name, dtype=value.dtype or FLOAT, shape=each)
