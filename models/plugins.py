"""What other distributions add by an entry point: by name, each name once. Nothing is loaded here."""

from __future__ import annotations

from collections.abc import Collection
from importlib.metadata import EntryPoint, entry_points

from cnntk.runtime.errors import UsageError

__all__ = ["added", "giver"]


def added(group: str, kind: str, built_in: Collection[str]) -> dict[str, EntryPoint]:
    """The entry points of ``group``.

    Args:
        group: like ``cnntk.models``.
        kind: what messages call one, like ``network``.
        built_in: names that are cnntk's own.

    Raises:
        UsageError: two distributions give one name, or one gives cnntk's own.
    """
    points: dict[str, EntryPoint] = {}
    for point in entry_points(group=group):
        if point.name in built_in or point.name in points:
            first = giver(points[point.name]) if point.name in points else "cnntk itself"
            raise UsageError(
                f"the {kind} {point.name!r} is given by {first} and by {giver(point)}; uninstall one"
            )
        points[point.name] = point
    return points


def giver(point: EntryPoint) -> str:
    """What messages call the distribution that gives ``point``."""
    by = f"{point.dist.name} {point.dist.version}" if point.dist else "an unnamed distribution"
    return f"{by} ({point.value})"
