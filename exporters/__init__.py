"""Exports torch models and other sources as checked ``.onnx`` files."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cnntk.runtime.lazy import lazy_names

if TYPE_CHECKING:
    from cnntk.exporters.checks.parity import Parity
    from cnntk.exporters.options import ExportOptions
    from cnntk.exporters.pipeline import export
    from cnntk.exporters.report import ExportReport
    from cnntk.exporters.source import Source

__all__ = ["ExportOptions", "ExportReport", "Parity", "Source", "export"]

__getattr__, __dir__ = lazy_names(
    __name__,
    __all__,
    {
        "cnntk.exporters.checks.parity": ("Parity",),
        "cnntk.exporters.options": ("ExportOptions",),
        "cnntk.exporters.pipeline": ("export",),
        "cnntk.exporters.report": ("ExportReport",),
        "cnntk.exporters.source": ("Source",),
    },
)
