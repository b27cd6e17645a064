"""Plug-ins: what other distributions add to cnntk by an entry point, each under a unique name.

``docs/plugins.md`` says what a plug-in provides. Nothing is imported before its name is used.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from cnntk.models.user_errors import describe_error
from cnntk.runtime.errors import CnntkError, UsageError

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

__all__ = ["PluginGroup"]


@dataclass(frozen=True)
class PluginGroup:
    """The entry points of one group.

    Attributes:
        group: Name of the group, like ``cnntk.models``.
        kind: What messages call one plug-in, like ``network``.
        built_in: Names that cnntk itself uses.
    """

    group: str
    kind: str
    built_in: Collection[str]

    def entry_points(self) -> dict[str, EntryPoint]:
        """Returns the entry points by name.

        Raises:
            UsageError: Two distributions provide one name, or one provides a name of cnntk.
        """
        from importlib.metadata import entry_points  # not for every command line: it costs 15 ms

        points: dict[str, EntryPoint] = {}
        for point in entry_points(group=self.group):
            if point.name in self.built_in or point.name in points:
                first = _provider(points[point.name]) if point.name in points else "cnntk itself"
                raise UsageError(
                    f"the {self.kind} {point.name!r} is provided by {first} and by {_provider(point)}; "
                    "uninstall one"
                )
            points[point.name] = point
        return points

    def load(self, point: EntryPoint) -> Any:
        """Imports the object that an entry point names.

        Raises:
            UsageError: The import fails, whatever it raises.
        """
        try:
            return point.load()
        except CnntkError:
            raise
        except (Exception, SystemExit) as error:  # another distribution's code may raise anything
            raise UsageError(f"{self.describe(point)} can't be loaded: {describe_error(error)}") from error

    def describe(self, point: EntryPoint) -> str:
        """Returns how messages name a plug-in: kind, name, distribution and entry point."""
        return f"the {self.kind} {point.name!r} of {_provider(point)}"


def _provider(point: EntryPoint) -> str:
    distribution = f"{point.dist.name} {point.dist.version}" if point.dist else "an unnamed distribution"
    return f"{distribution} ({point.value})"
