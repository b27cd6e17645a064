"""Options, interleaved rounds and tables that the scripts share."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TypeVar

from numpy.typing import ArrayLike

from cnntk.benchmark.compare import Comparison
from cnntk.benchmark.interleaved import Interleaver
from cnntk.runtime.sections import number

__all__ = ["HEADER", "duration", "in_turn", "options", "paired", "print_table", "row", "table_lines"]

HEADER = ("what", "time", "compared with", "its time", "speed-up", "verdict")
"""Header of a table of comparisons, by which benchmarks/page.py recognizes it."""

MIN_ROUNDS = 6
"""Number of rounds from which on a median has a 95 % interval."""

T = TypeVar("T")


def options(doc: str) -> argparse.ArgumentParser:
    """Parser of a script's options, with ``--quick``."""
    parser = argparse.ArgumentParser(
        description=doc, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    parser.add_argument("--quick", action="store_true", help="few rounds: does it run? Figures mean nothing")
    return parser


def in_turn(calls: Mapping[str, Callable[[], T]], rounds: int) -> dict[str, list[T]]:
    """What each call returned in each round, interleaved; for calls that take long."""
    return Interleaver(0, rounds).run(calls)


def paired(first_ms: ArrayLike, second_ms: ArrayLike) -> Comparison:
    """Compares the second with the first, of interleaved times, round by round."""
    return Comparison.from_pairs([first_ms, second_ms])


def row(what: str, baseline: str, result: Comparison) -> tuple[str, ...]:
    """Row of a table under `HEADER`: ``what`` was the second call, ``baseline`` the first."""
    ratio = f"{result.ratio:.3f} [{result.low:.3f}, {result.high:.3f}]"
    word = result.verdict if result.pairs >= MIN_ROUNDS else "too few rounds"
    return what, duration(result.second_ms), baseline, duration(result.first_ms), ratio, word


def duration(ms: float) -> str:
    """``78.3 µs``; ``12.0 ms``; ``3.21 s``."""
    for unit, size in (("s", 1e3), ("ms", 1.0)):
        if ms >= size:
            return f"{number(ms / size)} {unit}"
    return f"{number(ms * 1e3)} µs"


def print_table(rows: Iterable[Sequence[str]], header: Sequence[str] = HEADER) -> None:
    """Prints a table on standard output, with an empty line after it."""
    print("\n".join(table_lines(list(rows), header)), end="\n\n", flush=True)


def table_lines(rows: Sequence[Sequence[str]], header: Sequence[str] = HEADER) -> list[str]:
    """A table in Markdown; columns after the first are right-aligned if their first cell is a number."""
    rule = ["---", *("--:" if cell.lstrip("+-")[:1].isdigit() else "---" for cell in rows[0][1:])]
    return [f"| {' | '.join(cells)} |" for cells in (header, rule, *rows)]
