"""The network's channels, in its order and layout.

Each channel is resized for itself, so that this comes behind, where the image is small. A gray image stands
for red, green and blue alike (Expand), which costs nothing that could be measured. The other way, luma for a
network of gray images, would cost every image 2.5 µs as an If and more without one, 7 % of LeNet: so there
the graph takes (N, H, W, 1), and who reads an image makes it gray.
"""

from __future__ import annotations

from cnntk.exporters.preprocessing.tape import INT64, Dims, Picture, Tape
from cnntk.runtime.artifact.spec import Preprocessing

__all__ = ["arrange"]


def arrange(tape: Tape, picture: Picture, p: Preprocessing) -> Picture:
    """(N, H, W, 1 or 3) to (N, C, H, W), or (N, H, W, C), as the network takes it."""
    if p.layout == "NCHW":
        picture = _planes(tape, picture)
    place = 1 if p.layout == "NCHW" else 3
    dims: Dims = tuple(p.channels if i == place else d for i, d in enumerate(picture.dims))
    value = picture.value
    if picture.channels != p.channels:
        shape = tape.constant("three", [p.channels if i == place else 1 for i in range(4)], INT64)
        value = tape.put("Expand", [value, shape], name="three_channels", dtype=picture.dtype, shape=dims)
    if p.color == "bgr":
        order = tape.constant("bgr", [2, 1, 0], INT64)
        value = tape.put(
            "Gather", [value, order], {"axis": place}, name="bgr_channels", dtype=picture.dtype, shape=dims
        )
    return Picture(value, dims, picture.sizes, picture.axes)


def _planes(tape: Tape, picture: Picture) -> Picture:
    n, height, width, channels = picture.dims
    dims: Dims = (n, channels, height, width)
    if channels == 1 and picture.sizes is None:  # the same numbers, cheaper than Transpose
        shape = tape.constant("planes_shape", [-1, *(int(d) for d in dims[1:])], INT64)
        value = tape.put("Reshape", [picture.value, shape], name="planes", dtype=picture.dtype, shape=dims)
    else:
        order = {"perm": [0, 3, 1, 2]}
        value = tape.put("Transpose", [picture.value], order, name="planes", dtype=picture.dtype, shape=dims)
    return Picture(value, dims, picture.sizes, (2, 3))
