"""The page of a result, and its charts as SVG files."""

from __future__ import annotations

import os
import re
import textwrap
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Protocol

from cnntk.reports.export import draw_layer_errors, draw_network
from cnntk.reports.figure import COLORS, Figure, Rect, Text, moved, text_width
from cnntk.reports.intervals import draw_bars, draw_curves, draw_intervals
from cnntk.reports.over_time import draw_histogram, draw_over_time
from cnntk.reports.quantize import draw_candidates, draw_precisions
from cnntk.reports.roofline import draw_layers, draw_roofline
from cnntk.reports.text import render
from cnntk.runtime.errors import UsageError
from cnntk.runtime.files import write_bytes
from cnntk.runtime.sections import Chart, Header, Section

__all__ = ["DRAWERS", "PageResult", "draw", "render_report", "svg_of", "write_plots", "write_report"]

DRAWERS: Mapping[str, Callable[[Chart, int], Figure | None]] = {
    "bars": draw_bars,
    "candidates": draw_candidates,
    "curves": draw_curves,
    "histogram": draw_histogram,
    "intervals": draw_intervals,
    "layer-errors": draw_layer_errors,
    "layers": draw_layers,
    "network": draw_network,
    "precisions": draw_precisions,
    "roofline": draw_roofline,
    "timeline": draw_over_time,
}
"""Functions that draw the kinds of charts, so many pixels wide; None where the data shows nothing."""

_WIDE, _NARROW, _FILE_WIDTH = 580, 336, 720
"""Widths of a chart in pixels: on a desktop, on a phone, and as a file."""

_MARGIN, _TITLE_SIZE, _LINE_HEIGHT = 20, 15, 22


def draw(chart: Chart, width: int) -> Figure | None:
    """Draws a chart ``width`` pixels wide; None where its data shows nothing."""
    return DRAWERS[chart.kind](chart, width)


class PageResult(Protocol):
    """A result that has a page."""

    def header(self) -> Header:
        """What stands at the top of the page."""

    def sections(self) -> tuple[Section, ...]:
        """What the page shows, part by part."""


def write_report(result: PageResult, path: str | os.PathLike[str]) -> None:
    """Writes a result's report as one HTML page, whole or not at all; it opens offline.

    Args:
        result: Result of `cnntk.export`, `cnntk.quantize` or `cnntk.bench`.
        path: File of the page.

    Raises:
        MissingDependency: jinja2 is not installed.
        UsageError: The file cannot be written.
    """
    write_bytes(Path(path), render_report(result).encode())


def render_report(result: PageResult) -> str:
    """The HTML of a result's page."""
    sections = [
        (section, _identifier(section.title), [_both_widths(chart) for chart in section.charts])
        for section in result.sections()
        if section.shown_in != "text"
    ]
    return render(
        "page.html.j2", header=result.header(), sections=sections, paint=lambda name: f"var(--{name})"
    )


def _both_widths(chart: Chart) -> tuple[Figure, Figure] | None:
    """The chart for a desktop and for a phone; None where its data shows nothing."""
    wide, narrow = draw(chart, _WIDE), draw(chart, _NARROW)
    return None if wide is None or narrow is None else (wide, narrow)


def _identifier(title: str) -> str:
    return re.sub(r"\W+", "-", title.lower()).strip("-")


def write_plots(result: PageResult, path: str | os.PathLike[str]) -> tuple[Path, ...]:
    """Writes each chart of a result as an SVG file, in the colors of a light page.

    Args:
        result: Result of `cnntk.export`, `cnntk.quantize` or `cnntk.bench`.
        path: Folder, which may not exist yet, for files like ``roofline.svg``; or a file name with the suffix
            ``.svg``: ``out.svg`` becomes ``out-roofline.svg``, and so on.

    Returns:
        The files, in the order of the page.

    Raises:
        MissingDependency: jinja2 is not installed.
        UsageError: The file name has another suffix, or a file cannot be written.
    """
    folder, prefix = _folder_and_prefix(Path(path))
    files = []
    for figure in (draw(chart, _FILE_WIDTH) for section in result.sections() for chart in section.charts):
        if figure is not None:
            titled = _with_title(replace(figure, title=f"{result.header().name}: {figure.title}"))
            files.append(folder / f"{prefix}{figure.name}.svg")
            write_bytes(files[-1], svg_of(titled).encode())
    return tuple(files)


def svg_of(figure: Figure) -> str:
    """An SVG file that needs no other file, in the colors of a light page."""
    return render("file.svg.j2", figure=figure, paint=lambda name: COLORS[name].light)


def _folder_and_prefix(path: Path) -> tuple[Path, str]:
    if path.suffix and not path.is_dir():
        if path.suffix.lower() != ".svg":
            raise UsageError(f"{path}: plots are SVG files; name a folder or a .svg file")
        return path.parent, f"{path.stem}-"
    try:
        path.mkdir(exist_ok=True)
    except OSError as error:
        raise UsageError(f"{path}: cannot create the folder: {error.strerror or error}") from error
    return path, ""


def _with_title(figure: Figure) -> Figure:
    """The figure on a page of its own, with its title above it."""
    width = figure.width + 2 * _MARGIN
    lines = textwrap.wrap(figure.title, int(figure.width / text_width("x", _TITLE_SIZE)))
    down = _MARGIN + len(lines) * _LINE_HEIGHT
    height = figure.height + down + _MARGIN
    title = [
        Text(_MARGIN, _MARGIN + index * _LINE_HEIGHT + _TITLE_SIZE, line, "ink", size=_TITLE_SIZE)
        for index, line in enumerate(lines)
    ]
    marks = (Rect(0, 0, width, height, "paper"), *title, *(moved(m, _MARGIN, down) for m in figure.marks))
    return replace(figure, width=width, height=height, marks=marks)
