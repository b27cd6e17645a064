"""Figures as a report shows them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

__all__ = ["amount", "bytes_text", "count", "dims", "error", "percent", "place", "short", "shorten"]

_UNITS = ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k"))


def dims(shape: Any) -> str:
    """``N×6×28×28``; what is no list is shown as it is; ``?`` for what is not known."""
    if shape is None:
        return "?"
    if not isinstance(shape, Sequence) or isinstance(shape, str):
        return str(shape)
    return "×".join("?" if d is None else str(d).replace("*", "") for d in shape) or "scalar"


def count(number: Any) -> str:
    """``61,706``; empty where there is none."""
    return f"{number:,}" if isinstance(number, int | float) else ""


def amount(number: Any) -> str:
    """``61.7 k``; ``416.5 k``; ``1.01 G``."""
    if not isinstance(number, int | float):
        return ""
    for size, unit in _UNITS:
        if abs(number) >= size:
            return f"{number / size:.3g} {unit}"
    return f"{number:g}"


def bytes_text(number: Any) -> str:
    """``245.1 kB``, in powers of 1000; empty where there is none."""
    text = amount(number)
    return f"{text}B" if " " in text else f"{text} B" if text else ""


def error(number: Any) -> str:
    """``2.4e-07``; ``NaN`` where it is none or JSON had none for it."""
    if not isinstance(number, int | float) or not math.isfinite(number):
        return "NaN"
    return f"{number:.2g}"


def percent(share: float) -> str:
    """``26 %``; ``0.4 %``."""
    return f"{100 * share:.{0 if abs(share) >= 0.0995 or share == 0 else 1}f} %"


def place(number: float) -> str:
    """On a page: ``12.5``; ``12``."""
    return f"{round(number, 1):g}"


def short(number: float) -> str:
    """Three digits that tell something: ``0.0521``; ``12.0``; ``19,100``."""
    rounded = float(f"{number:.3g}")
    return f"{rounded:,.0f}" if abs(rounded) >= 100 else f"{rounded:#.3g}"


def shorten(text: str, length: int) -> str:
    """At most so many characters, the middle left out."""
    if len(text) <= length:
        return text
    front = (length - 1) // 2
    return f"{text[:front]}…{text[len(text) - (length - 1 - front) :]}"
