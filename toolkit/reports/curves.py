"""A sweep over batches and threads: a line for each number of threads."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from cnntk.benchmark.sweep import Sweep, SweepCell
from cnntk.reports.axes import Frame, Scale, key, with_axes
from cnntk.reports.colors import SERIES
from cnntk.reports.figure import Circle, Figure, Line, Mark
from cnntk.reports.headlines import latency_sweep_headline, throughput_headline
from cnntk.reports.text import short

__all__ = ["draw_sweep_latency", "draw_throughput"]

_HEIGHT = 290
_LEFT, _RIGHT, _TOP, _BOTTOM = 62, 14, 30, 40
_WIDE = 10.0
"""Largest by least latency, from which the axis is logarithmic."""


@dataclass(frozen=True)
class _Value:
    """Of a cell, with its interval."""

    value: float
    low: float
    high: float


def draw_throughput(sweep: Sweep, width: int) -> Figure | None:
    """Images a second by batch; by threads where there is one batch; None of a single cell."""
    return _drawn(
        "sweep-throughput", throughput_headline(sweep), sweep, _throughput, "images a second", width
    )


def draw_sweep_latency(sweep: Sweep, width: int) -> Figure | None:
    """Time of a run by batch; by threads where there is one batch; None of a single cell."""
    return _drawn("sweep-latency", latency_sweep_headline(sweep), sweep, _latency, "ms a run", width)


def _throughput(cell: SweepCell) -> _Value:
    rates = (
        1e3 * cell.batch / ms for ms in (cell.latency_ms.value, cell.latency_ms.high, cell.latency_ms.low)
    )
    return _Value(*rates)


def _latency(cell: SweepCell) -> _Value:
    return _Value(cell.latency_ms.value, cell.latency_ms.low, cell.latency_ms.high)


def _drawn(
    name: str, title: str, sweep: Sweep, value: Callable[[SweepCell], _Value], unit: str, width: int
) -> Figure | None:
    lines, across = _lines(sweep.cells)
    if len(sweep.cells) < 2:
        return None
    frame = Frame(_LEFT, width - _RIGHT, _TOP, _HEIGHT - _BOTTOM)
    places = [getattr(cell, across) for cell in sweep.cells]
    low, high = min(places) / 1.15, max(places) * 1.15
    xs = Scale(low, high, frame.left + 6, frame.right, log=True)
    found = [value(cell) for cell in sweep.cells]
    ys = _upright([v.high for v in found], min(v.low for v in found), frame)
    unit += ", log scale" * ys.log
    marks: list[Mark] = list(with_axes(frame, xs, ys, _title(across), unit, x_levels=sorted(set(places))))
    for number, cells in enumerate(lines.values()):
        marks += _line(cells, across, value, xs, ys, SERIES[number % len(SERIES)])
    entries = [(SERIES[i % len(SERIES)], words) for i, words in enumerate(lines)]
    explained, end = key(entries, frame.bottom + 46, width)
    return Figure(name, title, width, round(end), (*marks, *explained))


def _lines(cells: Sequence[SweepCell]) -> tuple[dict[str, list[SweepCell]], str]:
    """Cells by what stands in the key, and the field that goes along the axis."""
    across = "batch" if len({cell.batch for cell in cells}) > 1 else "threads"
    found: dict[str, list[SweepCell]] = {}
    for cell in cells:
        threads = f"{cell.threads} thread{'s' * (cell.threads > 1)}"
        found.setdefault(threads if across == "batch" else f"batch {cell.batch}", []).append(cell)
    return found, across


def _title(across: str) -> str:
    return "images a run, log scale" if across == "batch" else "threads, log scale"


def _upright(highs: Sequence[float], lowest: float, frame: Frame) -> Scale:
    highest = max(highs)
    if highest > _WIDE * lowest > 0:
        return Scale(lowest / 1.3, highest * 1.3, frame.bottom, frame.top, log=True)
    return Scale(0.0, 1.08 * highest or 1.0, frame.bottom, frame.top)


def _line(
    cells: Sequence[SweepCell],
    across: str,
    value: Callable[[SweepCell], _Value],
    xs: Scale,
    ys: Scale,
    ink: str,
) -> Iterator[Mark]:
    points = [(xs.at(getattr(cell, across)), value(cell)) for cell in cells]
    if len(points) > 1:
        yield Line(tuple((x, ys.at(v.value)) for x, v in points), ink, 2.0)
    for cell, (x, v) in zip(cells, points, strict=True):
        yield Line(((x, ys.at(v.low)), (x, ys.at(v.high))), ink, 1.2)
        hint = (
            f"batch {cell.batch}, {cell.threads} thread{'s' * (cell.threads > 1)}: "
            f"{short(cell.latency_ms.value)} ms, {short(cell.images_per_second)} images/s"
        )
        yield Circle(x, ys.at(v.value), 4.0, ink, hint)
