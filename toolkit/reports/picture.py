"""The network's picture: a box for each layer in the order of the data, an arc for each skip connection.

Only the geometry is here, the template draws it. Large networks are folded until their boxes fit.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby, takewhile
from typing import Any

from cnntk.reports.text import amount, dims, shorten

__all__ = ["LARGEST", "Arc", "Box", "Picture", "draw_network"]

LARGEST = 40
"""Boxes; beyond that they are folded."""

BOX_WIDTH, BOX_HEIGHT, PITCH = 296, 36, 46
LANES, LANE_WIDTH = 6, 9

_KINDS = {
    "linear": {"Conv", "ConvTranspose", "Gemm", "MatMul", "QLinearConv", "ConvInteger", "MatMulInteger"},
    "pool": {"MaxPool", "AveragePool", "GlobalAveragePool", "GlobalMaxPool", "ReduceMean", "Resize"},
    "join": {"Add", "Concat", "Mul", "Sub"},
    "view": {"Reshape", "Flatten", "Transpose", "Squeeze", "Unsqueeze", "Identity", "Slice", "Cast"},
}
_FOLLOWERS = frozenset({*_KINDS["view"], "BatchNormalization", "Clip", "Relu", "Sigmoid", "Softmax", "Tanh"})

Layers = Sequence[Mapping[str, Any]]


@dataclass(frozen=True)
class Box:
    """One box: a layer, or several that are folded.

    Attributes:
        y: of its upper edge.
        title: the operator, or what is folded in it.
        name: of the torch module.
        shape: of what leaves it.
        figures: parameters, where there are any.
        kind: ``linear``, ``pool``, ``join``, ``view``, ``other``; for its color.
        share: of the network's multiply-adds, 0 to 1.
        joined: whether it reads what the box above answers.
        hint: all of it, for a pointer that rests on it.
    """

    y: int
    title: str
    name: str
    shape: str
    figures: str
    kind: str
    share: float
    joined: bool
    hint: str


@dataclass(frozen=True)
class Arc:
    """A connection that passes over at least one box, as SVG paths."""

    path: str
    arrow: str
    hint: str


@dataclass(frozen=True)
class Picture:
    """Boxes and arcs in a frame of so many units."""

    width: int
    height: int
    box_width: int
    box_height: int
    pitch: int
    boxes: tuple[Box, ...]
    arcs: tuple[Arc, ...]
    folded: int


def draw_network(layers: Layers) -> Picture:
    """The picture of the layers of a spec, as dicts."""
    groups = _folded(layers)
    total = sum(_number(layer, "multiply_adds") for layer in layers) or 1
    skips = _connections(groups)
    boxes = tuple(_box(i, group, total, (i - 1, i) in skips) for i, group in enumerate(groups))
    arcs, lanes = _arcs(groups, skips)
    return Picture(
        width=BOX_WIDTH + 2 + (lanes * LANE_WIDTH + 8 if lanes else 0),
        height=max(len(boxes), 1) * PITCH - (PITCH - BOX_HEIGHT) + 4,
        box_width=BOX_WIDTH,
        box_height=BOX_HEIGHT,
        pitch=PITCH,
        boxes=boxes,
        arcs=arcs,
        folded=len(layers) if len(layers) > len(boxes) else 0,
    )


def _folded(layers: Layers) -> list[Layers]:
    """Each layer alone, or with those that only follow it, or by module, or in equal runs."""
    groups: list[Layers] = [[layer] for layer in layers]
    if len(groups) > LARGEST:
        groups = _with_followers(layers)
    depth = max((len(_parts(str(layer.get("name", "")))) - 1 for layer in layers), default=0)
    while len(groups) > LARGEST and depth > 0:
        groups = _by_module(groups, depth)
        depth -= 1
    if len(groups) > LARGEST:
        groups = _in_runs(groups)
    return groups


def _with_followers(layers: Layers) -> list[Layers]:
    groups: list[list[Mapping[str, Any]]] = []
    for layer in layers:
        if groups and layer.get("op") in _FOLLOWERS and _follows(layer, groups[-1][-1]):
            groups[-1].append(layer)
        else:
            groups.append([layer])
    return list(groups)


def _follows(layer: Mapping[str, Any], before: Mapping[str, Any]) -> bool:
    return not layer.get("inputs") or before.get("output") in layer["inputs"]


def _by_module(groups: list[Layers], depth: int) -> list[Layers]:
    """Neighbors whose names begin with the same parts are one; what has no module goes with them."""
    keys: list[str] = []
    for group in groups:
        name = str(group[0].get("name", ""))
        keys.append(keys[-1] if keys and _is_no_module(name) else ".".join(_parts(name)[:depth]))
    runs = groupby(zip(keys, groups, strict=True), key=lambda pair: pair[0])
    return [[layer for _, group in run for layer in group] for _, run in runs]


def _in_runs(groups: list[Layers]) -> list[Layers]:
    step = math.ceil(len(groups) / LARGEST)
    parts = (groups[i : i + step] for i in range(0, len(groups), step))
    return [[layer for group in part for layer in group] for part in parts]


def _box(i: int, group: Layers, total: int, joined: bool) -> Box:
    ops = Counter(str(layer.get("op", "?")) for layer in group)
    done, name, shape = _ops_text(ops), _name(group), dims(group[-1].get("shape"))
    parameters = sum(_number(layer, "parameters") for layer in group)
    figures = f"{amount(parameters)} weights" if parameters else ""
    title, below = (done, name) if len(group) == 1 else (name, done)
    return Box(
        y=i * PITCH + 2,
        title=shorten(title, 36 - len(shape)),
        name=shorten(below, 46 - len(figures)),
        shape=shape,
        figures=figures,
        kind=_kind(ops),
        share=sum(_number(layer, "multiply_adds") for layer in group) / total,
        joined=joined,
        hint=f"{name}: {done}, {shape}",
    )


def _ops_text(ops: Counter[str]) -> str:
    return ", ".join(f"{n} {op}" if n > 1 else op for op, n in ops.items())


def _name(group: Layers) -> str:
    """What the names of a group begin with; else its first and last."""
    names = list(dict.fromkeys(str(layer.get("name", "")) for layer in group))
    parts = [_parts(name) for name in names if not _is_no_module(name)] or [names]
    columns = zip(*parts, strict=False)
    shared = [column[0] for column in takewhile(lambda column: len(set(column)) == 1, columns)]
    if len(names) == 1 or shared:
        return names[0] if len(names) == 1 else ".".join(shared)
    return f"{'.'.join(parts[0])} … {'.'.join(parts[-1])}" if len(parts) > 1 else ".".join(parts[0])


def _parts(name: str) -> list[str]:
    """A module's path; exporters write it with dots or with slashes."""
    return name.strip("/").replace("/", ".").split(".")


