"""Charts of an export: the network, and the errors of its layers.

The network is a box for each layer in the order of the data, with an arc for each skip connection. Large
networks are folded until their boxes fit.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import groupby, takewhile
from typing import TYPE_CHECKING

from cnntk.reports.figure import (
    Circle,
    Figure,
    Frame,
    Line,
    Mark,
    Polygon,
    Rect,
    Scale,
    Text,
    legend,
    text_width,
)  # fmt: skip
from cnntk.runtime.sections import Chart, amount, dims, error_text, kind_text, shorten

if TYPE_CHECKING:
    from cnntk.exporters.checks.divergence import LayerError
    from cnntk.runtime.artifact.spec import Layer

__all__ = ["MAX_BOXES", "draw_layer_errors", "draw_network"]

MAX_BOXES = 40
"""Number of boxes; larger networks are folded."""

_BOX_HEIGHT, _PITCH = 36, 46
_MAX_LANES, _LANE_WIDTH = 6, 9
_TITLE_SIZE, _SMALL_SIZE = 12.0, 10.5

_KINDS = {
    "linear": {"Conv", "ConvTranspose", "Gemm", "MatMul", "QLinearConv", "ConvInteger", "MatMulInteger"},
    "pool": {"MaxPool", "AveragePool", "GlobalAveragePool", "GlobalMaxPool", "ReduceMean", "Resize"},
    "join": {"Add", "Concat", "Mul", "Sub"},
    "view": {"Reshape", "Flatten", "Transpose", "Squeeze", "Unsqueeze", "Identity", "Slice", "Cast"},
}
"""Kinds of boxes, which are their colors, by operators."""

_FOLLOWERS = frozenset({*_KINDS["view"], "BatchNormalization", "Clip", "Relu", "Sigmoid", "Softmax", "Tanh"})

_ERRORS_HEIGHT, _ERRORS_LEFT, _ERRORS_RIGHT, _ERRORS_TOP = 250, 56, 12, 14
_MAX_NAMES = 24
"""Number of layers that are named along the axis."""

_NAME_LETTERS = 18
_MAX_RADIUS = 3.6

Layers = Sequence["Layer"]


def draw_network(chart: Chart, width: int) -> Figure | None:
    """The layers of a graph; None where there are none."""
    layers: Layers = chart.data
    if not layers:
        return None
    groups = _folded(layers)
    total = sum(layer.multiply_adds for layer in layers) or 1
    connections = _connections(groups)
    lanes = _lanes([pair for pair in sorted(connections) if pair[1] - pair[0] > 1])
    box_width = (
        width - 2 - (min(max(lanes.values(), default=-1) + 1, _MAX_LANES) * _LANE_WIDTH + 8) * bool(lanes)
    )
    marks: list[Mark] = []
    for index, group in enumerate(groups):
        marks += _box(index, group, total, box_width)
        if (index - 1, index) in connections:
            marks += _flow(index, box_width)
    for (start, end), lane in lanes.items():
        hint = f"{groups[start][-1].name} to {groups[end][-1].name}"
        marks += _arc(start, end, min(lane, _MAX_LANES - 1), box_width, hint)
    height = (len(groups) - 1) * _PITCH + _BOX_HEIGHT + 4
    return Figure(chart.name, chart.title, width, height, tuple(marks))


def _folded(layers: Layers) -> list[Layers]:
    """Groups of layers: each alone, or with what only follows it, or by module, or in equal runs."""
    groups: list[Layers] = [[layer] for layer in layers]
    if len(groups) > MAX_BOXES:
        groups = _with_followers(layers)
    depth = max((len(_parts(layer.name)) - 1 for layer in layers), default=0)
    while len(groups) > MAX_BOXES and depth > 0:
        groups = _by_module(groups, depth)
        depth -= 1
    if len(groups) > MAX_BOXES:
        groups = _in_runs(groups)
    return groups


def _with_followers(layers: Layers) -> list[Layers]:
    groups: list[list[Layer]] = []
    for layer in layers:
        if groups and layer.op in _FOLLOWERS and _follows(layer, groups[-1][-1]):
            groups[-1].append(layer)
        else:
            groups.append([layer])
    return list(groups)


def _follows(layer: Layer, before: Layer) -> bool:
    return not layer.inputs or before.output in layer.inputs


def _by_module(groups: list[Layers], depth: int) -> list[Layers]:
    """Merges neighbors whose names begin with the same parts, and layers without a module with them."""
    keys: list[str] = []
    for group in groups:
        name = group[0].name
        keys.append(keys[-1] if keys and _is_no_module(name) else ".".join(_parts(name)[:depth]))
    runs = groupby(zip(keys, groups, strict=True), key=lambda pair: pair[0])
    return [[layer for _, group in run for layer in group] for _, run in runs]


def _in_runs(groups: list[Layers]) -> list[Layers]:
    step = math.ceil(len(groups) / MAX_BOXES)
    parts = (groups[i : i + step] for i in range(0, len(groups), step))
    return [[layer for group in part for layer in group] for part in parts]


def _box(index: int, group: Layers, total: int, width: float) -> Iterator[Mark]:
    """A layer, or several that are folded, with its share of the network's multiply-adds."""
    y = index * _PITCH + 2
    ops = Counter(layer.op for layer in group)
    operators, name, shape = _ops_text(ops), _name(group), dims(group[-1].shape)
    parameters = sum(layer.parameters for layer in group)
    weights = f"{amount(parameters)} weights" if parameters else ""
    title, subtitle = (operators, name) if len(group) == 1 else (name, operators)
    kind = next((kind for kind, members in _KINDS.items() if members & ops.keys()), "other")
    yield Rect(1, y, width - 1, _BOX_HEIGHT, kind, f"{name}: {operators}, {shape}")
    for text, other, size, color, base in (
        (title, shape, _TITLE_SIZE, "ink", 15),
        (subtitle, weights, _SMALL_SIZE, "muted", 28),
    ):
        letters = int((width - 30 - text_width(other, size)) / text_width("x", size))
        yield Text(10, y + base, shorten(text, max(letters, 4)), color, size=size, bold=size == _TITLE_SIZE)
        yield Text(width - 9, y + base, other, color, "end", size)
    share = sum(layer.multiply_adds for layer in group) / total
    if share > 0:
        yield Rect(10, y + _BOX_HEIGHT - 4, max(share * (width - 19), 1.0), 2, "accent")


