"""The report of a bench, as a page."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from cnntk.benchmark.regression import BaselineComparison
from cnntk.benchmark.result import BenchResult
from cnntk.benchmark.statistics.intervals import runs_needed
from cnntk.reports import headlines
from cnntk.reports.figure import Figure
from cnntk.reports.page import rendered
from cnntk.reports.plots import figures_of
from cnntk.runtime.files import write_bytes

__all__ = ["render_bench_report", "write_bench_report"]

_TEMPLATE = "bench.html.j2"
_WIDE, _NARROW = 580, 336
"""Units, which are pixels on a screen and on a phone."""


@dataclass(frozen=True)
class _Page:
    """What the template shows besides the result itself."""

    verdict: str
    where: str
    needed: Mapping[str, int]
    wide: Mapping[str, Figure]
    narrow: Mapping[str, Figure]
    baseline: BaselineComparison | None
    warnings: Sequence[str]


def write_bench_report(result: BenchResult, path: str | os.PathLike[str]) -> None:
    """Writes a bench's report as one HTML page, whole or not at all; it opens offline.

    Args:
        result: of `cnntk.benchmark.run.bench`.
        path: of the page.

    Raises:
        MissingDependency: jinja2 is not installed.
        UsageError: the page can't be written.
    """
    write_bytes(Path(path), render_bench_report(result).encode(errors="replace"))


def render_bench_report(result: BenchResult) -> str:
    """The page's HTML."""
    latency = result.latency
    unsteady = [] if latency.warm_up.steady else [latency.warm_up.reason]
    page = _Page(
        verdict=headlines.verdict_of(result),
        where=headlines.where(latency),
        needed={percent: runs_needed(float(percent) / 100) for percent in latency.percentiles_ms},
        wide=figures_of(result, _WIDE),
        narrow=figures_of(result, _NARROW),
        baseline=result.baseline,
        warnings=[*unsteady, *(finding.message for finding in latency.findings)],
    )
    return rendered(_TEMPLATE, r=result, page=page, paint=lambda name: f"var(--{name})")
