"""How commands print: results on standard output, notes on standard error; nothing else prints.

All text is inert: what a terminal would obey, does not show, or has no character for, is an escape.
"""

from __future__ import annotations

import contextlib
import ctypes
import importlib.util
import os
import re
import shlex
import shutil
import sys
import textwrap
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol, TextIO

import click

from cnntk.cli.progress import hide_live_line
from cnntk.runtime.errors import MissingDependency, UsageError
from cnntk.runtime.files import check_output, model_file
from cnntk.runtime.inert import inert, json_text
from cnntk.runtime.sections import Align, Header, Section, Table, shorten

__all__ = [
    "ARGUMENTS",
    "QUIET",
    "check_report",
    "command_line",
    "discard_output",
    "is_quiet",
    "json_alone",
    "note",
    "pick",
    "prepare_streams",
    "print_json",
    "print_line",
    "print_sections",
    "print_table",
    "problem",
    "require_jinja",
    "show",
    "shown",
    "styled",
    "warn",
    "write_page",
]

WIDTH = 80
"""Columns where standard output is no terminal."""

QUIET = "quiet"
"""Key of the command's state: no notes and no progress are shown."""

_COLORS: dict[str, dict[str, Any]] = {
    "good": {"fg": "green"},
    "bad": {"fg": "red"},
    "warning": {"fg": "yellow"},
    "title": {"bold": True},
}

_JSON_STREAM = "cnntk.cli.json"
"""Key of the context where `json_alone` puts the stream of the document."""

ARGUMENTS = "arguments"
"""Key of the context's object where `main` puts the arguments of the command line."""

_CANDIDATES = 8
"""Models to choose from that a message lists."""

_PLAIN_SIGNS = str.maketrans({"×": "x", "µ": "u", "±": "+-", "²": "^2", "…": "...", "→": "->"})
"""What stands for the signs of results where standard output lacks them."""

_LABEL = re.compile(r"\w+:(?= )")
"""What stands before the text of a message, like ``note:``."""

_LONGEST_LABEL = 18
_NARROWEST = 40
_SHORTEST = 8
"""Characters of the first column of a table at least."""


class Result(Protocol):
    """A result that text and pages can show."""

    def sections(self) -> tuple[Section, ...]:
        """What it shows, part by part."""


def show(result: Result, as_json: bool, notes: Iterable[str] = (), warnings: Iterable[str] = ()) -> None:
    """Prints a result as JSON or as text, then its warnings and notes on standard error."""
    if as_json:
        print_json(result)
    else:
        print_sections(result.sections())
    for text in warnings:
        warn(text)
    for text in notes:
        note(f"note: {text}")


def command_line(*more: str) -> str:
    """The command that runs, with more arguments, to copy to a shell."""
    arguments = click.get_current_context().find_root().ensure_object(dict).get(ARGUMENTS, ())
    added = [text for text in more if text != "--force" or text not in arguments]
    return shlex.join(["cnntk", *arguments, *added])


def _command() -> click.Command:
    return click.get_current_context().command


def pick(model: str | None) -> Path:
    """The model's file; a note says which one where the user named none.

    Raises:
        UsageError: It does not exist or can't be a model.
    """
    from cnntk.shipped.model_choice import choose_model, model_candidates

    try:
        choice = choose_model(model)
    except UsageError as error:
        by_option = any(p.name == "model" and p.param_type_name == "option" for p in _command().params)
        for file in model_candidates()[:_CANDIDATES]:
            error.add_note(command_line(*["-m"] * by_option, str(file)))
        raise
    if choice.reason:
        note(f"model: {choice.path.name} ({choice.reason})")
    return model_file(choice.path)


def print_json(data: Any) -> None:
    """Prints one JSON document; numbers that are not finite are null, as JSON has none."""
    from cnntk.runtime.codec import as_json

    context = click.get_current_context(silent=True)
    stream = context.meta[_JSON_STREAM] if context and _JSON_STREAM in context.meta else sys.stdout
    print(json_text(as_json(data), stream.encoding, indent=2), file=stream, flush=True)


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


def print_line(text: str, tone: str = "") -> None:
    """Prints a line on standard output."""
    hide_live_line()
    print(styled(shown(text), tone, sys.stdout))


def note(text: str) -> None:
    """Prints a line on standard error, unless the command is quiet."""
    if not is_quiet():
        problem(text, "")


def warn(text: str) -> None:
    """Prints a warning on standard error."""
    problem(f"warning: {text}", "warning")


def problem(text: str, tone: str = "bad") -> None:
    """Prints a line on standard error, if there is one, its label in the color of its tone.

    A terminal gets it in lines of its width; elsewhere it stays one line, for programs that search it.
    """
    hide_live_line()
    stream = sys.stderr
    lines = (_wrap(text, _columns(stream), stream) if stream.isatty() else [shown(text, stream)]) or [""]
    if label := _LABEL.match(lines[0]):
        end = label.end()
        lines[0] = styled(lines[0][:end], tone, stream) + lines[0][end:]
    with contextlib.suppress(OSError, ValueError):  # closed or full: nobody can be told
        stream.write("".join(f"{line}\n" for line in lines))
        stream.flush()


def is_quiet() -> bool:
    """Whether the user wants neither notes nor progress."""
    context = click.get_current_context(silent=True)
    return bool(context and context.find_root().ensure_object(dict).get(QUIET))


