"""The network's channels, in its order and layout.

Each channel is resized for itself, so that this comes behind, where the image is small. A gray image stands
for red, green and blue alike (Expand), which costs nothing that could be measured. The other way, luma for a
network of gray images, would cost every image 2.5 µs as an If and more without one, 7 % of LeNet: so there
the graph takes (N, H, W, 1), and who reads an image makes it gray.
"""

from __future__ import annotations

from cnntk.exporters.preprocessing.node_builder import INT64, Dims, ImageValue, NodeBuilder
from cnntk.runtime.artifact.spec import Preprocessing

__all__ = ["to_layout"]


def to_layout(builder: NodeBuilder, image: ImageValue, p: Preprocessing) -> ImageValue:
    """(N, H, W, 1 or 3) to (N, C, H, W), or (N, H, W, C), as the network takes it."""
    if p.layout == "NCHW":
        image = _planes(builder, image)
    place = 1 if p.layout == "NCHW" else 3
    dims: Dims = tuple(p.channels if i == place else d for i, d in enumerate(image.dims))
    value = image.value
    if image.channels != p.channels:
        shape = builder.constant("three", [p.channels if i == place else 1 for i in range(4)], INT64)
        value = builder.add("Expand", [value, shape], name="three_channels", dtype=image.dtype, shape=dims)
    if p.color == "bgr":
        order = builder.constant("bgr", [2, 1, 0], INT64)
        value = builder.add(
            "Gather", [value, order], {"axis": place}, name="bgr_channels", dtype=image.dtype, shape=dims
        )
    return ImageValue(value, dims, image.sizes, image.axes)


def _planes(builder: NodeBuilder, image: ImageValue) -> ImageValue:
    n, height, width, channels = image.dims
    dims: Dims = (n, channels, height, width)
    if channels == 1 and image.sizes is None:  # the same numbers, cheaper than Transpose
        shape = builder.constant("planes_shape", [-1, *(int(d) for d in dims[1:])], INT64)
        value = builder.add("Reshape", [image.value, shape], name="planes", dtype=image.dtype, shape=dims)
    else:
        order = {"perm": [0, 3, 1, 2]}
        value = builder.add("Transpose", [image.value], order, name="planes", dtype=image.dtype, shape=dims)
    return ImageValue(value, dims, image.sizes, (2, 3))
