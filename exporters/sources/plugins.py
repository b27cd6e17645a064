"""Sources that other distributions add by an entry point of the group ``cnntk.sources``.

``docs/plugins.md`` has an example. The entry point's name is the scheme of the source, the text before the
colon; its value names a `SourcePlugin`.
"""

from __future__ import annotations

from typing import Protocol

from cnntk.exporters.options import ExportOptions
from cnntk.exporters.source import Source
from cnntk.exporters.source_kind import SOURCE_PLUGINS
from cnntk.runtime.errors import UsageError

__all__ = ["SOURCE_PLUGINS", "SourcePlugin", "open_plugin_source"]


class SourcePlugin(Protocol):
    """Opens the sources of one scheme."""

    def __call__(self, text: str, options: ExportOptions, /) -> Source:
        """Returns the source that ``text``, the part after the colon, names."""
        ...


def open_plugin_source(scheme: str, text: str, options: ExportOptions) -> Source:
    """Opens ``scheme:text`` with the plug-in of that scheme, which some distribution provides.

    Raises:
        UsageError: Several distributions provide a scheme, or the plug-in can't be loaded or returns
            something other than a `Source`.
    """
    point = SOURCE_PLUGINS.entry_points()[scheme]
    plugin: SourcePlugin = SOURCE_PLUGINS.load(point)
    source = plugin(text, options)
    if not isinstance(source, Source):
        raise UsageError(
            f"{SOURCE_PLUGINS.describe(point)} returned {type(source).__name__}, expected a Source"
        )
    return source
