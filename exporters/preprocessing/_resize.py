"""Resize as Pillow does it, in ONNX's own operators, then crop or pad to the network's size.

Large networks' images are resized by matrix products (`_products`); the rest of this page is on the operator.

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
    Dims,
    ImageValue,
    NodeBuilder,
    as_float,
)
from cnntk.exporters.preprocessing._products import resize_and_crop
from cnntk.runtime.artifact.spec import Preprocessing
from cnntk.runtime.preprocessing.resizing import ONNX_MODES, resize_attributes


def resize(builder: NodeBuilder, image: ImageValue, p: Preprocessing) -> ImageValue:
    """Resizes uint8 images; pixel values stay integers where ``p.levels`` is uint8.

    Products crop, too, unless images are padded later.
    """
    sizes = resized_size(builder, image.value, p)
    if p.resize_form != "operator":
        start = None if p.resize == "longest" else _crop_start(builder, sizes, p)
        return resize_and_crop(builder, image, _image_size(builder, image.value), sizes, start, p)
    if p.resize == "stretch":
        dims, dynamic_sizes = image.with_size(*p.edges), None if p.edges == (p.height, p.width) else sizes
    else:
        dims, dynamic_sizes = image.with_size("resized_height", "resized_width"), sizes
    if p.interpolation == "nearest":
        nearest = ImageValue(_nearest(builder, image, sizes, dims), dims, dynamic_sizes)
        return nearest if p.levels == "uint8" else as_float(builder, nearest)
    if p.antialias:
        return ImageValue(_filtered(builder, image, sizes, dims, p), dims, dynamic_sizes)
    return replace(_sampled(builder, as_float(builder, image), sizes, dims, p), sizes=dynamic_sizes)


def crop(builder: NodeBuilder, image: ImageValue, p: Preprocessing) -> ImageValue:
    """Crops the center, height x width from `Preprocessing.crop_offset` on."""
    if image.sizes is None:
        return _crop_fixed(builder, image, p)
    target = builder.constant("cropped_size", [p.height, p.width], INT64)
    start = _crop_start(builder, image.sizes, p)
    end = builder.add("Add", [start, target], name="crop_end")
    inputs = [image.value, start, end, builder.constant("crop_axes", [1, 2], INT64)]
    dims = image.with_size(p.height, p.width)
    return ImageValue(builder.add("Slice", inputs, name="cropped", shape=dims), dims)


def _crop_start(builder: NodeBuilder, sizes: ir.Value, p: Preprocessing) -> ir.Value:
    """Computes `Preprocessing.crop_offset` of both resized sides, int64 [2]."""
    target = builder.constant("crop_size", [p.height, p.width], INT64)
    margin = builder.add("Sub", [sizes, target], name="crop_margin")
    two = builder.constant("two", 2, INT64)
    if p.crop_start == "round":  # an odd margin counts as one more
        half = builder.add("Div", [margin, two], name="crop_half")
        odd = builder.add("Mod", [half, two], name="crop_half_odd")
        margin = builder.add("Add", [margin, odd], name="crop_margin_even")
    return builder.add("Div", [margin, two], name="crop_start")


def _crop_fixed(builder: NodeBuilder, image: ImageValue, p: Preprocessing) -> ImageValue:
    """Crops images whose size is known."""
    sides, target = [d for d in image.dims[1:3] if isinstance(d, int)], (p.height, p.width)
    if tuple(sides) == target:
        return image
    starts = [p.crop_offset(side - size) for side, size in zip(sides, target, strict=True)]
    ends = [start + size for start, size in zip(starts, target, strict=True)]
    limits = [
        builder.constant(name, numbers, INT64) for name, numbers in (("crop_from", starts), ("crop_to", ends))
    ]
    inputs = [image.value, *limits, builder.constant("crop_axes", [1, 2], INT64)]
    dims = image.with_size(*target)
    return ImageValue(builder.add("Slice", inputs, name="cropped", shape=dims), dims)


def pad(builder: NodeBuilder, image: ImageValue, p: Preprocessing, black: float) -> ImageValue:
    """Pads both sides to height x width with black; the odd pixel is below or on the right."""
    if image.sizes is None:
        return image
    # For all four axes: onnxruntime 1.32's optimizer breaks a Pad with axes where it meets a Transpose.
    before, after = image.axes[0], 3 - image.axes[1]
    lengths = {before, before + after, after} - {0}
    zeros = {n: builder.constant(f"no_pad_{n}", [0] * n, INT64) for n in lengths}
    parts = [zeros.get(before), image.sizes, zeros.get(before + after), image.sizes, zeros.get(after)]
    inputs = [x for x in parts if x]
    sizes = builder.add("Concat", inputs, {"axis": 0}, name="unpadded", shape=(8,))
    # floor((target - size) / 2) before the image, and the same of a target of one more after it.
    targets = [0] * 8
    for axis, side in zip(image.axes, (p.height, p.width), strict=True):
        targets[axis], targets[4 + axis] = side, side + 1
    target = builder.constant("padded_to", targets, INT64)
    margin = builder.add("Sub", [target, sizes], name="pad_margin")
    pads = builder.add("Div", [margin, builder.constant("two", 2, INT64)], name="pads")
    fill = builder.constant("pad_value", black, image.dtype)
    dims = image.with_size(p.height, p.width)
    value = builder.add("Pad", [image.value, pads, fill], name="padded", shape=dims)
    return ImageValue(value, dims, axes=image.axes)


def resized_size(builder: NodeBuilder, image: ir.Value, p: Preprocessing) -> ir.Value:
    """Returns the height and width to resize to, int64 [2]."""
    if p.resize == "stretch":
        return builder.constant("resized_size", p.edges, INT64)
    size = _image_size(builder, image)
    return _covering(builder, size, p) if p.resize == "shortest" else _contained(builder, size, p)


def _image_size(builder: NodeBuilder, image: ir.Value) -> ir.Value:
    """Returns height and width, int64 [2]."""
    return builder.add("Shape", [image], {"start": 1, "end": 3}, name="size", dtype=INT64, shape=(2,))


def _covering(builder: NodeBuilder, size: ir.Value, p: Preprocessing) -> ir.Value:
    """Computes ``size * e * f / min(h * f, w * e)``, rounded down."""
    crossed, area = _crossed(builder, size, p.edges)
    least = builder.add("ReduceMin", [crossed], {"keepdims": 1}, name="least", shape=(1,))
    scaled = builder.add("Mul", [size, builder.constant("area", area, INT64)], name="times_area")
    return builder.add("Div", [scaled, least], name="resized_size")


def _contained(builder: NodeBuilder, size: ir.Value, p: Preprocessing) -> ir.Value:
    """Computes ``size * H * W / max(h * W, w * H)``, rounded half up, at least 1."""
    crossed, area = _crossed(builder, size, (p.height, p.width))
    most = builder.add("ReduceMax", [crossed], {"keepdims": 1}, name="most", shape=(1,))
    factor = builder.constant("area_twice", 2 * area, INT64)
    scaled = builder.add("Mul", [size, factor], name="times_area")
    half_more = builder.add("Add", [scaled, most], name="half_more")
    twice = builder.add("Add", [most, most], name="most_twice")
    rounded = builder.add("Div", [half_more, twice], name="rounded")
    return builder.add("Max", [rounded, builder.constant("one", [1], INT64)], name="resized_size")


def _crossed(builder: NodeBuilder, size: ir.Value, edges: tuple[int, int]) -> tuple[ir.Value, int]:
    """Returns each side times the other edge, and the product of the edges, without a common factor."""
    height, width = edges
    if height == width:
        return size, height
    other_edges = builder.constant("edges", [width, height], INT64)
    return builder.add("Mul", [size, other_edges], name="crossed"), height * width


def _filtered(
    builder: NodeBuilder, image: ImageValue, sizes: ir.Value, dims: Dims, p: Preprocessing
) -> ir.Value:
    image = image if p.levels == "uint8" else as_float(builder, image)
    inputs = [image.value, None, None, sizes]
    return builder.add("Resize", inputs, resize_attributes(p.interpolation), name="resized", shape=dims)


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
        value = builder.add("Resize", inputs, attributes, name="resized", shape=dims)
    if p.levels == "uint8":
        value = builder.add("Round", [value], name="rounded")
        limits = [builder.constant("lowest", 0.0, FLOAT), builder.constant("highest", 255.0, FLOAT)]
        value = builder.add("Clip", [value, *limits], name="clipped")
    return ImageValue(value, dims)


def _expanded(builder: NodeBuilder, image: ImageValue, p: Preprocessing) -> ImageValue:
    """Repeats a gray image for each channel of the network."""
    if image.channels == p.channels:
        return image
    shape = builder.constant("channel_count", [1, 1, 1, p.channels], INT64)
    dims = (*image.dims[:3], p.channels)
    value = builder.add("Expand", [image.value, shape], name="all_channels", shape=dims)
    return ImageValue(value, dims)


def _by_channels(
    builder: NodeBuilder, image: ImageValue, sizes: ir.Value, dims: Dims, attributes: dict[str, object]
) -> ir.Value:
    """Resizes each channel as an image of its own, (N * C, 1, H, W), and joins the channels again."""
    (n, height, width, channels), (_, new_height, new_width, _) = image.dims, dims
    split = builder.constant("split", [-1, 1, 0, 0], INT64)
    joined = builder.constant("joined", np.array([-1, channels, 0, 0]), INT64)
    shape: Dims = n, channels, height, width
    value = builder.add("Transpose", [image.value], {"perm": [0, 3, 1, 2]}, name="by_channel", shape=shape)
    value = builder.add("Reshape", [value, split], name="channels_split", shape=("NC", 1, height, width))
    inputs, shape = [value, None, None, sizes], ("NC", 1, new_height, new_width)
    value = builder.add("Resize", inputs, attributes, name="resized", shape=shape)
    shape = n, channels, new_height, new_width
    value = builder.add("Reshape", [value, joined], name="channels_joined", shape=shape)
    return builder.add("Transpose", [value], {"perm": [0, 2, 3, 1]}, name="resized_pixels", shape=dims)


def _nearest(builder: NodeBuilder, image: ImageValue, sizes: ir.Value, dims: Dims) -> ir.Value:
    """Computes ``image[rows][:, columns]``, rows and columns ``(2 d + 1) * n / (2 m)`` rounded down."""
    size = _image_size(builder, image.value)
    value, shape = image.value, list(image.dims)
    for axis, side in ((1, "rows"), (2, "columns")):
        shape[axis] = dims[axis]
        inputs = [value, _indices(builder, size, sizes, axis - 1, dims[axis], side)]
        value = builder.add("Gather", inputs, {"axis": axis}, name=f"nearest_{side}", shape=tuple(shape))
    return value


def _indices(
    builder: NodeBuilder, size: ir.Value, sizes: ir.Value, index: int, length: int | str, side: str
) -> ir.Value:
    at = builder.constant(f"{side}_index", index, INT64)
    old = builder.add("Gather", [size, at], name=f"{side}_before", shape=())
    if isinstance(length, int):
        odd = builder.constant(f"{side}_odd", 2 * np.arange(length) + 1, INT64)
        twice = builder.constant(f"{side}_twice", 2 * length, INT64)
    else:
        new = builder.add("Gather", [sizes, at], name=f"{side}_after", shape=())
        one, two = (builder.constant(f"{side}_{n}", n, INT64) for n in (1, 2))
        twice = builder.add("Mul", [new, two], name=f"{side}_twice")
        odd = builder.add("Range", [one, twice, two], name=f"{side}_odd", shape=(length,))
    scaled = builder.add("Mul", [odd, old], name=f"{side}_scaled")
    return builder.add("Div", [scaled, twice], name=f"{side}_indices")
