"""The center of a resized image."""

from __future__ import annotations

import onnx_ir as ir

from cnntk.exporters.preprocessing.tape import INT64, Picture, Tape
from cnntk.runtime.artifact.spec import Preprocessing

__all__ = ["crop"]


def crop(tape: Tape, picture: Picture, p: Preprocessing) -> Picture:
    """Height x width from `Preprocessing.crop_offset` on."""
    if picture.sizes is None:
        return picture
    target = tape.constant("cropped_size", [p.height, p.width], INT64)
    room = tape.put("Sub", [picture.sizes, target], name="crop_room", dtype=INT64, shape=(2,))
    start = _start(tape, room, p)
    end = tape.put("Add", [start, target], name="crop_end", dtype=INT64, shape=(2,))
    axes = tape.constant("crop_axes", [1, 2], INT64)
    dims = picture.with_size(p.height, p.width)
    value = tape.put(
        "Slice", [picture.value, start, end, axes], name="cropped", dtype=picture.dtype, shape=dims
    )
    return Picture(value, dims)


def _start(tape: Tape, room: ir.Value, p: Preprocessing) -> ir.Value:
    """``room / 2`` rounded down, or where that is odd, of one more."""

    def whole(operator: str, a: ir.Value, b: ir.Value, name: str) -> ir.Value:
        return tape.put(operator, [a, b], name=name, dtype=INT64, shape=(2,))

    two = tape.constant("two", 2, INT64)
    if p.crop_start == "round":
        odd = whole("Mod", whole("Div", room, two, "crop_half"), two, "crop_half_odd")
        room = whole("Add", room, odd, "crop_room_even")
    return whole("Div", room, two, "crop_start")
