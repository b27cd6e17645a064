"""Resize as Pillow does it, in ONNX's own operators.

ONNX's Resize is Pillow's with ``antialias=1``, ``exclude_outside=1`` (weights that fall outside the image
are left out and the rest sum to 1), ``half_pixel`` and the cubic's ``a = -0.5``: within 0.002 levels on
floats; on bytes, which both round after each axis, within 1 level for linear and 2 for cubic filters. ONNX's
defaults are up to 9 levels off, and no antialias 67.

Without antialias it is OpenCV's and torch's: ``a = -0.75``, edges go on. onnxruntime cuts bytes off there, so
it runs on floats and Round follows; and has that cubic for NCHW alone. Transpose in front of a Resize with
``axes`` makes onnxruntime 1.32's optimizer fail, so a Reshape stands between the two.

Nearest is two Gathers by whole numbers: Resize's float32 positions miss where a pixel falls between two.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import onnx_ir as ir

from cnntk.exporters.preprocessing.node_builder import (
    FLOAT,
    INT64,
    UINT8,
    Dims,
    ImageValue,
    NodeBuilder,
    as_float,
)
from cnntk.exporters.preprocessing.size import image_size, resized_size
from cnntk.runtime.artifact.spec import Preprocessing
from cnntk.runtime.preprocessing.resizing import ONNX_MODES, resize_attributes

__all__ = ["resize"]


def resize(builder: NodeBuilder, image: ImageValue, p: Preprocessing) -> ImageValue:
    """Resizes to `Preprocessing.resized_size`; the levels are whole where ``p.levels`` is uint8.

    Args:
        tape: to write on.
        picture: uint8, any size.
        p: what to do; not lanczos.
    """
    sizes = resized_size(builder, image.value, p)
    if p.resize == "stretch":
        target: tuple[int | str, int | str] = p.height, p.width
    else:
        target = "resized_height", "resized_width"
    dims = image.with_size(*target)
    known = None if p.resize == "stretch" else sizes
    if p.interpolation == "nearest":
        nearest = ImageValue(_nearest(builder, image, sizes, dims), dims, known)
        return nearest if p.levels == "uint8" else as_float(builder, nearest)
    if p.antialias:
        return ImageValue(_filtered(builder, image, sizes, dims, p), dims, known)
    return replace(_sampled(builder, as_float(builder, image), sizes, dims, p), sizes=known)


def _filtered(
    builder: NodeBuilder, image: ImageValue, sizes: ir.Value, dims: Dims, p: Preprocessing
) -> ir.Value:
    image = image if p.levels == "uint8" else as_float(builder, image)
    attributes = resize_attributes(p.interpolation)
    inputs = [image.value, None, None, sizes]
    return builder.add("Resize", inputs, attributes, name="resized", dtype=image.dtype, shape=dims)


def _sampled(
    builder: NodeBuilder, image: ImageValue, sizes: ir.Value, dims: Dims, p: Preprocessing
) -> ImageValue:
    attributes = {"mode": ONNX_MODES[p.interpolation], "coordinate_transformation_mode": "half_pixel"}
    if p.interpolation == "bicubic":
        image, dims = _three(builder, image, p), (*dims[:3], p.channels)
        value = _by_channels(
            builder, image, sizes, dims, {**attributes, "axes": [2, 3], "cubic_coeff_a": -0.75}
        )
    else:
        inputs = [image.value, None, None, sizes]
        value = builder.add(
            "Resize", inputs, {**attributes, "axes": [1, 2]}, name="resized", dtype=FLOAT, shape=dims
        )
    if p.levels == "uint8":
        value = builder.add("Round", [value], name="rounded", dtype=FLOAT, shape=dims)
        limits = [builder.constant("lowest", 0.0, FLOAT), builder.constant("highest", 255.0, FLOAT)]
        value = builder.add("Clip", [value, *limits], name="clipped", dtype=FLOAT, shape=dims)
    return ImageValue(value, dims)


def _three(builder: NodeBuilder, image: ImageValue, p: Preprocessing) -> ImageValue:
    """With as many channels as the network has."""
    if image.channels == p.channels:
        return image
    shape = builder.constant("as_many", [1, 1, 1, p.channels], INT64)
    dims = (*image.dims[:3], p.channels)
    value = builder.add("Expand", [image.value, shape], name="all_channels", dtype=FLOAT, shape=dims)
    return ImageValue(value, dims)


def _by_channels(
    builder: NodeBuilder, image: ImageValue, sizes: ir.Value, dims: Dims, attributes: dict[str, object]
) -> ir.Value:
    """Resizes each channel as an image of its own, (N * C, 1, H, W), and puts them together again."""

    def put(
        operator: str, inputs: list[ir.Value | None], name: str, shape: Dims, **given: object
    ) -> ir.Value:
        return builder.add(operator, inputs, given, name=name, dtype=FLOAT, shape=shape)

    (n, height, width, channels), (_, tall, wide, _) = image.dims, dims
    apart = builder.constant("apart", [-1, 1, 0, 0], INT64)
    together = builder.constant("together", np.array([-1, channels, 0, 0]), INT64)
    value = put("Transpose", [image.value], "by_channel", (n, channels, height, width), perm=[0, 3, 1, 2])
    value = put("Reshape", [value, apart], "channels_apart", ("NC", 1, height, width))
    value = put("Resize", [value, None, None, sizes], "resized", ("NC", 1, tall, wide), **attributes)
    value = put("Reshape", [value, together], "channels_together", (n, channels, tall, wide))
    return put("Transpose", [value], "resized_pixels", dims, perm=[0, 2, 3, 1])


def _nearest(builder: NodeBuilder, image: ImageValue, sizes: ir.Value, dims: Dims) -> ir.Value:
    """``image[rows][:, columns]``, rows and columns ``(2 d + 1) * n / (2 m)`` rounded down."""
    size = image_size(builder, image.value)
    value, shape = image.value, list(image.dims)
    for axis, side in ((1, "rows"), (2, "columns")):
        shape[axis] = dims[axis]
        indices = _indices(builder, size, sizes, axis - 1, dims[axis], side)
        value = builder.add(
            "Gather",
            [value, indices],
            {"axis": axis},
            name=f"{side}_taken",
            dtype=UINT8,
            shape=tuple(shape),
        )
    return value


def _indices(
    builder: NodeBuilder, size: ir.Value, sizes: ir.Value, place: int, length: int | str, side: str
) -> ir.Value:
    def whole(operator: str, a: ir.Value, b: ir.Value, name: str, shape: Dims) -> ir.Value:
        return builder.add(operator, [a, b], name=f"{side}_{name}", dtype=INT64, shape=shape)

    at = builder.constant(f"{side}_place", place, INT64)
    old = whole("Gather", size, at, "before", ())
    if isinstance(length, int):
        odd = builder.constant(f"{side}_odd", 2 * np.arange(length) + 1, INT64)
        twice = builder.constant(f"{side}_twice", 2 * length, INT64)
    else:
        new = whole("Gather", sizes, at, "after", ())
        one, two = (builder.constant(f"{side}_{n}", n, INT64) for n in (1, 2))
        twice = whole("Mul", new, two, "twice", ())
        odd = builder.add("Range", [one, twice, two], name=f"{side}_odd", dtype=INT64, shape=(length,))
    return whole("Div", whole("Mul", odd, old, "scaled", (length,)), twice, "taken_from", (length,))
