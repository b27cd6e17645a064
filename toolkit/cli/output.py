"""How commands print: results on standard output, notes on standard error."""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import shutil
import sys
import textwrap
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import click

from cnntk.runtime.sections import Align, Header, Section, Table, shorten

__all__ = ["json_alone", "note", "pick", "print_json", "print_sections", "print_table", "show"]

WIDTH = 80
"""Columns where standard output is no terminal."""

_JSON_STREAM = "cnntk.cli.json"
"""Key of the context where `json_alone` puts the stream of the document."""

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
    from cnntk.shipped.model_choice import choose_model

    choice = choose_model(model)
    if choice.reason:
        note(f"model: {choice.path.name} ({choice.reason})")
    return choice.path


def print_json(data: Any) -> None:
    """Prints one JSON document; numbers that are not finite are null, as JSON has none."""
    from cnntk.runtime.codec import as_json

    document = as_json(data)
    text = json.dumps(document, ensure_ascii=False, indent=2, allow_nan=False)
    context = click.get_current_context(silent=True)
    stream = context.meta[_JSON_STREAM] if context and _JSON_STREAM in context.meta else sys.stdout
    try:
        text.encode(stream.encoding or "utf-8")
    except UnicodeEncodeError:  # such as the name of a file that is not text
        text = json.dumps(document, indent=2, allow_nan=False)
    print(text, file=stream, flush=True)


@contextlib.contextmanager
def json_alone(context: click.Context) -> Iterator[None]:
    """Sends what Python and C code prints to standard error; `print_json` alone writes to standard output."""
    stdout = sys.stdout
    try:
        descriptor = os.dup(1)
    except OSError:  # it is closed
        yield
        return
    stdout.flush()
    try:
        is_descriptor = stdout.fileno() == 1
    except (OSError, ValueError):  # it was replaced, as in a notebook
        is_descriptor = False
    stream = os.fdopen(descriptor, "w", encoding=stdout.encoding, closefd=False) if is_descriptor else stdout
    context.meta[_JSON_STREAM], sys.stdout = stream, sys.stderr
    with contextlib.suppress(OSError):  # standard error may be closed
        os.dup2(2, 1)
    try:
        yield
    finally:
        sys.stdout = stdout
        if os.name == "posix":
            ctypes.CDLL(None).fflush(None)  # C code's output, which waits in a buffer
        os.dup2(descriptor, 1)
        os.close(descriptor)


def note(text: str) -> None:
    """Prints a line on standard error."""
    print(text, file=sys.stderr)


def print_sections(sections: Iterable[Section], header: Header | None = None) -> None:
    """Prints a result's sections, below the header of its page if there is one, to the terminal's width."""
    width = shutil.get_terminal_size((WIDTH, 24)).columns if sys.stdout.isatty() else WIDTH
    if header is not None:
        _print_title(header.name, header.verdict, width)
        print(*_wrap(header.note, width), sep="\n")
    for number, section in enumerate(s for s in sections if s.shown_in != "page"):
        if section.title:
            if number or header is not None:
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
    columns = len(lines[0]) if lines else 0
    for line in _aligned(lines, ["right" if i in right else "left" for i in range(columns)]):
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
    texts = {i: _column_texts(table, i) for i in table.used_columns}
    while _width(texts) > width and any(table.columns[i].optional for i in texts):
        del texts[next(i for i in reversed(texts) if table.columns[i].optional)]
    first, last = min(texts), max(texts)
    over = _width(texts) - width
    if over > 0 and table.columns[last].wrap:
        texts = _wrapped(texts, last, max(max(map(len, texts[last])) - over, 2 * _SHORTEST))
        over = _width(texts) - width
    if over > 0:
        room = max(max(map(len, texts[first])) - over, _SHORTEST)
        texts[first] = [shorten(text, room) for text in texts[first]]
    yield from _aligned(list(zip(*texts.values(), strict=True)), [table.columns[i].align for i in texts])


def _column_texts(table: Table, index: int) -> list[str]:
    """Title and cells of a column."""
    cells = [row[index].text for row in table.cells]
    if table.columns[index].align == "decimal":
        cells = decimal_aligned(cells)
    return [table.columns[index].title, *cells]


def _width(texts: Mapping[int, list[str]]) -> int:
    return sum(max(map(len, column)) + 2 for column in texts.values()) - 2


def _wrapped(texts: Mapping[int, list[str]], last: int, room: int) -> dict[int, list[str]]:
    """Columns of which the last goes on in rows where the others are empty."""
    wrapped: dict[int, list[str]] = {i: [] for i in texts}
    for row, text in enumerate(texts[last]):
        for number, line in enumerate(_wrap(text, room) or [""]):
            for i in texts:
                wrapped[i].append(line if i == last else texts[i][row] if number == 0 else "")
    return wrapped


def _aligned(lines: Sequence[Sequence[str]], align: Sequence[Align]) -> Iterable[str]:
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    for line in lines:
        cells = (
            text.ljust(width) if side == "left" else text.rjust(width)
            for text, width, side in zip(line, widths, align, strict=True)
        )
        yield "  ".join(cells).rstrip()


def decimal_aligned(cells: Sequence[str]) -> list[str]:
    """Numbers padded so that their decimal points stand below each other where they are flush right."""
    behind = [len(text.partition(".")[2]) + ("." in text) for text in cells]
    return [f"{text}{' ' * (max(behind) - length)}" for text, length in zip(cells, behind, strict=True)]


def _wrap(text: str, width: int) -> list[str]:
    return textwrap.wrap(text, width, break_on_hyphens=False)
