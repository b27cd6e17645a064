"""Exports torch models and other sources as checked ``.onnx`` files."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cnntk.runtime.lazy import lazy_names

if TYPE_CHECKING:
    from cnntk.exporters._pipeline import export
    from cnntk.exporters._report import ExportReport
    from cnntk.exporters.checks._parity import Parity
    from cnntk.exporters.options import ExportOptions
    from cnntk.exporters.source import Source

__all__ = ["ExportOptions", "ExportReport", "Parity", "Source", "export"]

__getattr__, __dir__ = lazy_names(
    __name__,
    __all__,
    {
        "cnntk.exporters.checks._parity": ("Parity",),
        "cnntk.exporters.options": ("ExportOptions",),
        "cnntk.exporters._pipeline": ("export",),
        "cnntk.exporters._report": ("ExportReport",),
        "cnntk.exporters.source": ("Source",),
    },
)
