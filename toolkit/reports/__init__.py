"""Pages that people read: one self-contained HTML file each, which opens offline."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cnntk.runtime.lazy import lazy_names

if TYPE_CHECKING:
    from cnntk.reports.bench import write_bench_report
    from cnntk.reports.export import write_export_report
    from cnntk.reports.plots import write_plots
    from cnntk.reports.quantize import write_quantize_report

__all__ = ["write_bench_report", "write_export_report", "write_plots", "write_quantize_report"]

__getattr__, __dir__ = lazy_names(
    __name__,
    __all__,
    {
        "write_bench_report": "cnntk.reports.bench",
        "write_export_report": "cnntk.reports.export",
        "write_plots": "cnntk.reports.plots",
        "write_quantize_report": "cnntk.reports.quantize",
    },
)
