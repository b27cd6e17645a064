"""The layers' errors on a log scale: geometry for the template."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from cnntk.reports.text import error, shorten

__all__ = ["ErrorPlot", "Point", "Tick", "draw_errors"]

LEFT, RIGHT, TOP, BOTTOM = 56, 12, 14, 74
WIDTH, HEIGHT = 760, 330
_NAMES = 24
"""Along the axis; of more layers only some are named."""
_WIDEST_DOTS = 3.6


@dataclass(frozen=True)
class Point:
    """One layer's error; ``broken`` where it is no number and stands at the upper edge."""

    x: float
    y: float
    broken: bool
    hint: str


@dataclass(frozen=True)
class Tick:
    """A line of the grid or a name along the axis."""

    at: float
    text: str


@dataclass(frozen=True)
class ErrorPlot:
    """Two rows of points over the layers, relative to each layer's largest answer; and how much is allowed.

    Attributes:
        width: of the frame.
        height: of the frame.
        left: of the area where points are.
        right: of the same.
        top: of the same.
        bottom: of the same.
        radius: of a point.
        onnx: the exported graph's errors.
        torch: torch's own.
        levels: powers of ten.
        names: of layers.
        bound: y of what is allowed at the output, and what it is; None where that is not known.
    """

    width: int
    height: int
    left: int
    right: int
    top: int
    bottom: int
    radius: float
    onnx: tuple[Point, ...]
    torch: tuple[Point, ...]
    levels: tuple[Tick, ...]
    names: tuple[Tick, ...]
    bound: Tick | None


def draw_errors(
    layers: Sequence[Mapping[str, Any]], parity: Sequence[Mapping[str, Any]] = ()
) -> ErrorPlot | None:
    """The plot of a report's ``layer_errors`` and ``parity``; None where there are no layers."""
    if not layers:
        return None
    bound = _bound(parity)
    known = [v for layer in layers for v in (_relative(layer, "onnx_error"), _relative(layer, "torch_error"))]
    low, high = _decades([*known, bound[0] if bound else None])
    step = (WIDTH - LEFT - RIGHT) / len(layers)
    xs = [round(LEFT + (i + 0.5) * step, 1) for i in range(len(layers))]
    scale = _Scale(low, high)
    every = math.ceil(len(layers) / _NAMES)
    return ErrorPlot(
        width=WIDTH,
        height=HEIGHT,
        left=LEFT,
        right=WIDTH - RIGHT,
        top=TOP,
        bottom=HEIGHT - BOTTOM,
        radius=max(1.6, min(_WIDEST_DOTS, step / 3)),
        onnx=_points(layers, "onnx_error", xs, scale),
        torch=_points(layers, "torch_error", xs, scale),
        levels=tuple(Tick(scale.y(10.0**p), f"1e{p}") for p in range(low, high + 1)),
        names=tuple(
            Tick(x, shorten(str(layer.get("layer", "")), 14))
            for x, layer in list(zip(xs, layers, strict=True))[::every]
        ),
        bound=Tick(scale.y(bound[0]), bound[1]) if bound else None,
    )


@dataclass(frozen=True)
class _Scale:
    low: int
    high: int

    def y(self, value: float) -> float:
        """0 lies on the lower edge, what is no number on the upper."""
        if not math.isfinite(value):
            return TOP
        power = math.log10(value) if value > 0 else self.low
        share = (min(max(power, self.low), self.high) - self.low) / (self.high - self.low)
        return round(HEIGHT - BOTTOM - share * (HEIGHT - BOTTOM - TOP), 1)


def _points(
    layers: Sequence[Mapping[str, Any]], key: str, xs: Sequence[float], scale: _Scale
) -> tuple[Point, ...]:
    values = [_relative(layer, key) for layer in layers]
    return tuple(
        Point(x, scale.y(value), not math.isfinite(value), f"{layer.get('layer', '')}: {error(value)}")
        for x, value, layer in zip(xs, values, layers, strict=True)
    )


def _relative(layer: Mapping[str, Any], key: str) -> float:
    """An error over the layer's largest answer; NaN where JSON has none."""
    value, scale = layer.get(key), layer.get("scale")
    if not isinstance(value, int | float):
        return math.nan
    return value / scale if isinstance(scale, int | float) and scale > 0 else float(value)


def _bound(parity: Sequence[Mapping[str, Any]]) -> tuple[float, str] | None:
    """What is allowed at the first output, relative to its largest answer."""
    for row in parity:
        bound, scale = row.get("bound"), row.get("scale")
        if isinstance(bound, int | float) and isinstance(scale, int | float) and bound > 0 and scale > 0:
            return bound / scale, f"allowed for {row.get('output', 'the output')}"
    return None


def _decades(values: Sequence[float | None]) -> tuple[int, int]:
    """Powers of ten below and above all that is positive; at least two decades."""
    powers = [math.log10(v) for v in values if v is not None and math.isfinite(v) and v > 0]
    if not powers:
        return -8, -6
    low, high = math.floor(min(powers) - 0.2), math.ceil(max(powers) + 0.2)
    return low, max(high, low + 2)
