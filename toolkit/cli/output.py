"""How commands print: results on standard output, notes on standard error."""

from __future__ import annotations

import json
import shutil
import sys
import textwrap
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import click

if TYPE_CHECKING:
    from cnntk.runtime.sections import Section, Table

__all__ = ["note", "pick", "print_json", "print_sections", "print_table", "show"]

WIDTH = 80
"""Columns where standard output is no terminal."""

_LONGEST_LABEL = 18
_SHORTEST = 8
"""Characters of the first column of a table at least."""


class Result(Protocol):
    """A result that text and pages can show."""

    def sections(self) -> tuple[Section, ...]:
        """What it shows, part by part."""


def show(result: Result, as_json: bool, notes: Iterable[str] = ()) -> None:
    """Prints a result as JSON or as text, then its notes on standard error."""
    if as_json:
        print_json(result)
    else:
        print_sections(result.sections())
    for text in notes:
        note(f"note: {text}")


def pick(model: str | None) -> Path:
    """The model's file; a note says which one where the user named none."""
    from cnntk.shipped.model_choice import pick_model

    picked = pick_model(model)
    if picked.why:
        note(f"model: {picked.path.name} ({picked.why})")
    return picked.path


def print_json(data: Any) -> None:
    """Prints one JSON document; numbers that are not finite are null, as JSON has none."""
    from cnntk.runtime.codec import as_json

    data = data.to_json() if hasattr(data, "to_json") else data
    json.dump(as_json(data), sys.stdout, ensure_ascii=False, indent=2, allow_nan=False)
    print()


def note(text: str) -> None:
    """Prints a line on standard error."""
    print(text, file=sys.stderr)


def print_sections(sections: Iterable[Section]) -> None:
    """Prints a result's sections, no line wider than the terminal."""
    width = shutil.get_terminal_size((WIDTH, 24)).columns if sys.stdout.isatty() else WIDTH
    for number, section in enumerate(sections):
        if section.title:
            if number:
                print()
            _print_title(section.title, section.headline, width)
        elif section.headline:
            print(*_wrap(section.headline, width), sep="\n")
        indent = "  " * bool(section.title)
        for line in _body(section, width - len(indent)):
            print(f"{indent}{line}".rstrip())


def print_table(rows: Iterable[Sequence[str]], header: Sequence[str] = (), right: Sequence[int] = ()) -> None:
    """Prints aligned columns; the columns numbered in ``right`` are flush right."""
    lines = [tuple(header), *map(tuple, rows)] if header else [tuple(row) for row in rows]
    for line in _aligned(lines, dict.fromkeys(right, "right")):
        print(line)


def _print_title(title: str, headline: str, width: int) -> None:
    first, *rest = _wrap(f"{title}: {headline}" if headline else title, width)
    click.echo(click.style(first[: len(title)], bold=True) + first[len(title) :])
    for line in rest:
        print(line)


def _body(section: Section, width: int) -> Iterable[str]:
    for table in section.tables:
        yield from _table_lines(table, width)
    yield from _label_lines(section.lines, width)
    for text in section.notes:
        yield from _wrap(f"note: {text}", width)


def _label_lines(lines: Sequence[tuple[str, str]], width: int) -> Iterable[str]:
    """Labels in a column of their own; one that has no room beside the text stands above it."""
    longest = min(max((len(label) for label, _ in lines), default=0), _LONGEST_LABEL) + 2
    for label, text in lines:
        if len(label) > longest - 2:
            yield from _wrap(label, width)
            label = ""
        for i, line in enumerate(_wrap(text, width - longest) or [""]):
            yield f"{label if i == 0 else '':{longest}}{line}"


def _table_lines(table: Table, width: int) -> Iterable[str]:
    """The table without the optional columns that have no room, long names shortened, prose wrapped."""
    from cnntk.runtime.sections import Cell

    columns = list(table.columns)
    rows = [[cell.text if isinstance(cell, Cell) else cell for cell in row] for row in table.rows]
    numbers = [i for i in range(len(columns)) if any(row[i] for row in rows)]
    while _width(columns, rows, numbers) > width and any(columns[i].optional for i in numbers):
        numbers.remove(next(i for i in reversed(numbers) if columns[i].optional))
    over = _width(columns, rows, numbers) - width
    cells = [[columns[i].title for i in numbers], *([row[i] for i in numbers] for row in rows)]
    if over > 0 and columns[numbers[-1]].wrap:
        cells = list(_wrapped_last(cells, max(max(len(line[-1]) for line in cells) - over, 2 * _SHORTEST)))
        over = max(sum(max(map(len, column)) + 2 for column in zip(*cells, strict=True)) - 2 - width, 0)
    if over > 0:
        room = max(max(len(line[0]) for line in cells) - over, _SHORTEST)
        cells = [[shorten(line[0], room), *line[1:]] for line in cells]
    return _aligned(cells, {at: columns[i].align for at, i in enumerate(numbers)})


def _width(columns: Sequence[Any], rows: Sequence[Sequence[str]], numbers: Sequence[int]) -> int:
    widths = [max(len(columns[i].title), *(len(row[i]) for row in rows)) for i in numbers]
    return sum(widths) + 2 * (len(widths) - 1)


def _wrapped_last(cells: Sequence[list[str]], room: int) -> Iterable[list[str]]:
    """Rows whose last cell goes on in rows of empty cells."""
    for line in cells:
        first, *rest = _wrap(line[-1], room) or [""]
        yield [*line[:-1], first]
        yield from ([""] * (len(line) - 1) + [text] for text in rest)


def _aligned(lines: Sequence[Sequence[str]], align: dict[int, Any]) -> Iterable[str]:
    columns = []
    for i, column in enumerate(zip(*lines, strict=True)):
        if align.get(i) == "decimal":
            column = (column[0], *decimal_aligned(column[1:]))
        widest = max(len(cell) for cell in column)
        flush = str.ljust if align.get(i, "left") == "left" else str.rjust
        columns.append([flush(cell, widest) for cell in column])
    for cells in zip(*columns, strict=True):
        yield "  ".join(cells).rstrip()


def decimal_aligned(cells: Sequence[str]) -> list[str]:
    """Numbers padded so that their decimal points stand below each other where they are flush right."""
    behind = [len(text.partition(".")[2]) + ("." in text) for text in cells]
    return [f"{text}{' ' * (max(behind) - length)}" for text, length in zip(cells, behind, strict=True)]


def shorten(text: str, length: int) -> str:
    """At most so many characters, the middle left out."""
    if len(text) <= length:
        return text
    front = (length - 1) // 2
    return f"{text[:front]}…{text[len(text) - (length - 1 - front) :]}"


def _wrap(text: str, width: int) -> list[str]:
    return textwrap.wrap(text, width, break_on_hyphens=False)
