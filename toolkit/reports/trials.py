"""Candidates by speed, accuracy and size, and layers by kind and cost: geometry for the template."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from cnntk.reports.axes import Scale
from cnntk.reports.plot import Tick
from cnntk.reports.text import bytes_text, shorten

__all__ = ["Bar", "Dot", "TrialPlot", "bars_of", "draw_trials"]

WIDTH, HEIGHT = 760, 360
LEFT, RIGHT, TOP, BOTTOM = 62, 20, 18, 48
_LARGEST = 15.0
_SEEN = 6
"""Times the bound; what is further off stands on the edge, so that what is near can be told apart."""


@dataclass(frozen=True)
class Dot:
    """A candidate; its area is its size.

    Attributes:
        x: by its speed.
        y: by what it costs in accuracy.
        radius: by its size; an original of the same size would have the largest.
        low: x of the lower end of its speed's interval.
        high: of the upper end.
        top: y of the upper end of its cost's interval; None without one.
        bottom: of the lower end.
        label: its number on the path, 0 for the original.
        kind: ``original``, ``chosen``, ``holds`` or ``fails``.
        hint: all of it.
    """

    x: float
    y: float
    radius: float
    low: float
    high: float
    top: float | None
    bottom: float | None
    label: str
    kind: str
    hint: str


@dataclass(frozen=True)
class TrialPlot:
    """All candidates in a frame, the path through them, and the two bounds."""

    width: int
    height: int
    left: int
    right: int
    top: int
    bottom: int
    dots: tuple[Dot, ...]
    path: str
    speeds: tuple[Tick, ...]
    costs: tuple[Tick, ...]
    allowed: Tick
    equal: float


@dataclass(frozen=True)
class Bar:
    """A layer: its share of the work, and of what all cost; each 0 to 1, None where it was not asked."""

    title: str
    kind: str
    work: float
    cost: float | None
    hint: str


def draw_trials(report: Mapping[str, Any]) -> TrialPlot | None:
    """The plot of what `QuantizeReport.to_json` gave; None where nothing was timed and compared."""
    steps = [
        (number, step)
        for number, step in enumerate(report.get("path_steps") or (), start=1)
        if step.get("race") and step.get("accuracy")
    ]
    if not steps:
        return None
    max_drop = float(report["setting"]["max_drop"])
    ends = [cost for _, step in steps for cost in _interval(step["accuracy"])]
    speeds = Scale(0.0, 1.1 * max(1.0, *(s["race"]["high"] for _, s in steps)), LEFT, WIDTH - RIGHT)
    low, high = (
        max(min(0.0, *ends), -_SEEN * (max_drop or 1)),
        min(max(*ends, max_drop), _SEEN * (max_drop or 1)),
    )
    room = 0.12 * (high - low or 1.0)
    costs = Scale(low - room, high + room, HEIGHT - BOTTOM, TOP)
    largest = max([report["original_size_bytes"], *(s["size_bytes"] for _, s in steps)])
    chosen = report.get("race") if report.get("changed") else None
    original = _original(report, speeds, costs, largest)
    dots = (original, *(_dot(n, s, speeds, costs, largest, chosen) for n, s in steps))
    return TrialPlot(
        width=WIDTH,
        height=HEIGHT,
        left=LEFT,
        right=WIDTH - RIGHT,
        top=TOP,
        bottom=HEIGHT - BOTTOM,
        dots=dots,
        path="M" + " L".join(f"{d.x} {d.y}" for d in dots),
        speeds=tuple(Tick(speeds.at(v), f"{v:g}") for v in speeds.levels()),
        costs=tuple(Tick(costs.at(v), f"{v:g}") for v in costs.levels()),
        allowed=Tick(costs.at(max_drop), f"{max_drop:g} points allowed"),
        equal=speeds.at(1.0),
    )


def bars_of(layers: Sequence[Mapping[str, Any]]) -> tuple[Bar, ...]:
    """A bar for each linear layer, in their order."""
    work = sum(layer["multiply_adds"] for layer in layers) or 1
    costs = [max(float(layer["cost"]), 0.0) for layer in layers if layer.get("cost") is not None]
    dearest = max(costs, default=0.0) or 1.0
    return tuple(
        Bar(
            title=shorten(str(layer["title"]), 30),
            kind=str(layer["kind"]),
            work=layer["multiply_adds"] / work,
            cost=None if layer.get("cost") is None else max(float(layer["cost"]), 0.0) / dearest,
            hint=f"{layer['title']}: {layer['kind']}" + (f", {layer['reason']}" if layer["reason"] else ""),
        )
        for layer in layers
    )


def _original(report: Mapping[str, Any], speeds: Scale, costs: Scale, largest: int) -> Dot:
    size = report["original_size_bytes"]
    x, y = speeds.at(1.0), costs.at(0.0)
    hint = f"the original, {bytes_text(size)}"
    return Dot(x, y, _radius(size, largest), x, x, None, None, "0", "original", hint)


def _dot(
    number: int,
    step: Mapping[str, Any],
    speeds: Scale,
    costs: Scale,
    largest: int,
    chosen: Mapping[str, Any] | None,
) -> Dot:
    race, cost = step["race"], _cost(step["accuracy"])
    low, high = _interval(step["accuracy"])
    kind = "chosen" if race == chosen else "holds" if step["verdict"] == "holds" else "fails"
    hint = (
        f"{number}. {step['change']}: {race['ratio']:.2f} times as fast, {cost:.2f} points, "
        f"{bytes_text(step['size_bytes'])}; {step['verdict']}"
    )
    return Dot(
        x=speeds.at(race["ratio"]),
        y=costs.at(cost),
        radius=_radius(step["size_bytes"], largest),
        low=speeds.at(race["low"]),
        high=speeds.at(race["high"]),
        top=costs.at(high) if high > low else None,
        bottom=costs.at(low) if high > low else None,
        label=str(number),
        kind=kind,
        hint=hint,
    )


def _cost(accuracy: Mapping[str, Any]) -> float:
    drop = accuracy.get("drop")
    return float(accuracy["weighted_flips"] if drop is None else drop)


def _interval(accuracy: Mapping[str, Any]) -> tuple[float, float]:
    if accuracy.get("drop") is None:
        return _cost(accuracy), _cost(accuracy)
    return float(accuracy["drop_low"]), float(accuracy["drop_high"])


def _radius(size: int, largest: int) -> float:
    return round(max(_LARGEST * math.sqrt(size / largest), 3.0), 1)
