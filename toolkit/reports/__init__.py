"""Reports that people read: one self-contained HTML page for each result, and its charts as SVG files."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cnntk.runtime.lazy import lazy_names

if TYPE_CHECKING:
    from cnntk.reports.charts import write_plots, write_report

__all__ = ["write_plots", "write_report"]

__getattr__, __dir__ = lazy_names(
    __name__, __all__, {"cnntk.reports.charts": ("write_plots", "write_report")}
)
