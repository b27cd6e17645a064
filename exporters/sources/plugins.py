"""Sources that other distributions add, by an entry point of the group ``cnntk.sources``.

The entry point's name stands before the colon, and its value loads to a function of the text behind the colon
and the `SourceOptions`, which returns a `Source`. It is loaded when it is asked for, not before.
"""

from __future__ import annotations

from importlib.metadata import EntryPoint
from typing import Protocol

from cnntk.exporters.source import Source, SourceOptions
from cnntk.models.plugins import added, giver
from cnntk.runtime.errors import UsageError

__all__ = ["BUILT_IN", "ENTRY_POINT_GROUP", "SourcePlugin", "find_plugin"]

ENTRY_POINT_GROUP = "cnntk.sources"
BUILT_IN = frozenset({"timm", "transformers"})


class SourcePlugin(Protocol):
    """Opens a source of one kind."""

    def __call__(self, text: str, options: SourceOptions, /) -> Source:
        """What ``text``, which stood behind the colon, names."""
        ...


def find_plugin(name: str) -> SourcePlugin | None:
    """What opens sources that start with ``name:``; None where nothing was added under that name.

    Raises:
        UsageError: two distributions give the name, or one gives cnntk's own, or it can't be loaded.
    """
    point = added(ENTRY_POINT_GROUP, "source", BUILT_IN).get(name)
    return None if point is None else _checked(point)


def _checked(point: EntryPoint) -> SourcePlugin:
    try:
        opener = point.load()
    except (ImportError, AttributeError, SyntaxError) as error:
        raise UsageError(f"the source {point.name!r} of {giver(point)} can't be loaded: {error}") from error

    def open_it(text: str, options: SourceOptions, /) -> Source:
        found = opener(text, options)
        if not isinstance(found, Source):
            raise UsageError(
                f"the source {point.name!r} of {giver(point)} gave {type(found).__name__}, not a Source"
            )
        return found

    return open_it
