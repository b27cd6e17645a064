"""The report of a quantization, as a page."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cnntk.reports.page import rendered
from cnntk.reports.trials import Bar, TrialPlot, bars_of, draw_trials
from cnntk.runtime.files import write_bytes

__all__ = ["render_quantize_report", "write_quantize_report"]

_TEMPLATE = "quantize.html.j2"


@dataclass(frozen=True)
class _Page:
    """What the template shows besides the data itself."""

    verdict: str
    plot: TrialPlot | None
    bars: tuple[Bar, ...]


def write_quantize_report(report: Mapping[str, Any], path: str | os.PathLike[str]) -> None:
    """Writes a quantization's report as one HTML page, whole or not at all; it opens offline.

    Args:
        report: what `QuantizeReport.to_json` returns.
        path: of the page.

    Raises:
        MissingDependency: jinja2 is not installed.
        UsageError: the page can't be written.
    """
    write_bytes(Path(path), render_quantize_report(report).encode())


def render_quantize_report(report: Mapping[str, Any]) -> str:
    """The page's HTML."""
    verdict = "Quantized, within the bound" if report["changed"] else "Stays as it was"
    page = _Page(verdict, draw_trials(report), bars_of(report["layers"]))
    return rendered(_TEMPLATE, r=report, page=page)