def styled(text: str, tone: str, stream: TextIO) -> str:
    """``text`` in the color of its tone, where the stream shows colors.

    ``NO_COLOR`` switches colors off and ``FORCE_COLOR`` on, if they are not empty (no-color.org).
    """
    if not tone or os.environ.get("NO_COLOR"):
        return text
    is_terminal = stream.isatty() and os.environ.get("TERM") != "dumb"
    return click.style(text, **_COLORS[tone]) if is_terminal or os.environ.get("FORCE_COLOR") else text


def shown(text: str, stream: TextIO | None = None) -> str:
    """Inert text in the characters that a stream has, by default standard output."""
    encoding = getattr(stream or sys.stdout, "encoding", None) or "utf-8"
    text = inert(text)
    try:
        text.encode(encoding)
    except UnicodeEncodeError:
        return text.translate(_PLAIN_SIGNS).encode(encoding, "backslashreplace").decode(encoding)
    return text


def prepare_streams() -> None:
    """Opens standard streams that are closed, and lets no character that they lack end the command."""
    if sys.stdin is None:  # else the next file that is opened has its number, and what writes to it
        os.open(os.devnull, os.O_RDONLY)
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))  # noqa: SIM115 - until the end
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(AttributeError, ValueError):  # not a stream of Python's own
            stream.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]


def discard_output() -> None:
    """Sends what is still buffered nowhere: Python would write it at its end, and report the error again."""
    with contextlib.suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def check_report(report: str | None, *, force: bool) -> None:
    """Checks before long work that a page can be written.

    Raises:
        UsageError: The file exists already, or can't be written.
        MissingDependency: jinja2 is not installed.
    """
    if report is not None:
        check_output(Path(report), force=force)
        require_jinja("--report")


def write_page(result: Any, report: str | None) -> None:
    """Writes the page of a result, where the command's ``--report`` names one."""
    if report is not None:
        from cnntk.reports import write_report

        write_report(result, report)
        note(f"report: {report}")


def require_jinja(option: str) -> None:
    """Raises MissingDependency if the package that pages and plots need is not installed."""
    if importlib.util.find_spec("jinja2") is None:
        raise MissingDependency(
            f"{option} needs jinja2, which is not installed: pip install 'cnntk[reports]'"
        )


def print_sections(sections: Iterable[Section], header: Header | None = None) -> None:
    """Prints a result's sections, below the header of its page if there is one, to the terminal's width."""
    width = _columns(sys.stdout)
    if header is not None:
        _print_title(header.name, header.verdict, width, header.tone)
        _print_lines(_wrap(header.note, width))
    for number, section in enumerate(s for s in sections if s.shown_in != "page"):
        if section.title:
            if number or header is not None:
                print_line("")
            _print_title(section.title, section.headline, width, section.tone)
        elif section.headline:
            _print_lines(_wrap(section.headline, width), section.tone)
        indent = "  " * bool(section.title)
        for line in _body(section, width - len(indent)):
            print_line(f"{indent}{line}".rstrip(), _tone_of(line, section))


def print_table(rows: Iterable[Sequence[str]], header: Sequence[str] = (), right: Sequence[int] = ()) -> None:
    """Prints aligned columns; the columns numbered in ``right`` are flush right."""
    lines = [tuple(map(shown, row)) for row in (*([header] if header else []), *rows)]
    columns = len(lines[0]) if lines else 0
    _print_lines(_aligned(lines, ["right" if i in right else "left" for i in range(columns)]))


def _tone_of(line: str, section: Section) -> str:
    """A section's tone is that of its verdict; failures have a label in capitals, or end in FAILS."""
    label = line.partition("  ")[0]
    if label in ("verdict", "problems"):
        return section.tone
    return "bad" if (label.isupper() and label.isalpha()) or line.endswith("FAILS") else ""


def _print_title(title: str, headline: str, width: int, tone: str) -> None:
    title = shown(title)
    first, *rest = _wrap(f"{title}: {headline}" if headline else title, width)
    hide_live_line()
    print(styled(first[: len(title)], "title", sys.stdout) + styled(first[len(title) :], tone, sys.stdout))
    _print_lines(rest, tone)


def _print_lines(lines: Iterable[str], tone: str = "") -> None:
    for line in lines:
        print_line(line, tone)


def _columns(stream: TextIO) -> int:
    """Width of a terminal, or of `COLUMNS`; `WIDTH` elsewhere."""
    if not stream.isatty():
        return WIDTH
    try:
        width = os.get_terminal_size(stream.fileno()).columns
    except (OSError, ValueError):
        width = 0
    return max(width or shutil.get_terminal_size((WIDTH, 24)).columns, _NARROWEST)


def _body(section: Section, width: int) -> Iterable[str]:
    for table in section.tables:
        yield from _table_lines(table, width)
    yield from _label_lines(section.lines, width)
    for text in () if is_quiet() else section.notes:
        yield from _wrap(f"note: {text}", width)


def _label_lines(lines: Sequence[tuple[str, str]], width: int) -> Iterable[str]:
    """Labels in a column of their own; one that has no room beside the text stands above it."""
    lines = [(shown(label), text) for label, text in lines]
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
    cells = [shown(row[index].text) for row in table.cells]
    if table.columns[index].align == "decimal":
        cells = decimal_aligned(cells)
    return [shown(table.columns[index].title), *cells]


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


def _wrap(text: str, width: int, stream: TextIO | None = None) -> list[str]:
    """Lines of at most so many columns; all but the first are indented where the text begins with a label."""
    label = _LABEL.match(text)
    indent = "  " if label else ""
    return textwrap.wrap(shown(text, stream), width, subsequent_indent=indent, break_on_hyphens=False)
