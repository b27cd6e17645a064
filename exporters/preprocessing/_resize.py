"""Resize as Pillow does it, in ONNX's own operators, then crop or pad to the network's size.

ONNX's Resize is Pillow's with ``antialias=1``, ``exclude_outside=1`` (weights outside the image are dropped
and the rest sum to 1), ``half_pixel`` and ``cubic_coeff_a=-0.5``: on floats within 0.002 gray levels of 255;
on bytes, which both round after each axis, within 1 level for linear and 2 for cubic filters. ONNX's defaults
are up to 9 levels off, and without antialias 67.

Without antialias it is OpenCV's and torch's: ``cubic_coeff_a=-0.75``, edges are repeated. onnxruntime
truncates bytes there, so it runs on floats and Round follows; and its cubic filter supports NCHW only.
Transpose before a Resize with ``axes`` makes onnxruntime 1.32's optimizer fail: a Reshape separates the two.

Nearest is two Gathers with integer indices: Resize's float32 positions miss where a pixel falls between two.

Sizes are computed in the graph's int64, node for node as `Preprocessing.resized_size` computes them.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import onnx_ir as ir

from cnntk.exporters.preprocessing._node_builder import (
    FLOAT,
    INT64,
    UINT8,
    Dims,
    ImageValue,
    NodeBuilder,
    as_float,
)
from cnntk.runtime.artifact.spec import Preprocessing
from cnntk.runtime.preprocessing.resizing import ONNX_MODES, resize_attributes


def resize(builder: NodeBuilder, image: ImageValue, p: Preprocessing) -> ImageValue:
    """Resizes to `Preprocessing.resized_size`; pixel values are integers where ``p.levels`` is uint8.

    Args:
        builder: Builder that gets the nodes.
        image: uint8 image of any size.
        p: Preprocessing; its interpolation is not lanczos.
    """
    sizes = resized_size(builder, image.value, p)
    if p.resize == "stretch":
        target: tuple[int | str, int | str] = p.height, p.width
    else:
        target = "resized_height", "resized_width"
    dims = image.with_size(*target)
    dynamic_sizes = None if p.resize == "stretch" else sizes
    if p.interpolation == "nearest":
        nearest = ImageValue(_nearest(builder, image, sizes, dims), dims, dynamic_sizes)
        return nearest if p.levels == "uint8" else as_float(builder, nearest)
    if p.antialias:
        return ImageValue(_filtered(builder, image, sizes, dims, p), dims, dynamic_sizes)
    return replace(_sampled(builder, as_float(builder, image), sizes, dims, p), sizes=dynamic_sizes)


def crop(builder: NodeBuilder, image: ImageValue, p: Preprocessing) -> ImageValue:
    """Crops the center, height x width from `Preprocessing.crop_offset` on."""
    if image.sizes is None:
        return image
    target = builder.constant("cropped_size", [p.height, p.width], INT64)
    margin = _integer(builder, "Sub", image.sizes, target, "crop_margin")
    two = builder.constant("two", 2, INT64)
    if p.crop_start == "round":  # an odd margin counts as one more
        half = _integer(builder, "Div", margin, two, "crop_half")
        odd = _integer(builder, "Mod", half, two, "crop_half_odd")
        margin = _integer(builder, "Add", margin, odd, "crop_margin_even")
    start = _integer(builder, "Div", margin, two, "crop_start")
    end = _integer(builder, "Add", start, target, "crop_end")
    inputs = [image.value, start, end, builder.constant("crop_axes", [1, 2], INT64)]
    dims = image.with_size(p.height, p.width)
    return ImageValue(builder.add("Slice", inputs, name="cropped", dtype=image.dtype, shape=dims), dims)


def pad(builder: NodeBuilder, image: ImageValue, p: Preprocessing, black: float) -> ImageValue:
    """Pads both sides to height x width with black; the odd pixel is below or on the right.

    Args:
        builder: Builder that gets the nodes.
        image: Image of at most that size.
        p: Preprocessing.
        black: Value that stands for black.
    """
    if image.sizes is None:
        return image
    # For all four axes: onnxruntime 1.32's optimizer breaks a Pad with axes where it meets a Transpose.
    before, after = image.axes[0], 3 - image.axes[1]
    lengths = {before, before + after, after} - {0}
    zeros = {n: builder.constant(f"no_pad_{n}", [0] * n, INT64) for n in lengths}
    parts = [zeros.get(before), image.sizes, zeros.get(before + after), image.sizes, zeros.get(after)]
    inputs = [x for x in parts if x]
    sizes = builder.add("Concat", inputs, {"axis": 0}, name="unpadded", dtype=INT64, shape=(8,))
    # floor((target - size) / 2) before the image, and the same of a target of one more after it.
    targets = [0] * 8
    for axis, side in zip(image.axes, (p.height, p.width), strict=True):
        targets[axis], targets[4 + axis] = side, side + 1
    target = builder.constant("padded_to", targets, INT64)
    margin = _integer(builder, "Sub", target, sizes, "pad_margin", 8)
    pads = _integer(builder, "Div", margin, builder.constant("two", 2, INT64), "pads", 8)
    fill = builder.constant("pad_value", black, image.dtype)
    dims = image.with_size(p.height, p.width)
    value = builder.add("Pad", [image.value, pads, fill], name="padded", dtype=image.dtype, shape=dims)
    return ImageValue(value, dims, axes=image.axes)


def resized_size(builder: NodeBuilder, image: ir.Value, p: Preprocessing) -> ir.Value:
    """Returns the height and width to resize to, int64 [2]."""
    if p.resize == "stretch":
        return builder.constant("resized_size", [p.height, p.width], INT64)
    size = _image_size(builder, image)
    return _covering(builder, size, p) if p.resize == "shortest" else _contained(builder, size, p)


def _image_size(builder: NodeBuilder, image: ir.Value) -> ir.Value:
    """Returns height and width, int64 [2]."""
    return builder.add("Shape", [image], {"start": 1, "end": 3}, name="size", dtype=INT64, shape=(2,))


def _covering(builder: NodeBuilder, size: ir.Value, p: Preprocessing) -> ir.Value:
    """Computes ``size * e * f / min(h * f, w * e)``, rounded down."""
    crossed, area = _crossed(builder, size, p.edges)
    least = builder.add("ReduceMin", [crossed], {"keepdims": 1}, name="least", dtype=INT64, shape=(1,))
    scaled = _integer(builder, "Mul", size, builder.constant("area", area, INT64), "times_area")
    return _integer(builder, "Div", scaled, least, "resized_size")


def _contained(builder: NodeBuilder, size: ir.Value, p: Preprocessing) -> ir.Value:
    """Computes ``size * H * W / max(h * W, w * H)``, rounded half up, at least 1."""
    crossed, area = _crossed(builder, size, (p.height, p.width))
    most = builder.add("ReduceMax", [crossed], {"keepdims": 1}, name="most", dtype=INT64, shape=(1,))
    scaled = _integer(builder, "Mul", size, builder.constant("area_twice", 2 * area, INT64), "times_area")
    half_more = _integer(builder, "Add", scaled, most, "half_more")
    twice = _integer(builder, "Add", most, most, "most_twice", 1)
    rounded = _integer(builder, "Div", half_more, twice, "rounded")
    return _integer(builder, "Max", rounded, builder.constant("one", [1], INT64), "resized_size")


def _crossed(builder: NodeBuilder, size: ir.Value, edges: tuple[int, int]) -> tuple[ir.Value, int]:
    """Returns each side times the other edge, and the product of the edges, without a common factor."""
    height, width = edges
    if height == width:
        return size, height
    other_edges = builder.constant("edges", [width, height], INT64)
    return _integer(builder, "Mul", size, other_edges, "crossed"), height * width


def _integer(
    builder: NodeBuilder, operator: str, a: ir.Value, b: ir.Value, name: str, length: int = 2
) -> ir.Value:
    """Adds integer arithmetic whose result is int64 [length]."""
    return builder.add(operator, [a, b], name=name, dtype=INT64, shape=(length,))


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
    attributes: dict[str, object] = {
        "mode": ONNX_MODES[p.interpolation],
        "coordinate_transformation_mode": "half_pixel",
    }
    if p.interpolation == "bicubic":
        image, dims = _expanded(builder, image, p), (*dims[:3], p.channels)
        attributes |= {"axes": [2, 3], "cubic_coeff_a": -0.75}
        value = _by_channels(builder, image, sizes, dims, attributes)
    else:
        inputs = [image.value, None, None, sizes]
        attributes |= {"axes": [1, 2]}
        value = builder.add("Resize", inputs, attributes, name="resized", dtype=FLOAT, shape=dims)
    if p.levels == "uint8":
        value = builder.add("Round", [value], name="rounded", dtype=FLOAT, shape=dims)
        limits = [builder.constant("lowest", 0.0, FLOAT), builder.constant("highest", 255.0, FLOAT)]
        value = builder.add("Clip", [value, *limits], name="clipped", dtype=FLOAT, shape=dims)
    return ImageValue(value, dims)


def _expanded(builder: NodeBuilder, image: ImageValue, p: Preprocessing) -> ImageValue:
    """Repeats a gray image for each channel of the network."""
    if image.channels == p.channels:
        return image
    shape = builder.constant("channel_count", [1, 1, 1, p.channels], INT64)
    dims = (*image.dims[:3], p.channels)
    value = builder.add("Expand", [image.value, shape], name="all_channels", dtype=FLOAT, shape=dims)
    return ImageValue(value, dims)


def _by_channels(
    builder: NodeBuilder, image: ImageValue, sizes: ir.Value, dims: Dims, attributes: dict[str, object]
) -> ir.Value:
    """Resizes each channel as an image of its own, (N * C, 1, H, W), and joins the channels again."""

    def add(
        operator: str, inputs: list[ir.Value | None], name: str, shape: Dims, **options: object
    ) -> ir.Value:
        return builder.add(operator, inputs, options, name=name, dtype=FLOAT, shape=shape)

    (n, height, width, channels), (_, new_height, new_width, _) = image.dims, dims
    split = builder.constant("split", [-1, 1, 0, 0], INT64)
    joined = builder.constant("joined", np.array([-1, channels, 0, 0]), INT64)
    value = add("Transpose", [image.value], "by_channel", (n, channels, height, width), perm=[0, 3, 1, 2])
    value = add("Reshape", [value, split], "channels_split", ("NC", 1, height, width))
    value = add(
        "Resize", [value, None, None, sizes], "resized", ("NC", 1, new_height, new_width), **attributes
    )
    value = add("Reshape", [value, joined], "channels_joined", (n, channels, new_height, new_width))
    return add("Transpose", [value], "resized_pixels", dims, perm=[0, 2, 3, 1])


def _nearest(builder: NodeBuilder, image: ImageValue, sizes: ir.Value, dims: Dims) -> ir.Value:
    """Computes ``image[rows][:, columns]``, rows and columns ``(2 d + 1) * n / (2 m)`` rounded down."""
    size = _image_size(builder, image.value)
    value, shape = image.value, list(image.dims)
    for axis, side in ((1, "rows"), (2, "columns")):
        shape[axis] = dims[axis]
        inputs = [value, _indices(builder, size, sizes, axis - 1, dims[axis], side)]
        name = f"nearest_{side}"
        value = builder.add("Gather", inputs, {"axis": axis}, name=name, dtype=UINT8, shape=tuple(shape))
    return value


def _indices(
    builder: NodeBuilder, size: ir.Value, sizes: ir.Value, index: int, length: int | str, side: str
) -> ir.Value:
    def integer(operator: str, a: ir.Value, b: ir.Value, name: str, shape: Dims) -> ir.Value:
        return builder.add(operator, [a, b], name=f"{side}_{name}", dtype=INT64, shape=shape)

    at = builder.constant(f"{side}_index", index, INT64)
    old = integer("Gather", size, at, "before", ())
    if isinstance(length, int):
        odd = builder.constant(f"{side}_odd", 2 * np.arange(length) + 1, INT64)
        twice = builder.constant(f"{side}_twice", 2 * length, INT64)
    else:
        new = integer("Gather", sizes, at, "after", ())
        one, two = (builder.constant(f"{side}_{n}", n, INT64) for n in (1, 2))
        twice = integer("Mul", new, two, "twice", ())
        odd = builder.add("Range", [one, twice, two], name=f"{side}_odd", dtype=INT64, shape=(length,))
    return integer("Div", integer("Mul", odd, old, "scaled", (length,)), twice, "indices", (length,))
