"""The size to resize to, in the graph's whole numbers: `Preprocessing.resized_size`, node for node."""

from __future__ import annotations

import onnx_ir as ir

from cnntk.exporters.preprocessing.tape import INT64, Tape
from cnntk.runtime.artifact.spec import Preprocessing

__all__ = ["image_size", "resized_size"]


def image_size(tape: Tape, image: ir.Value) -> ir.Value:
    """Height and width, int64 [2]."""
    return tape.put("Shape", [image], {"start": 1, "end": 3}, name="size", dtype=INT64, shape=(2,))


def resized_size(tape: Tape, image: ir.Value, p: Preprocessing) -> ir.Value:
    """Height and width to resize to, int64 [2]."""
    if p.resize == "stretch":
        return tape.constant("resized_size", [p.height, p.width], INT64)
    size = image_size(tape, image)
    return _covering(tape, size, p) if p.resize == "shortest" else _contained(tape, size, p)


def _covering(tape: Tape, size: ir.Value, p: Preprocessing) -> ir.Value:
    """``size * e * f / min(h * f, w * e)``, rounded down."""
    (crossed, area) = _crossed(tape, size, p.edges)
    least = tape.put("ReduceMin", [crossed], {"keepdims": 1}, name="least", dtype=INT64, shape=(1,))
    times = _whole(tape, "Mul", size, tape.constant("area", area, INT64), "times_area")
    return _whole(tape, "Div", times, least, "resized_size")


def _contained(tape: Tape, size: ir.Value, p: Preprocessing) -> ir.Value:
    """``size * H * W / max(h * W, w * H)``, rounded half up, at least 1."""
    (crossed, area) = _crossed(tape, size, (p.height, p.width))
    most = tape.put("ReduceMax", [crossed], {"keepdims": 1}, name="most", dtype=INT64, shape=(1,))
    times = _whole(tape, "Mul", size, tape.constant("area_twice", 2 * area, INT64), "times_area")
    half_more = _whole(tape, "Add", times, most, "half_more")
    rounded = _whole(tape, "Div", half_more, _whole(tape, "Add", most, most, "most_twice", 1), "rounded")
    return _whole(tape, "Max", rounded, tape.constant("one", [1], INT64), "resized_size")


def _crossed(tape: Tape, size: ir.Value, edges: tuple[int, int]) -> tuple[ir.Value, int]:
    """Each side times the other edge, and the product of the edges; both less an edge that they share."""
    height, width = edges
    if height == width:
        return size, height
    across = tape.constant("edges", [width, height], INT64)
    return _whole(tape, "Mul", size, across, "crossed"), height * width


def _whole(tape: Tape, operator: str, a: ir.Value, b: ir.Value, name: str, length: int = 2) -> ir.Value:
    return tape.put(operator, [a, b], name=name, dtype=INT64, shape=(length,))
