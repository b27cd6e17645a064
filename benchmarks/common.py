"""What the scripts share: their options, rounds of what is timed once a round, and the page's tables."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TypeVar

from numpy.typing import ArrayLike

from cnntk.benchmark.compare import Comparison
from cnntk.benchmark.interleaved import Interleaver
from cnntk.reports.text import short

__all__ = ["HEADER", "duration", "in_turn", "options", "paired", "print_table", "row", "table_lines"]

HEADER = ("what", "time", "beside", "its time", "times as fast", "in a word")
"""Of a table of comparisons, by which benchmarks/page.py knows it; its first row should say the most."""

LEAST_ROUNDS = 6
"""Fewer have no 95 % interval."""

T = TypeVar("T")


def options(doc: str) -> argparse.ArgumentParser:
    """A script's options, with ``--quick``."""
    parser = argparse.ArgumentParser(
        description=doc, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    parser.add_argument("--quick", action="store_true", help="few rounds: does it run? Figures mean nothing")
    return parser


def in_turn(calls: Mapping[str, Callable[[], T]], rounds: int) -> dict[str, list[T]]:
    """What each call returned in each round, interleaved; for calls that take long."""
    return Interleaver(0, rounds).run(calls)


def paired(first_ms: ArrayLike, second_ms: ArrayLike) -> Comparison:
    """The second beside the first, of times that were measured in turn, round by round."""
    return Comparison.from_pairs([first_ms, second_ms])


def row(what: str, beside: str, found: Comparison) -> tuple[str, ...]:
    """Of a table under `HEADER`: ``what`` was the second, ``beside`` the first."""
    ratio = f"{found.ratio:.3f} [{found.low:.3f}, {found.high:.3f}]"
    word = found.verdict if found.pairs >= LEAST_ROUNDS else "too few rounds"
    return what, duration(found.second_ms), beside, duration(found.first_ms), ratio, word


def duration(ms: float) -> str:
    """``78.3 µs``; ``12.0 ms``; ``3.21 s``."""
    for unit, size in (("s", 1e3), ("ms", 1.0)):
        if ms >= size:
            return f"{short(ms / size)} {unit}"
    return f"{short(ms * 1e3)} µs"


def print_table(rows: Iterable[Sequence[str]], header: Sequence[str] = HEADER) -> None:
    """On standard output, with an empty line after it."""
    print("\n".join(table_lines(list(rows), header)), end="\n\n", flush=True)


def table_lines(rows: Sequence[Sequence[str]], header: Sequence[str] = HEADER) -> list[str]:
    """In Markdown; columns after the first stand right whose first cell is a number."""
    rule = ["---", *("--:" if cell.lstrip("+-")[:1].isdigit() else "---" for cell in rows[0][1:])]
    return [f"| {' | '.join(cells)} |" for cells in (header, rule, *rows)]
