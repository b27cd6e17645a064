"""Text that does nothing but show: to a terminal, a page, a JSON reader or a spreadsheet.

Labels, names and provenance come from whoever made a model, and messages from whoever wrote a library. A
terminal obeys escape sequences in them, marks of the writing direction show ``exe.png`` for ``gnp.exe``, and
a spreadsheet computes cells that begin like a formula.
"""

from __future__ import annotations

import json
import re
import unicodedata
from typing import Any

__all__ = ["cell_text", "inert", "json_text", "spreadsheet_cell"]

_NUMBER = r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?$"
_FORMULA = re.compile(rf"""['"\s]*(?!{_NUMBER})[=+\-@\t\r\n\uff1d\uff0b\uff0d\uff20]""")
"""How a cell begins that a spreadsheet computes; numbers are none."""


def inert(text: str) -> str:
    r"""Text with escapes, as ``\x1b`` and ``\u202e``, for what a terminal obeys or does not show.

    These are control characters (line breaks, too), marks of the writing direction, characters without
    width, separators of lines, halves of surrogate pairs, and what Unicode has not assigned.
    """
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() or unicodedata.category(c) == "Zs" else repr(c)[1:-1] for c in text)


def json_text(document: Any, encoding: str | None = None, *, indent: int | None = None) -> str:
    """JSON with escapes for what `inert` escapes and what the encoding lacks; numbers must be finite."""
    text = json.dumps(document, ensure_ascii=False, indent=indent, allow_nan=False)
    try:
        text.encode(encoding or "utf-8")
        escaped = any(inert(line) != line for line in text.split("\n"))
    except UnicodeEncodeError:
        escaped = True
    return json.dumps(document, indent=indent) if escaped else text


def spreadsheet_cell(text: str) -> str:
    """Inert text of a CSV cell, with a ' before what a spreadsheet would compute; see `cell_text`."""
    text = inert(text)
    return f"'{text}" if _FORMULA.match(text) else text


def cell_text(cell: str) -> str:
    """Text of a CSV cell without the ' that `spreadsheet_cell` puts before it."""
    return cell[1:] if cell.startswith("'") and _FORMULA.match(cell[1:]) else cell
