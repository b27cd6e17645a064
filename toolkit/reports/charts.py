"""The page of a result, and its charts as SVG files."""

from __future__ import annotations

import os
import re
import textwrap
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Protocol

from cnntk.reports.evaluate import draw_confusion, draw_reliability, draw_thumbnails
from cnntk.reports.export import draw_layer_errors, draw_network
from cnntk.reports.figure import COLORS, Figure, Rect, Text, moved, text_width
from cnntk.reports.intervals import draw_bars, draw_curves, draw_intervals
from cnntk.reports.model_card import model_card
from cnntk.reports.over_time import draw_histogram, draw_over_time
from cnntk.reports.pages import PageEntry, navigation_of, related_pages, update_navigation
from cnntk.reports.quantize import draw_candidates, draw_precisions
from cnntk.reports.roofline import draw_layers, draw_roofline
from cnntk.reports.text import render
from cnntk.runtime.errors import UsageError
from cnntk.runtime.files import write_bytes
from cnntk.runtime.sections import Chart, Header, Section, Table
from cnntk.version import __version__

__all__ = ["DRAWERS", "PageResult", "draw", "render_report", "svg_of", "write_plots", "write_report"]

DRAWERS: Mapping[str, Callable[[Chart, int], Figure | None]] = {
    "bars": draw_bars,
    "candidates": draw_candidates,
    "confusion": draw_confusion,
    "curves": draw_curves,
    "histogram": draw_histogram,
    "intervals": draw_intervals,
    "layer-errors": draw_layer_errors,
    "layers": draw_layers,
    "network": draw_network,
    "precisions": draw_precisions,
    "reliability": draw_reliability,
    "roofline": draw_roofline,
    "thumbnails": draw_thumbnails,
    "timeline": draw_over_time,
}
"""Functions that draw the kinds of charts, so many pixels wide; None where the data shows nothing."""

_FULL, _COLUMN, _HALF, _ASIDE, _NARROW, _FILE_WIDTH = 1084, 724, 506, 290, 324, 720
"""Widths of a chart in pixels: in a section of a desktop, next to a column, as one of two, in that column,
on a phone, and as a file."""

_CELL_SIZE, _CELL_PADDING = 13.5, 10.0
"""Size of the text of a cell, and distance between columns on a phone, in pixels."""

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


def write_report(result: PageResult, path: str | os.PathLike[str]) -> tuple[Path, ...]:
    """Writes a result's report as one HTML page, whole or not at all; it opens offline.

    Pages of one model that lie in one folder link to each other: this one gets links to those that are there,
    and their navigation gets one to this one.

    Args:
        result: Result of `cnntk.export`, `cnntk.quantize`, `cnntk.evaluate` or `cnntk.bench`.
        path: File of the page.

    Returns:
        The other pages, whose navigation was updated.

    Raises:
        MissingDependency: jinja2 is not installed.
        UsageError: The file cannot be written.
    """
    page = Path(path)
    header = result.header()
    entry = PageEntry(page.name, header.title, header.name, header.digests)
    others = related_pages(entry, page.parent)
    write_bytes(page, render_report(result, navigation_of(entry, (entry, *others))).encode())
    return update_navigation(page.parent, entry, others)


def render_report(result: PageResult, navigation: str = "") -> str:
    """The HTML of a result's page, with the HTML of its links to other pages."""
    header = result.header()
    sections = [section for section in result.sections() if section.shown_in != "text"]
    drawn = [_drawn(section, in_column=any(s.aside for s in sections)) for section in sections]
    return render(
        "page.html.j2",
        header=header,
        card=model_card(header),
        aside=[one for one in drawn if one[0].aside],
        sections=[one for one in drawn if not one[0].aside and not one[0].folded],
        folded=[one for one in drawn if not one[0].aside and one[0].folded],
        navigation=navigation,
        version=__version__,
        is_wide=is_wide,
        paint=lambda name: f"var(--{name})",
    )


def is_wide(table: Table, limit: float = _NARROW) -> bool:
    """Whether a table is wider than a page, by default a phone's, which then shows each row as a list."""
    return table_width(table) > limit


def table_width(table: Table) -> float:
    """Least width of a table in pixels: of the longest word where cells may be broken, else of the text."""
    width = 0.0
    for i in table.used_columns:
        column = table.columns[i]
        texts = [column.title, *(row[i].text for row in table.cells)]
        breaks = column.align == "left"
        words = [word for text in texts for word in (text.split() if breaks else [text])]
        width += max(text_width(word, _CELL_SIZE) for word in words) + _CELL_PADDING
    return width


def _drawn(section: Section, *, in_column: bool) -> tuple[Section, str, list[tuple[Figure, Figure | None]]]:
    """A section, its identifier, and its charts as wide as there is room for them, and for a phone."""
    if section.aside:
        width = _ASIDE
    elif section.half or len(section.charts) > 1:
        width = _HALF
    else:
        width = _COLUMN if in_column else _FULL
    figures = []
    for chart in section.charts:
        wide, narrow = draw(chart, width), None if section.aside else draw(chart, _NARROW)
        if wide is not None:
            figures.append((wide, narrow))
    return section, _identifier(section.title), figures


def _identifier(title: str) -> str:
    return re.sub(r"\W+", "-", title.lower()).strip("-")


def write_plots(result: PageResult, path: str | os.PathLike[str]) -> tuple[Path, ...]:
    """Writes each chart of a result as an SVG file, in the colors of a light page.

    Args:
        result: Result of `cnntk.export`, `cnntk.quantize`, `cnntk.evaluate` or `cnntk.bench`.
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