def _is_no_module(name: str) -> bool:
    return name.startswith(("node_", "val_"))


def _kind(ops: Counter[str]) -> str:
    return next((kind for kind, members in _KINDS.items() if members & ops.keys()), "other")


def _number(layer: Mapping[str, Any], key: str) -> int:
    value = layer.get(key)
    return value if isinstance(value, int) else 0


def _arcs(groups: list[Layers], connections: set[tuple[int, int]]) -> tuple[tuple[Arc, ...], int]:
    """An arc for each pair of boxes that are joined over others, in lanes so that they can be told apart."""
    ends: list[int] = []
    arcs = []
    for start, end in sorted(pair for pair in connections if pair[1] - pair[0] > 1):
        lane = next((i for i, busy in enumerate(ends) if busy <= start), len(ends))
        ends[lane : lane + 1] = [end]
        names = [str(groups[i][-1].get("name", "")) for i in (start, end)]
        arrow = f"M{BOX_WIDTH + 1} {end * PITCH + 10} l5 -3.5 v7 z"
        arcs.append(Arc(_path(start, end, min(lane, LANES - 1)), arrow, " to ".join(names)))
    return tuple(arcs), min(len(ends), LANES)


def _connections(groups: list[Layers]) -> set[tuple[int, int]]:
    """Pairs of boxes of which the second reads the first; a plain row where none says what it reads."""
    if not any(layer.get("inputs") for group in groups for layer in group):
        return {(i, i + 1) for i in range(len(groups) - 1)}
    home = {layer["output"]: i for i, group in enumerate(groups) for layer in group if layer.get("output")}
    return {
        (home[value], i)
        for i, group in enumerate(groups)
        for layer in group
        for value in layer.get("inputs") or ()
        if value in home and home[value] != i
    }


def _path(start: int, end: int, lane: int) -> str:
    """From the lower part of one box's right edge around to the upper part of another's."""
    top, bottom = start * PITCH + BOX_HEIGHT - 6, end * PITCH + 10
    x, out, bend = BOX_WIDTH + 1, BOX_WIDTH + 10 + lane * LANE_WIDTH, 7
    return (
        f"M{x} {top} H{out - bend} Q{out} {top} {out} {top + bend} V{bottom - bend} "
        f"Q{out} {bottom} {out - bend} {bottom} H{x + 3}"
    )
