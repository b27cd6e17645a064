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

from cnntk.exporters.preprocessing.size import image_size, resized_size
from cnntk.exporters.preprocessing.tape import FLOAT, INT64, UINT8, Dims, Picture, Tape, as_float
from cnntk.runtime.artifact.spec import Preprocessing
from cnntk.runtime.preprocessing.resizing import ONNX_MODES, resize_attributes

__all__ = ["resize"]


def resize(tape: Tape, picture: Picture, p: Preprocessing) -> Picture:
    """Resizes to `Preprocessing.resized_size`; the levels are whole where ``p.levels`` is uint8.

    Args:
        tape: to write on.
        picture: uint8, any size.
        p: what to do; not lanczos.
    """
    sizes = resized_size(tape, picture.value, p)
    if p.resize == "stretch":
        target: tuple[int | str, int | str] = p.height, p.width
    else:
        target = "resized_height", "resized_width"
    dims = picture.with_size(*target)
    known = None if p.resize == "stretch" else sizes
    if p.interpolation == "nearest":
        nearest = Picture(_nearest(tape, picture, sizes, dims), dims, known)
        return nearest if p.levels == "uint8" else as_float(tape, nearest)
    if p.antialias:
        return Picture(_filtered(tape, picture, sizes, dims, p), dims, known)
    return replace(_sampled(tape, as_float(tape, picture), sizes, dims, p), sizes=known)


def _filtered(tape: Tape, picture: Picture, sizes: ir.Value, dims: Dims, p: Preprocessing) -> ir.Value:
    picture = picture if p.levels == "uint8" else as_float(tape, picture)
    attributes = resize_attributes(p.interpolation)
    inputs = [picture.value, None, None, sizes]
    return tape.put("Resize", inputs, attributes, name="resized", dtype=picture.dtype, shape=dims)


def _sampled(tape: Tape, picture: Picture, sizes: ir.Value, dims: Dims, p: Preprocessing) -> Picture:
    attributes = {"mode": ONNX_MODES[p.interpolation], "coordinate_transformation_mode": "half_pixel"}
    if p.interpolation == "bicubic":
        picture, dims = _three(tape, picture, p), (*dims[:3], p.channels)
        value = _by_channels(
            tape, picture, sizes, dims, {**attributes, "axes": [2, 3], "cubic_coeff_a": -0.75}
        )
    else:
        inputs = [picture.value, None, None, sizes]
        value = tape.put(
            "Resize", inputs, {**attributes, "axes": [1, 2]}, name="resized", dtype=FLOAT, shape=dims
        )
    if p.levels == "uint8":
        value = tape.put("Round", [value], name="rounded", dtype=FLOAT, shape=dims)
        limits = [tape.constant("lowest", 0.0, FLOAT), tape.constant("highest", 255.0, FLOAT)]
        value = tape.put("Clip", [value, *limits], name="clipped", dtype=FLOAT, shape=dims)
    return Picture(value, dims)


def _three(tape: Tape, picture: Picture, p: Preprocessing) -> Picture:
    """With as many channels as the network has."""
    if picture.channels == p.channels:
        return picture
    shape = tape.constant("as_many", [1, 1, 1, p.channels], INT64)
    dims = (*picture.dims[:3], p.channels)
    value = tape.put("Expand", [picture.value, shape], name="all_channels", dtype=FLOAT, shape=dims)
    return Picture(value, dims)


def _by_channels(
    tape: Tape, picture: Picture, sizes: ir.Value, dims: Dims, attributes: dict[str, object]
) -> ir.Value:
    """Resizes each channel as an image of its own, (N * C, 1, H, W), and puts them together again."""

    def put(
        operator: str, inputs: list[ir.Value | None], name: str, shape: Dims, **given: object
    ) -> ir.Value:
        return tape.put(operator, inputs, given, name=name, dtype=FLOAT, shape=shape)

    (n, height, width, channels), (_, tall, wide, _) = picture.dims, dims
    apart = tape.constant("apart", [-1, 1, 0, 0], INT64)
    together = tape.constant("together", np.array([-1, channels, 0, 0]), INT64)
    value = put("Transpose", [picture.value], "by_channel", (n, channels, height, width), perm=[0, 3, 1, 2])
    value = put("Reshape", [value, apart], "channels_apart", ("NC", 1, height, width))
    value = put("Resize", [value, None, None, sizes], "resized", ("NC", 1, tall, wide), **attributes)
    value = put("Reshape", [value, together], "channels_together", (n, channels, tall, wide))
    return put("Transpose", [value], "resized_pixels", dims, perm=[0, 2, 3, 1])


def _nearest(tape: Tape, picture: Picture, sizes: ir.Value, dims: Dims) -> ir.Value:
    """``image[rows][:, columns]``, rows and columns ``(2 d + 1) * n / (2 m)`` rounded down."""
    size = image_size(tape, picture.value)
    value, shape = picture.value, list(picture.dims)
    for axis, side in ((1, "rows"), (2, "columns")):
        shape[axis] = dims[axis]
        indices = _indices(tape, size, sizes, axis - 1, dims[axis], side)
        value = tape.put(
            "Gather",
            [value, indices],
            {"axis": axis},
            name=f"{side}_taken",
            dtype=UINT8,
            shape=tuple(shape),
        )
    return value


def _indices(
    tape: Tape, size: ir.Value, sizes: ir.Value, place: int, length: int | str, side: str
) -> ir.Value:
    def whole(operator: str, a: ir.Value, b: ir.Value, name: str, shape: Dims) -> ir.Value:
        return tape.put(operator, [a, b], name=f"{side}_{name}", dtype=INT64, shape=shape)

    at = tape.constant(f"{side}_place", place, INT64)
    old = whole("Gather", size, at, "before", ())
    if isinstance(length, int):
        odd = tape.constant(f"{side}_odd", 2 * np.arange(length) + 1, INT64)
        twice = tape.constant(f"{side}_twice", 2 * length, INT64)
    else:
        new = whole("Gather", sizes, at, "after", ())
        one, two = (tape.constant(f"{side}_{n}", n, INT64) for n in (1, 2))
        twice = whole("Mul", new, two, "twice", ())
        odd = tape.put("Range", [one, twice, two], name=f"{side}_odd", dtype=INT64, shape=(length,))
    return whole("Div", whole("Mul", odd, old, "scaled", (length,)), twice, "taken_from", (length,))
