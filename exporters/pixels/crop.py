"""The centre of a resized image."""

from __future__ import annotations

from cnntk.exporters.pixels.tape import INT64, Picture, Tape
from cnntk.runtime.spec import Preprocessing

__all__ = ["crop"]


def crop(tape: Tape, picture: Picture, p: Preprocessing) -> Picture:
    """Height x width from ``(size - target) / 2`` on, rounded down."""
    if picture.sizes is None:
        return picture
    target = tape.constant("cropped_size", [p.height, p.width], INT64)
    room = tape.put("Sub", [picture.sizes, target], name="crop_room", dtype=INT64, shape=(2,))
    start = tape.put(
        "Div", [room, tape.constant("two", 2, INT64)], name="crop_start", dtype=INT64, shape=(2,)
    )
    end = tape.put("Add", [start, target], name="crop_end", dtype=INT64, shape=(2,))
    axes = tape.constant("crop_axes", [1, 2], INT64)
    dims = picture.with_size(p.height, p.width)
    value = tape.put(
        "Slice", [picture.value, start, end, axes], name="cropped", dtype=picture.dtype, shape=dims
    )
    return Picture(value, dims)
