"""Black on both sides of an image that does not fill the input."""

from __future__ import annotations

from cnntk.exporters.preprocessing.tape import INT64, Picture, Tape
from cnntk.runtime.artifact.spec import Preprocessing

__all__ = ["pad"]


def pad(tape: Tape, picture: Picture, p: Preprocessing, black: float) -> Picture:
    """Pads to height x width; where one side is wider by a pixel, it is the lower or right one.

    Args:
        tape: to write on.
        picture: at most that large.
        p: what to do.
        black: the value that stands for it.
    """
    if picture.sizes is None:
        return picture
    # For all four axes: onnxruntime 1.32's optimizer breaks a Pad with axes where it meets a Transpose.
    before, behind = picture.axes[0], 3 - picture.axes[1]
    zeros = {n: tape.constant(f"no_pad_{n}", [0] * n, INT64) for n in {before, before + behind, behind} - {0}}
    parts = [zeros.get(before), picture.sizes, zeros.get(before + behind), picture.sizes, zeros.get(behind)]
    sizes = tape.put("Concat", [x for x in parts if x], {"axis": 0}, name="unpadded", dtype=INT64, shape=(8,))
    # floor((target - size) / 2) in front, the same of one more behind.
    targets = [0] * 8
    for axis, side in zip(picture.axes, (p.height, p.width), strict=True):
        targets[axis], targets[4 + axis] = side, side + 1
    target = tape.constant("padded_to", targets, INT64)
    room = tape.put("Sub", [target, sizes], name="pad_room", dtype=INT64, shape=(8,))
    pads = tape.put("Div", [room, tape.constant("two", 2, INT64)], name="pads", dtype=INT64, shape=(8,))
    fill = tape.constant("pad_value", black, picture.dtype)
    dims = picture.with_size(p.height, p.width)
    value = tape.put("Pad", [picture.value, pads, fill], name="padded", dtype=picture.dtype, shape=dims)
    return Picture(value, dims, axes=picture.axes)
