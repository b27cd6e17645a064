"""Results as notebooks show them: a small piece of HTML in the notebook's own colors, light or dark.

All text is escaped and inert. Colors are the text's own, in shares, because a notebook's theme is not that of
the system.
"""

from __future__ import annotations

from collections.abc import Iterable
from html import escape
from typing import TYPE_CHECKING

from cnntk.runtime.inert import inert

if TYPE_CHECKING:
    from cnntk.runtime.sections import Header

__all__ = ["predictions_html", "summary_html"]

_BOX = (
    "max-width:44em;padding:12px 16px;border:1px solid color-mix(in srgb,currentColor 22%,transparent);"
    "border-radius:10px;font:14px/1.45 system-ui,sans-serif;font-variant-numeric:tabular-nums;"
    "text-align:left;overflow-wrap:anywhere"
)
_MUTED = "opacity:.72;font-size:12.5px"
_TRACK, _FILL = "color-mix(in srgb,currentColor 14%,transparent)", "background:currentColor"
_SIGNS = {"good": "✓ ", "bad": "! ", "": ""}


def summary_html(header: Header) -> str:
    """The head of a result's page: what it is, the verdict, and its figures."""
    figures = "".join(
        f'<div style="min-width:9em;flex:1 1 9em"><div style="{_MUTED}">{_text(one.label)}</div>'
        f'<div style="font-size:19px;font-weight:600">{_text(one.value)}</div>'
        f'<div style="{_MUTED}">{_text(one.meaning)}</div></div>'
        for one in header.highlights
    )
    return (
        f'<div style="{_BOX}"><div style="{_MUTED}">{_text(header.title)}</div>'
        f'<div style="font-size:17px;font-weight:600">{_text(header.name)}</div>'
        f"<div>{_SIGNS[header.tone]}{_text(header.verdict)}</div>"
        f'<div style="display:flex;flex-wrap:wrap;gap:10px 24px;margin-top:8px">{figures}</div></div>'
    )


def predictions_html(predictions: Iterable[tuple[str, float]], more: int = 0) -> str:
    """Labels with their probabilities and a bar for each, and how many there are besides."""
    rows = "".join(
        f'<div role="listitem" style="margin:4px 0;font-weight:{600 if i == 0 else 400}">'
        f'<div style="display:flex;justify-content:space-between;gap:16px"><span>{_text(label)}</span>'
        f"<span>{100 * probability:.1f} %</span></div>"
        f'<div aria-hidden="true" style="height:4px;background:{_TRACK}">'
        f'<div style="height:4px;width:{min(max(0.0, 100 * probability), 100.0):.1f}%;{_FILL}"></div>'
        "</div></div>"
        for i, (label, probability) in enumerate(predictions)
    )
    rest = f'<div style="{_MUTED}">and {more:,} other labels</div>' if more > 0 else ""
    return f'<div style="{_BOX};max-width:26em" role="list">{rows}{rest}</div>'


def _text(text: str) -> str:
    """Escaped and inert text that keeps the direction of its letters to itself."""
    return f"<bdi>{escape(inert(text))}</bdi>"
