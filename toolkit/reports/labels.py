"""Names in a plot, each where it covers nothing."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from cnntk.reports.axes import Frame
from cnntk.reports.figure import Anchor, Circle, Text, text_width

__all__ = ["Area", "area_of", "placed"]


@dataclass(frozen=True)
class Area:
    """What a circle or a text takes."""

    left: float
    top: float
    right: float
    bottom: float

    def meets(self, other: Area) -> bool:
        """Whether they overlap."""
        beside = self.right <= other.left or other.right <= self.left
        return not beside and self.top < other.bottom and other.top < self.bottom

    def within(self, frame: Frame) -> bool:
        """Whether all of it is in the frame."""
        across = frame.left <= self.left and self.right <= frame.right
        return across and frame.top <= self.top and self.bottom <= frame.bottom


def placed(wanted: Iterable[Iterable[Text]], circles: Sequence[Circle], frame: Frame) -> Iterator[Text]:
    """Of each group of possible texts the first that meets neither circles nor the texts before it.

    Args:
        wanted: groups, the most important first; of one that has no place nothing is yielded.
        circles: that stay free.
        frame: that texts stay within.
    """
    taken = [area_of(circle) for circle in circles]
    for group in wanted:
        for text in group:
            area = area_of(text)
            if area.within(frame) and not any(area.meets(other) for other in taken):
                taken.append(area)
                yield text
                break


def area_of(mark: Circle | Text) -> Area:
    """As large as it is, or rather larger."""
    if isinstance(mark, Circle):
        r = mark.radius
        return Area(mark.x - r, mark.y - r, mark.x + r, mark.y + r)
    width = text_width(mark.text, mark.size)
    before: dict[Anchor, float] = {"start": 0.0, "middle": width / 2, "end": width}
    left = mark.x - before[mark.anchor]
    return Area(left, mark.y - 0.8 * mark.size, left + width, mark.y + 0.25 * mark.size)
