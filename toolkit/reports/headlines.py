"""What each part of a bench says, in one sentence."""

from __future__ import annotations

from collections.abc import Sequence

from cnntk.benchmark.cold_start import ColdStart
from cnntk.benchmark.latency import Latency
from cnntk.benchmark.layers.report import LayerReport
from cnntk.benchmark.memory import Memory
from cnntk.benchmark.regression import CaseComparison
from cnntk.benchmark.result import BenchResult, ComparisonResult
from cnntk.benchmark.stages import Stages
from cnntk.benchmark.sweep import Sweep, SweepCell
from cnntk.reports.text import bytes_text, count, percent, short, shorten

__all__ = [
    "against_headline",
    "cold_start_headline",
    "latency_headline",
    "latency_sweep_headline",
    "layers_headline",
    "memory_headline",
    "regression_headline",
    "roofline_headline",
    "spread_headline",
    "stages_headline",
    "throughput_headline",
    "verdict_of",
    "where",
]


def verdict_of(result: BenchResult) -> str:
    """``p50 0.052 ms; 19,100 images/s on average; 1 thread``."""
    latency = result.latency
    p50 = latency.percentiles_ms.get("50")
    time = f"p50 {short(p50.value)} ms" if p50 else f"mean {short(latency.mean_ms.value)} ms"
    batch = f", batch {latency.batch}" if latency.batch > 1 else ""
    rate = f"{short(latency.images_per_second.value)} images/s on average"
    return f"{time}; {rate}; {where(latency)}{batch}"


def where(latency: Latency) -> str:
    """``1 thread``; ``cuda:0``."""
    return latency.device if latency.device != "cpu" else _threads(latency.threads)


def latency_headline(latency: Latency) -> str:
    """How long runs take, and the last of them that can be told."""
    known = [(percent, found) for percent, found in latency.percentiles_ms.items() if found is not None]
    if not known:
        return f"A run takes {short(latency.mean_ms.value)} ms on average"
    told = [f"{percent} % of the runs within {short(found.value)} ms" for percent, found in known]
    return told[0] if len(told) == 1 else f"{told[0]}, {known[-1][0]} % within {short(known[-1][1].value)} ms"


def spread_headline(latency: Latency) -> str:
    """How far the longest run is from the middle."""
    values = latency.samples.latencies_ms
    longest, middle = float(values.max()), sorted(values.tolist())[len(values) // 2]
    times = f", {short(longest / middle)} times the median" if middle > 0 else ""
    return f"{count(len(values))} runs; the longest took {short(longest)} ms{times}"


def cold_start_headline(found: ColdStart) -> str:
    """Where most of the time goes."""
    steps = {
        "the import": found.import_ms,
        "the session": found.session_ms,
        "the first run": found.first_run_ms,
    }
    longest = max(steps, key=lambda name: steps[name])
    share = steps[longest] / (found.total_ms or 1.0)
    return f"The first answer comes after {short(found.total_ms)} ms, {percent(share)} of it {longest}"


def memory_headline(found: Memory) -> str:
    """What the model adds."""
    return (
        f"The model takes {bytes_text(found.model_bytes)}; the process {bytes_text(found.peak_bytes)} at most"
    )


def layers_headline(report: LayerReport) -> str:
    """Where most of the time goes."""
    first = max(report.rows, key=lambda row: row.time_ms)
    limit = "" if first.limit_fraction is None else f", at {percent(first.limit_fraction)} of its limit"
    return f"{first.name} takes {percent(first.share)} of a run{limit}"


def roofline_headline(report: LayerReport) -> str:
    """How near the limit the time goes that has one."""
    rows = [row for row in report.rows if row.limit_fraction is not None]
    time_ms = sum(row.time_ms for row in rows)
    if not time_ms:
        return "No layer has a limit that is known"
    near = sum(row.time_ms * (row.limit_fraction or 0.0) for row in rows) / time_ms
    return f"Layers that a limit binds run at {percent(near)} of it"


def throughput_headline(sweep: Sweep) -> str:
    """Where it is the highest."""
    best = sweep.highest_throughput
    most = max(cell.images_per_second for cell in sweep.cells)
    return _best(best, f"{short(best.images_per_second)} images/s", "most", best.images_per_second == most)


def latency_sweep_headline(sweep: Sweep) -> str:
    """Where it is the lowest."""
    best = sweep.lowest_latency
    least = min(cell.latency_ms.value for cell in sweep.cells)
    return _best(best, f"{short(best.latency_ms.value)} ms a run", "least", best.latency_ms.value == least)


def _best(cell: SweepCell, figure: str, word: str, alone: bool) -> str:
    """Not in the extreme's words where more threads measured a little better, and are not told apart."""
    where = f"batch {cell.batch} on {_threads(cell.threads)}"
    return f"{figure} at {word}: {where}" if alone else f"{figure}: {where}; more make no clear difference"


def stages_headline(found: Stages) -> str:
    """Which step takes longest, by format."""
    told = []
    for row in found.formats:
        longest = max(row.stages, key=lambda stage: stage.time_ms.value)
        told.append(
            f"{row.format} takes {short(row.sum_ms)} ms, {percent(longest.share)} of it to {longest.name}"
        )
    return "; ".join(told)


def against_headline(against: Sequence[ComparisonResult]) -> str:
    """A word on each."""
    words = {"faster": "faster than", "slower": "slower than", "no difference": "no difference to"}
    told = [
        f"{words[r.comparison.verdict]} {shorten(r.target.name, 40)}"
        for r in against
        if r.comparison is not None
    ]
    return f"{told[0][0].upper()}{'; '.join(told)[1:]}" if told else "Nobody could be measured"


def regression_headline(verdicts: Sequence[CaseComparison]) -> str:
    """What got slower since the baseline: than is borne, where a bound was given."""
    bound = all(v.fail_above_percent is not None for v in verdicts)
    than = "than is borne" if bound else "than then"
    slower = [v.name for v in verdicts if v.regressed or (not bound and v.verdict == "slower")]
    undecided = [v.name for v in verdicts if v.verdict == "undecided"]
    told = [f"Slower {than}: {', '.join(slower)}"] if slower else []
    if undecided:
        told.append(f"{'undecided' if slower else 'Undecided'}: {', '.join(undecided)}")
    return "; ".join(told) or f"Nothing is {'' if bound else 'surely '}slower {than}"


def _threads(number: int) -> str:
    return f"{number} thread{'s' * (number > 1)}"
