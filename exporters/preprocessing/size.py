"""The size to resize to, in the graph's whole numbers: `Preprocessing.resized_size`, node for node."""

from __future__ import annotations

import onnx_ir as ir

from cnntk.exporters.preprocessing.node_builder import INT64, NodeBuilder
from cnntk.runtime.artifact.spec import Preprocessing

__all__ = ["image_size", "resized_size"]


def image_size(builder: NodeBuilder, image: ir.Value) -> ir.Value:
    """Height and width, int64 [2]."""
    return builder.add("Shape", [image], {"start": 1, "end": 3}, name="size", dtype=INT64, shape=(2,))


def resized_size(builder: NodeBuilder, image: ir.Value, p: Preprocessing) -> ir.Value:
    """Height and width to resize to, int64 [2]."""
    if p.resize == "stretch":
        return builder.constant("resized_size", [p.height, p.width], INT64)
    size = image_size(builder, image)
    return _covering(builder, size, p) if p.resize == "shortest" else _contained(builder, size, p)


def _covering(builder: NodeBuilder, size: ir.Value, p: Preprocessing) -> ir.Value:
    """``size * e * f / min(h * f, w * e)``, rounded down."""
    (crossed, area) = _crossed(builder, size, p.edges)
    least = builder.add("ReduceMin", [crossed], {"keepdims": 1}, name="least", dtype=INT64, shape=(1,))
    times = _whole(builder, "Mul", size, builder.constant("area", area, INT64), "times_area")
    return _whole(builder, "Div", times, least, "resized_size")


def _contained(builder: NodeBuilder, size: ir.Value, p: Preprocessing) -> ir.Value:
    """``size * H * W / max(h * W, w * H)``, rounded half up, at least 1."""
    (crossed, area) = _crossed(builder, size, (p.height, p.width))
    most = builder.add("ReduceMax", [crossed], {"keepdims": 1}, name="most", dtype=INT64, shape=(1,))
    times = _whole(builder, "Mul", size, builder.constant("area_twice", 2 * area, INT64), "times_area")
    half_more = _whole(builder, "Add", times, most, "half_more")
    rounded = _whole(
        builder, "Div", half_more, _whole(builder, "Add", most, most, "most_twice", 1), "rounded"
    )
    return _whole(builder, "Max", rounded, builder.constant("one", [1], INT64), "resized_size")


def _crossed(builder: NodeBuilder, size: ir.Value, edges: tuple[int, int]) -> tuple[ir.Value, int]:
    """Each side times the other edge, and the product of the edges; both less an edge that they share."""
    height, width = edges
    if height == width:
        return size, height
    across = builder.constant("edges", [width, height], INT64)
    return _whole(builder, "Mul", size, across, "crossed"), height * width


def _whole(
    builder: NodeBuilder, operator: str, a: ir.Value, b: ir.Value, name: str, length: int = 2
) -> ir.Value:
    return builder.add(operator, [a, b], name=name, dtype=INT64, shape=(length,))