def _flow(index: int, width: float) -> Iterator[Mark]:
    """The arrow from the box above."""
    x, y = width / 2, index * _PITCH + 2
    yield Line(((x, y - _PITCH + _BOX_HEIGHT), (x, y - 4)), "muted", 1.2)
    yield Polygon(((x - 3.5, y - 5), (x + 3.5, y - 5), (x, y)), "muted")


def _ops_text(ops: Counter[str]) -> str:
    return ", ".join(f"{n} × {kind_text(op)}" if n > 1 else kind_text(op) for op, n in ops.items())


def _name(group: Layers) -> str:
    """The common beginning of a group's names; else its first and last."""
    names = list(dict.fromkeys(layer.name for layer in group))
    parts = [_parts(name) for name in names if not _is_no_module(name)] or [names]
    columns = zip(*parts, strict=False)
    shared = [column[0] for column in takewhile(lambda column: len(set(column)) == 1, columns)]
    if len(names) == 1 or shared:
        return names[0] if len(names) == 1 else ".".join(shared)
    return f"{'.'.join(parts[0])} … {'.'.join(parts[-1])}" if len(parts) > 1 else ".".join(parts[0])


def _parts(name: str) -> list[str]:
    """The parts of a module's path; exporters write it with dots or with slashes."""
    return name.strip("/").replace("/", ".").split(".")


def _is_no_module(name: str) -> bool:
    return name.startswith(("node_", "val_"))


def _lanes(skips: Sequence[tuple[int, int]]) -> dict[tuple[int, int], int]:
    """A lane for each skip connection, so that those that overlap can be distinguished."""
    ends: list[int] = []
    lanes = {}
    for start, end in skips:
        lane = next((i for i, busy in enumerate(ends) if busy <= start), len(ends))
        ends[lane : lane + 1] = [end]
        lanes[start, end] = lane
    return lanes


def _connections(groups: list[Layers]) -> set[tuple[int, int]]:
    """Pairs of boxes of which the second reads the first; a row where no layer records its inputs."""
    if not any(layer.inputs for group in groups for layer in group):
        return {(i, i + 1) for i in range(len(groups) - 1)}
    producers = {layer.output: i for i, group in enumerate(groups) for layer in group if layer.output}
    return {
        (producers[value], i)
        for i, group in enumerate(groups)
        for layer in group
        for value in layer.inputs
        if value in producers and producers[value] != i
    }


