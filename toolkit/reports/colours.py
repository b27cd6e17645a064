"""The colours of all pages and plots, for light and dark screens.

Those of series can be told apart by people who see no red, green or blue (as Machado, Oliveira and Fernandes
simulate it, IEEE Trans. Vis. Comput. Graph. 15 (2009) 1291), and all stand out from the paper by WCAG's AA:
4.5 for text, 3 for marks.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import NamedTuple

__all__ = ["COLOURS", "SERIES", "Colour"]


class Colour(NamedTuple):
    """``#rrggbb`` on light paper and on dark."""

    light: str
    dark: str


COLOURS: Mapping[str, Colour] = MappingProxyType(
    {
        "paper": Colour("#ffffff", "#181c22"),
        "ground": Colour("#f5f6f8", "#101318"),
        "ink": Colour("#1b2027", "#e6e9ee"),
        "muted": Colour("#5d6673", "#98a2b1"),
        "line": Colour("#dde1e7", "#2e353f"),
        "accent": Colour("#2457c5", "#84aaff"),
        "good": Colour("#17743c", "#6fd597"),
        "good-soft": Colour("#e2f3e8", "#17331f"),
        "bad": Colour("#b3261e", "#ff9d94"),
        "bad-soft": Colour("#fbe4e2", "#42201d"),
        "linear": Colour("#dfe9ff", "#22345c"),
        "pool": Colour("#e1f2ea", "#1c3a2e"),
        "join": Colour("#fdeedb", "#44341c"),
        "view": Colour("#f0f1f4", "#262b33"),
        "other": Colour("#efe6fa", "#35284a"),
        "series-1": Colour("#2457c5", "#84aaff"),
        "series-2": Colour("#d9660a", "#ffb55c"),
        "series-3": Colour("#128a5e", "#0f8a68"),
        "series-4": Colour("#7a1f5c", "#c04fa0"),
        "series-5": Colour("#8792a0", "#c3c9d2"),
        "band": Colour("#c3d3f5", "#2f4374"),
    }
)
"""By the name of the style sheet's variable."""

SERIES = ("series-1", "series-2", "series-3", "series-4", "series-5")
"""In the order in which they are taken."""
