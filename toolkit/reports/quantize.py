"""Charts of a quantization: candidates by speed, accuracy and size, and layers by precision and cost."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from cnntk.reports.figure import (
    Circle,
    Figure,
    Frame,
    Line,
    Mark,
    Rect,
    Scale,
    Text,
    axes,
    layer_label,
    legend,
    text_width,
)
from cnntk.runtime.sections import Chart, number, size_text

if TYPE_CHECKING:
    from cnntk.quantization.accuracy import Accuracy
    from cnntk.quantization.report import QuantizedLayer, QuantizeReport

__all__ = ["draw_candidates", "draw_precisions"]

_HEIGHT, _LEFT, _RIGHT, _TOP, _BOTTOM = 360, 46, 20, 30, 48
_MAX_RADIUS, _MIN_RADIUS = 15.0, 3.0
_SHOWN = 6
"""Multiple of the limit of the accuracy drop that is shown; candidates beyond are drawn at the edge."""

_MAX_BARS = 24
"""Number of layers that are drawn; the others are counted."""

_ROW_PITCH, _NAME_SHARE, _PRECISION_WIDTH = 30, 0.3, 56
_COLORS = {"int8": "series-1", "int4": "series-3", "float32": "series-5"}


def draw_candidates(chart: Chart, width: int) -> Figure | None:
    """The candidates that were timed and compared, on the path of the search; None where there is none."""
    report: QuantizeReport = chart.data
    steps = [(i, step) for i, step in enumerate(report.candidates, 1) if step.speed and step.accuracy]
    if not steps:
        return None
    max_drop = report.setup.options.max_drop
    frame = Frame(_LEFT, width - _RIGHT, _TOP, _HEIGHT - _BOTTOM)
    fastest = max(1.0, *(step.speed.high for _, step in steps if step.speed))
    xs = Scale(0.0, 1.1 * fastest, frame.left, frame.right)
    ys = _drop_scale([_drop(step.accuracy) for _, step in steps if step.accuracy], max_drop, frame)
    largest = max(report.original_size_bytes, *(step.size_bytes for _, step in steps))
    hint = f"the original, {size_text(report.original_size_bytes)}"
    radius = _radius(report.original_size_bytes, largest)
    dots = [Circle(xs.at(1.0), ys.at(0.0), radius, "muted", hint, hollow=True)]
    whiskers: list[Mark] = []
    for index, step in steps:
        selected = report.changed and step.speed == report.speed
        dot = _candidate(index, step, selected, _radius(step.size_bytes, largest), xs, ys)
        dots.append(dot)
        whiskers += _whiskers(step, dot, xs, ys)
    limit = ys.at(max_drop)
    labels = ["0", *(str(index) for index, _ in steps)]
    marks: tuple[Mark, ...] = (
        *axes(frame, xs, ys, "speed, multiple of the original's", "accuracy cost, percentage points"),
        Line(((xs.at(1.0), frame.top), (xs.at(1.0), frame.bottom)), "muted", 1.0, dashed=True),
        Line(((frame.left, limit), (frame.right, limit)), "bad", 1.0, dashed=True),
        Text(frame.left + 4, limit - 5, f"limit {max_drop:g} points", "bad"),
        Line(tuple((dot.x, dot.y) for dot in dots), "muted", 1.0, dashed=True),
        *whiskers,
        *dots,
        *(Text(d.x, d.y - d.radius - 3, text, "ink", "middle") for d, text in zip(dots, labels, strict=True)),
    )
    names = [("good", "selected"), ("accent", "accepted"), ("bad", "rejected")]
    entries, end = legend(names, frame.bottom + 44, width)
    return Figure(chart.name, chart.title, width, round(end), (*marks, *entries))


def _candidate(index: int, step: Any, selected: bool, radius: float, xs: Scale, ys: Scale) -> Circle:
    color = "good" if selected else "accent" if step.verdict == "accepted" else "bad"
    ratio, drop = step.speed.ratio, _drop(step.accuracy)[0]
    hint = (
        f"{index}. {step.change}: {number(ratio)}x the speed of the original, drop {drop:.2f} points, "
        f"{size_text(step.size_bytes)}; {step.verdict}"
    )
    return Circle(xs.at(ratio), ys.at(drop), radius, color, hint)


def _whiskers(step: Any, dot: Circle, xs: Scale, ys: Scale) -> Iterator[Line]:
    yield Line(((xs.at(step.speed.low), dot.y), (xs.at(step.speed.high), dot.y)), "muted")
    _, low, high = _drop(step.accuracy)
    if high > low:
        yield Line(((dot.x, ys.at(low)), (dot.x, ys.at(high))), "muted")


def draw_precisions(chart: Chart, width: int) -> Figure | None:
    """A bar for each layer: its share of the multiply-adds, its precision, and its cost."""
    layers: Sequence[QuantizedLayer] = chart.data
    if not layers:
        return None
    others = len(layers) - _MAX_BARS
    if others > 0:  # the largest, in the order of the graph
        least = sorted((layer.multiply_adds for layer in layers), reverse=True)[_MAX_BARS - 1]
        layers = [layer for layer in layers if layer.multiply_adds >= least][:_MAX_BARS]
    work = sum(layer.multiply_adds for layer in chart.data) or 1
    costs = [max(layer.kl_divergence, 0.0) for layer in layers if layer.kl_divergence is not None]
    highest = max(costs, default=0.0) or 1.0
    letters = int((_NAME_SHARE * width - 8) / text_width("x", 12))
    left = max(text_width(layer_label(x.title, x.op, letters), 12) for x in layers) + 8
    bars = Scale(0.0, 1.0, left, width - _PRECISION_WIDTH)
    marks: list[Mark] = []
    for index, layer in enumerate(layers):
        cost = None if layer.kl_divergence is None else max(layer.kl_divergence, 0.0) / highest
        marks += _layer_bar(layer, layer.multiply_adds / work, cost, bars, index * _ROW_PITCH, width)
    bottom = len(layers) * _ROW_PITCH + 8
    if others > 0:
        text = f"and {others} layers with fewer multiply-adds"
        marks.append(Text(bars.first, bottom + 8, text, size=10.5))
        bottom += _ROW_PITCH
    kinds = dict.fromkeys(layer.precision for layer in layers)
    names = [(_COLORS.get(kind, "series-4"), kind) for kind in kinds]
    names += [("bad", "accuracy cost when quantized alone")] * bool(costs)
    entries, end = legend(names, bottom, width)
    return Figure(chart.name, chart.title, width, round(end), (*marks, *entries))


def _layer_bar(
    layer: QuantizedLayer, share: float, cost: float | None, bars: Scale, y: float, width: int
) -> Iterator[Mark]:
    hint = f"{layer.title}: {layer.precision}" + (f", {layer.reason}" if layer.reason else "")
    letters = int((bars.first - 8) / text_width("x", 12) + 1e-6)
    name = layer_label(layer.title, layer.op, letters)
    yield Text(bars.first - 8, y + 16, name, "ink", "end", 12, hint)
    color = _COLORS.get(layer.precision, "series-4")
    yield Rect(bars.first, y + 5, max(bars.at(share) - bars.first, 1.0), 10, color, hint)
    if cost is not None:
        yield Rect(bars.first, y + 17, max(bars.at(cost) - bars.first, 1.0), 4, "bad", hint)
    yield Text(width, y + 15, layer.precision, anchor="end", size=10.5)


def _drop_scale(drops: Sequence[tuple[float, float, float]], max_drop: float, frame: Frame) -> Scale:
    ends = [end for drop in drops for end in drop]
    furthest = _SHOWN * (max_drop or 1)
    low, high = max(min(0.0, *ends), -furthest), min(max(*ends, max_drop), furthest)
    room = 0.12 * (high - low or 1.0)
    return Scale(low - room, high + room, frame.bottom, frame.top)


def _drop(accuracy: Accuracy) -> tuple[float, float, float]:
    """The drop in points with its interval; without labels the expected one, with its upper end."""
    if accuracy.drop is None or accuracy.drop_low is None or accuracy.drop_high is None:
        return accuracy.expected_drop, accuracy.expected_drop, accuracy.expected_high
    return accuracy.drop, accuracy.drop_low, accuracy.drop_high


def _radius(size_bytes: int, largest: int) -> float:
    """A radius by which the area is proportional to the size."""
    return round(max(_MAX_RADIUS * math.sqrt(size_bytes / largest), _MIN_RADIUS), 1)