def _arc(start: int, end: int, lane: int, width: float, hint: str) -> Iterator[Mark]:
    """From the lower part of one box's right edge around to the upper part of another's."""
    top, bottom = start * _PITCH + _BOX_HEIGHT - 6, end * _PITCH + 10
    x, out = width + 1, width + 10 + lane * _LANE_WIDTH
    yield Line(((x, top), (out, top), (out, bottom), (x + 3, bottom)), "accent", 1.4, hint=hint)
    yield Polygon(((x, bottom), (x + 5, bottom - 3.5), (x + 5, bottom + 3.5)), "accent")


def draw_layer_errors(chart: Chart, width: int) -> Figure | None:
    """Errors of the layers relative to each layer's largest output, and the limit; None without layers.

    The chart's data are the layers' errors, the relative limit of an output with its name or None, and the
    name of the other row.
    """
    layers: Sequence[LayerError]
    layers, bound, native = chart.data
    if not layers:
        return None
    frame = Frame(_ERRORS_LEFT, width - _ERRORS_RIGHT, _ERRORS_TOP, _ERRORS_HEIGHT)
    rows = {"onnx": [_relative(layer.onnx_error, layer.scale) for layer in layers],
            "torch": [_relative(layer.torch_error, layer.scale) for layer in layers]}  # fmt: skip
    low, high = _decades([*rows["onnx"], *rows["torch"], *([bound[0]] if bound else [])])
    ys = Scale(10.0**low, 10.0**high, frame.bottom, frame.top, log=True)
    step = (frame.right - frame.left) / len(layers)
    xs = [frame.left + (i + 0.5) * step for i in range(len(layers))]
    radius = max(1.6, min(_MAX_RADIUS, step / 3))
    marks: list[Mark] = list(_errors_axes(layers, xs, ys, frame, range(low, high + 1)))
    if bound is not None:
        y = ys.at(bound[0])
        marks.append(Line(((frame.left, y), (frame.right, y)), "bad", 1.0, dashed=True))
        marks.append(Text(frame.left + 4, y - 5, f"limit of {bound[1]}", "bad"))
    for row, size in (("torch", radius + 1.4), ("onnx", radius)):
        for x, value, layer in zip(xs, rows[row], layers, strict=True):
            finite = math.isfinite(value)
            color = "bad" if not finite else "accent" if row == "onnx" else "muted"
            hint = f"{'this file' if row == 'onnx' else native}, {layer.layer}: {error_text(value)}"
            y = ys.at(value) if finite else frame.top
            marks.append(Circle(x, y, round(size, 1), color, hint, hollow=row == "torch"))
    entries, end = legend(
        [("accent", "this file"), ("muted", native)], frame.bottom + _names_height(layers) + 16, width
    )
    return Figure(chart.name, chart.title, width, round(end), (*marks, *entries))


def _errors_axes(
    layers: Sequence[LayerError], xs: Sequence[float], ys: Scale, frame: Frame, powers: Sequence[int]
) -> Iterator[Mark]:
    for power in powers:
        y = ys.at(10.0**power)
        yield Line(((frame.left, y), (frame.right, y)), "line")
        yield Text(frame.left - 8, y + 3.5, f"1e{power}", anchor="end", size=_SMALL_SIZE)
    names = min(_MAX_NAMES, (frame.right - frame.left) / 12)
    spacing = math.ceil(len(layers) / names)
    for x, layer in list(zip(xs, layers, strict=True))[::spacing]:
        letters = int((x + 3) / text_width("x", 0.77 * _SMALL_SIZE))
        name = shorten(layer.layer, min(letters, _NAME_LETTERS))
        yield Text(x + 3, frame.bottom + 14, name, anchor="end", size=_SMALL_SIZE, degrees=-40)


def _names_height(layers: Sequence[LayerError]) -> float:
    """Height of the names below the axis, which are turned."""
    longest = max(len(shorten(layer.layer, _NAME_LETTERS)) for layer in layers)
    return 14 + 0.64 * text_width("x" * longest, _SMALL_SIZE)


def _relative(value: float, scale: float) -> float:
    """An error as a share of the layer's largest output."""
    return value / scale if scale > 0 else float(value)


def _decades(values: Sequence[float]) -> tuple[int, int]:
    """Powers of ten below and above all positive values; at least two decades."""
    powers = [math.log10(v) for v in values if math.isfinite(v) and v > 0]
    if not powers:
        return -8, -6
    low, high = math.floor(min(powers) - 0.2), math.ceil(max(powers) + 0.2)
    return low, max(high, low + 2)
