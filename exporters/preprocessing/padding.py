"""Black on both sides of an image that does not fill the input."""

from __future__ import annotations

from cnntk.exporters.preprocessing.node_builder import INT64, ImageValue, NodeBuilder
from cnntk.runtime.artifact.spec import Preprocessing

__all__ = ["pad"]


def pad(builder: NodeBuilder, image: ImageValue, p: Preprocessing, black: float) -> ImageValue:
    """Pads to height x width; where one side is wider by a pixel, it is the lower or right one.

    Args:
        tape: to write on.
        picture: at most that large.
        p: what to do.
        black: the value that stands for it.
    """
    if image.sizes is None:
        return image
    # For all four axes: onnxruntime 1.32's optimizer breaks a Pad with axes where it meets a Transpose.
    before, behind = image.axes[0], 3 - image.axes[1]
    zeros = {
        n: builder.constant(f"no_pad_{n}", [0] * n, INT64) for n in {before, before + behind, behind} - {0}
    }
    parts = [zeros.get(before), image.sizes, zeros.get(before + behind), image.sizes, zeros.get(behind)]
    sizes = builder.add(
        "Concat", [x for x in parts if x], {"axis": 0}, name="unpadded", dtype=INT64, shape=(8,)
    )
    # floor((target - size) / 2) in front, the same of one more behind.
    targets = [0] * 8
    for axis, side in zip(image.axes, (p.height, p.width), strict=True):
        targets[axis], targets[4 + axis] = side, side + 1
    target = builder.constant("padded_to", targets, INT64)
    room = builder.add("Sub", [target, sizes], name="pad_room", dtype=INT64, shape=(8,))
    pads = builder.add("Div", [room, builder.constant("two", 2, INT64)], name="pads", dtype=INT64, shape=(8,))
    fill = builder.constant("pad_value", black, image.dtype)
    dims = image.with_size(p.height, p.width)
    value = builder.add("Pad", [image.value, pads, fill], name="padded", dtype=image.dtype, shape=dims)
    return ImageValue(value, dims, axes=image.axes)
