"""The center of a resized image."""

from __future__ import annotations

import onnx_ir as ir

from cnntk.exporters.preprocessing.node_builder import INT64, ImageValue, NodeBuilder
from cnntk.runtime.artifact.spec import Preprocessing

__all__ = ["crop"]


def crop(builder: NodeBuilder, image: ImageValue, p: Preprocessing) -> ImageValue:
    """Height x width from `Preprocessing.crop_offset` on."""
    if image.sizes is None:
        return image
    target = builder.constant("cropped_size", [p.height, p.width], INT64)
    room = builder.add("Sub", [image.sizes, target], name="crop_room", dtype=INT64, shape=(2,))
    start = _start(builder, room, p)
    end = builder.add("Add", [start, target], name="crop_end", dtype=INT64, shape=(2,))
    axes = builder.constant("crop_axes", [1, 2], INT64)
    dims = image.with_size(p.height, p.width)
    value = builder.add(
        "Slice", [image.value, start, end, axes], name="cropped", dtype=image.dtype, shape=dims
    )
    return ImageValue(value, dims)


def _start(builder: NodeBuilder, room: ir.Value, p: Preprocessing) -> ir.Value:
    """``room / 2`` rounded down, or where that is odd, of one more."""

    def whole(operator: str, a: ir.Value, b: ir.Value, name: str) -> ir.Value:
        return builder.add(operator, [a, b], name=name, dtype=INT64, shape=(2,))

    two = builder.constant("two", 2, INT64)
    if p.crop_start == "round":
        odd = whole("Mod", whole("Div", room, two, "crop_half"), two, "crop_half_odd")
        room = whole("Add", room, odd, "crop_room_even")
    return whole("Div", room, two, "crop_start")
