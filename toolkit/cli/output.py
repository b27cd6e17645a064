"""How commands print: results on standard output, notes on standard error."""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import click

__all__ = ["json_option", "note", "print_json", "print_table", "size_text"]

json_option = click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")


def print_json(data: Any) -> None:
    """One JSON document on standard output; numbers that are not finite are null, as JSON has none."""
    json.dump(_finite(data), sys.stdout, ensure_ascii=False, indent=2, allow_nan=False)
    print()


def note(text: str) -> None:
    """A line on standard error."""
    print(text, file=sys.stderr)


def print_table(rows: Iterable[Sequence[str]], header: Sequence[str] = (), right: Sequence[int] = ()) -> None:
    """Aligned columns on standard output; the columns numbered in ``right`` are flush right."""
    lines = [tuple(header), *map(tuple, rows)] if header else [tuple(row) for row in rows]
    widths = [max(len(cell) for cell in column) for column in zip(*lines, strict=True)]
    for line in lines:
        cells = [
            c.rjust(w) if i in right else c.ljust(w)
            for i, (c, w) in enumerate(zip(line, widths, strict=True))
        ]
        print("  ".join(cells).rstrip())


def _finite(data: Any) -> Any:
    if isinstance(data, float):
        return data if math.isfinite(data) else None
    if isinstance(data, Mapping):
        return {key: _finite(value) for key, value in data.items()}
    return [_finite(value) for value in data] if isinstance(data, list | tuple) else data


def size_text(size_bytes: int) -> str:
    """``245.1 kB``, in powers of 1000."""
    value, unit = float(size_bytes), "B"
    for unit in ("B", "kB", "MB", "GB"):
        if value < 1000 or unit == "GB":
            break
        value /= 1000
    return f"{value:.0f} {unit}" if unit == "B" else f"{value:.1f} {unit}"
