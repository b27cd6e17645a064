"""All plots of a bench, for its page; and as files of their own."""

from __future__ import annotations

import os
import re
import textwrap
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Literal, get_args

from cnntk.benchmark.result import BenchResult
from cnntk.reports.colors import COLORS
from cnntk.reports.curves import draw_sweep_latency, draw_throughput
from cnntk.reports.figure import Figure, Rect, Text, moved, text_width
from cnntk.reports.histogram import draw_histogram
from cnntk.reports.intervals import draw_against, draw_regressions
from cnntk.reports.layer_bars import draw_layers
from cnntk.reports.over_time import draw_over_time
from cnntk.reports.page import rendered
from cnntk.reports.png import png_of
from cnntk.reports.roofline import draw_roofline
from cnntk.reports.stack import draw_cold_start, draw_memory, draw_stages
from cnntk.runtime.errors import UsageError
from cnntk.runtime.files import write_bytes

__all__ = ["Format", "figures_of", "svg_of", "write_plots"]

Format = Literal["svg", "png"]

_NO_XML = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\ud800-\udfff\ufffe\uffff]")
"""Characters that XML has none for, which file names may have."""

_WIDTH = 720
_MARGIN, _TITLE, _LINE = 20, 15, 22


def figures_of(result: BenchResult, width: int) -> dict[str, Figure]:
    """The plots of what was measured, by name, so many units wide."""
    drawn = _drawn(result, width)
    return {figure.name: figure for figure in drawn if figure is not None}


def _drawn(result: BenchResult, width: int) -> Iterator[Figure | None]:
    yield draw_over_time(result.latency, width)
    yield draw_histogram(result.latency, width)
    if result.cold_start:
        yield draw_cold_start(result.cold_start, width)
    if result.memory:
        yield draw_memory(result.memory, width)
    if result.layers:
        yield draw_layers(result.layers, width)
        yield draw_roofline(result.layers, width)
    if result.sweep:
        yield draw_throughput(result.sweep, width)
        yield draw_sweep_latency(result.sweep, width)
    if result.stages:
        yield draw_stages(result.stages, width)
    yield draw_against(result.against, width)
    if result.baseline:
        yield draw_regressions(result.baseline.cases, width)


def write_plots(
    result: BenchResult,
    path: str | os.PathLike[str],
    format: Format = "svg",
) -> tuple[Path, ...]:
    """Writes each plot of a bench as a file, on light paper; PNG with two pixels for each unit.

    Args:
        result: of `cnntk.benchmark.run.bench`.
        path: a folder, which may not exist yet, for files like ``roofline.svg``; or a file name with the
            format's suffix: ``out.svg`` becomes ``out-roofline.svg``, and so on.
        format: ``svg`` or ``png``.

    Returns:
        The files, in the order of the page.

    Raises:
        MissingDependency: SVG was asked for, and jinja2 is not installed.
        UsageError: there is no such format, the file name has another suffix, or can't be written.
    """
    if format not in get_args(Format):
        raise UsageError(f"plots as {format!r}: choose one of {', '.join(get_args(Format))}")
    folder, prefix = _place(Path(path), format)
    written = []
    for figure in figures_of(result, _WIDTH).values():
        titled = _titled(replace(figure, title=f"{result.name}: {figure.title}"))
        data = png_of(titled) if format == "png" else svg_of(titled).encode()
        written.append(folder / f"{prefix}{figure.name}.{format}")
        write_bytes(written[-1], data)
    return tuple(written)


def svg_of(figure: Figure) -> str:
    """A file that needs nothing beside it, on light paper."""
    text = rendered("file.svg.j2", figure=figure, paint=lambda name: COLORS[name].light)
    return _NO_XML.sub("?", text)


def _place(path: Path, format: Format) -> tuple[Path, str]:
    """The folder, and what the files' names begin with."""
    if path.suffix and not path.is_dir():
        if path.suffix.lower() != f".{format}":
            raise UsageError(f"{path}: plots are written as {format}; name a folder, or a .{format} file")
        return path.parent, f"{path.stem}-"
    try:
        path.mkdir(exist_ok=True)
    except OSError as error:
        raise UsageError(f"{path}: can't be made: {error.strerror or error}") from error
    return path, ""


def _titled(figure: Figure) -> Figure:
    """On paper, its title above, and room around it."""
    width = figure.width + 2 * _MARGIN
    lines = textwrap.wrap(figure.title, int(figure.width / text_width("x", _TITLE)))
    down = _MARGIN + len(lines) * _LINE
    height = figure.height + down + _MARGIN
    title = [
        Text(_MARGIN, _MARGIN + number * _LINE + _TITLE, line, "ink", size=_TITLE)
        for number, line in enumerate(lines)
    ]
    marks = (Rect(0, 0, width, height, "paper"), *title, *(moved(m, _MARGIN, down) for m in figure.marks))
    return replace(figure, width=width, height=height, marks=marks)
