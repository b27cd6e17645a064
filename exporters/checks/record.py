"""What a check showed."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Check"]


@dataclass(frozen=True)
class Check:
    """One thing that was checked and holds; what does not hold is raised.

    Attributes:
        name: like ``batch invariance``.
        detail: the figures, in a line.
    """

    name: str
    detail: str
