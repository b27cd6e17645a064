"""The colors of all pages and plots, for light and dark screens.

Those of series can be told apart by people who see no red, green or blue (as Machado, Oliveira and Fernandes
simulate it, IEEE Trans. Vis. Comput. Graph. 15 (2009) 1291), and all stand out from the paper by WCAG's AA:
4.5 for text, 3 for marks.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import NamedTuple

__all__ = ["COLORS", "SERIES", "Color"]


class Color(NamedTuple):
    """``#rrggbb`` on light paper and on dark."""

    light: str
    dark: str


COLORS: Mapping[str, Color] = MappingProxyType(
    {
        "paper": Color("#ffffff", "#181c22"),
        "ground": Color("#f5f6f8", "#101318"),
        "ink": Color("#1b2027", "#e6e9ee"),
        "muted": Color("#5d6673", "#98a2b1"),
        "line": Color("#dde1e7", "#2e353f"),
        "accent": Color("#2457c5", "#84aaff"),
        "good": Color("#17743c", "#6fd597"),
        "good-soft": Color("#e2f3e8", "#17331f"),
        "bad": Color("#b3261e", "#ff9d94"),
        "bad-soft": Color("#fbe4e2", "#42201d"),
        "linear": Color("#dfe9ff", "#22345c"),
        "pool": Color("#e1f2ea", "#1c3a2e"),
        "join": Color("#fdeedb", "#44341c"),
        "view": Color("#f0f1f4", "#262b33"),
        "other": Color("#efe6fa", "#35284a"),
        "series-1": Color("#2457c5", "#84aaff"),
        "series-2": Color("#d9660a", "#ffb55c"),
        "series-3": Color("#128a5e", "#0f8a68"),
        "series-4": Color("#7a1f5c", "#c04fa0"),
        "series-5": Color("#8792a0", "#c3c9d2"),
        "band": Color("#c3d3f5", "#2f4374"),
    }
)
"""By the name of the style sheet's variable."""

SERIES = ("series-1", "series-2", "series-3", "series-4", "series-5")
"""In the order in which they are taken."""
