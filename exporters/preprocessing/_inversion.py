"""Inverts images with a light background, so that all backgrounds are dark.

Pixel values are centered, ``v - 127.5``, where ``255 - v`` is a change of sign::

    light = sum over the outermost pixels of (v - 127.5) > LIGHT_MARGIN
    (v - 127.5) * (-1 if light else 1)

The outermost pixels are selected by a mask where the size is fixed, else they are all less the inner ones.
Integer values have exact sums, in float32 up to 2^23, else in double, so every machine decides alike.
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from cnntk.exporters.preprocessing._node_builder import FLOAT, INT64, ImageValue, NodeBuilder, as_float
from cnntk.runtime.artifact.spec import Preprocessing
from cnntk.runtime.preprocessing.preprocess import LIGHT_MARGIN

MIDDLE = 127.5
"""Halfway between black and white."""

_EXACT = 2.0**23
"""Largest number up to which float32 represents halves exactly."""


def invert_light_background(builder: NodeBuilder, image: ImageValue, p: Preprocessing) -> ImageValue:
    """Returns pixel values less `MIDDLE` as float32, inverted for each image with a light background."""
    image = as_float(builder, image)
    middle = builder.constant("middle", MIDDLE, FLOAT)
    centered = builder.add("Sub", [image.value, middle], name="centered")
    total = _border_sum(builder, image.with_value(centered), p)
    threshold = builder.constant("light", LIGHT_MARGIN, total.dtype or FLOAT)
    light = builder.add("Greater", [total, threshold], name="is_light", dtype=ir.DataType.BOOL)
    signs = [builder.constant("inverted", -1.0, FLOAT), builder.constant("as_it_is", 1.0, FLOAT)]
    sign = builder.add("Where", [light, *signs], name="sign", dtype=FLOAT)
    return image.with_value(builder.add("Mul", [centered, sign], name="dark"))


def _border_sum(builder: NodeBuilder, centered: ImageValue, p: Preprocessing) -> ir.Value:
    """Returns the sum over the border of each image, (N, 1, 1, 1)."""
    if centered.sizes is None:
        mask = np.ones((p.height, p.width))
        mask[1:-1, 1:-1] = 0
        border = builder.constant("border", mask if centered.axes == (2, 3) else mask[:, :, None], FLOAT)
        outer = builder.add("Mul", [centered.value, border], name="outer")
        return _sum(builder, outer, centered.dims[0], "outer_sum")
    value, dtype = centered.value, FLOAT
    if p.levels == "float32" or p.height * p.width * p.channels * MIDDLE > _EXACT:
        dtype = ir.DataType.DOUBLE
        value = builder.add("Cast", [value], {"to": int(dtype)}, name="wide", dtype=dtype)
    cut = [("inner_start", [1, 1]), ("inner_end", [-1, -1]), ("inner_axes", centered.axes)]
    ends = [builder.constant(name, numbers, INT64) for name, numbers in cut]
    dims = centered.with_size("inner_height", "inner_width")
    inner = builder.add("Slice", [value, *ends], name="inner", shape=dims)
    sums = [_sum(builder, value, dims[0], "whole_sum"), _sum(builder, inner, dims[0], "inner_sum")]
    return builder.add("Sub", sums, name="outer_sum")


def _sum(builder: NodeBuilder, value: ir.Value, batch: int | str, name: str) -> ir.Value:
    axes = builder.constant(f"{name}_axes", [1, 2, 3], INT64)
    return builder.add("ReduceSum", [value, axes], name=name, shape=(batch, 1, 1, 1))
