"""A bench as text of 80 columns."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from cnntk.cli.output import print_table
from cnntk.reports.text import shorten
from cnntk.runtime.sections import size_text

if TYPE_CHECKING:
    from cnntk.benchmark.cold_start import ColdStart
    from cnntk.benchmark.cuda.nvml import Gpu
    from cnntk.benchmark.cuda.report import Copies, CudaTimes
    from cnntk.benchmark.latency import Latency
    from cnntk.benchmark.layers.report import LayerReport, LayerTime
    from cnntk.benchmark.memory import Memory
    from cnntk.benchmark.regression import BaselineComparison, CaseComparison
    from cnntk.benchmark.result import BenchResult, ComparisonResult
    from cnntk.benchmark.stages import FormatStages, Stages
    from cnntk.benchmark.statistics.intervals import Estimate
    from cnntk.benchmark.sweep import Sweep, SweepCell

__all__ = ["print_bench"]

_WIDTH, _LABEL = 80, 13
_LONGEST, _SHORTEST, _NAMES = 27, 8, 4
_PERCENTS = ("50", "90", "99")
_DECIMALS = 6


def print_bench(result: BenchResult) -> None:
    """Prints what was measured, a part after the other."""
    found, machine = result.latency, result.machine
    threads = f", {found.threads} thread{'s' * (found.threads > 1)}" if found.device == "cpu" else ""
    _line(result.name, f"on {found.device}{threads}, batch {found.batch}; {size_text(result.size_bytes)}")
    _line("machine", f"{machine.cpu}, {machine.cores_text}, onnxruntime {machine.onnxruntime}")
    for label, text in _latency(found):
        _line(label, text)
    if result.cold_start is not None:
        _line("cold start", _start_up(result.cold_start))
    if result.memory is not None:
        _line("memory", _memory(result.memory))
    for finding in found.findings:
        _line("interference", finding.message)
    if result.cuda is not None:
        _print_cuda(result.cuda)
    if result.stages is not None:
        _print_stages(result.stages)
    if result.sweep is not None:
        _print_sweep(result.sweep)
    if result.layers is not None:
        _print_layers(result.layers)
    for comparison in result.against:
        _line("against", _comparison(comparison))
    if result.baseline is not None:
        _print_baseline(result.baseline)
    for text in result.notes:
        _line("note", text)


def _latency(found: Latency) -> Iterator[tuple[str, str]]:
    label = "latency"
    known = [estimate for estimate in found.percentiles_ms.values() if estimate is not None]
    wide = max((len(_ms(estimate.value)) for estimate in known), default=0)
    for percent, estimate in found.percentiles_ms.items():
        if estimate is None:
            needed = round(10 / (1 - float(percent) / 100))
            yield label, f"p{percent:<5}(needs {needed:,} runs, had {found.runs:,})"
        else:
            yield label, f"p{percent:<5}{_ms(estimate.value):{wide}}  {_between(estimate)}"
        label = ""
    rate = found.images_per_second
    yield "throughput", f"{_number(rate.value)} images/s  {_between(rate)}, by the mean"
    warm = found.warm_up
    when = "never steady" if warm.steady is False else "too few to tell whether steady"
    if warm.steady_after_s is not None:
        when = f"steady after {warm.steady_after_s:.2f} s"
    yield "runs", f"{found.runs:,}, after {warm.runs:,} to warm up ({when})"
    yield "intervals", "95 %, of this process alone; --save measures several"


def _start_up(found: ColdStart) -> str:
    parts = f"import {found.import_ms:.0f}, session {_ms(found.session_ms)}"
    text = f"{found.total_ms:.0f} ms: {parts}, first run {_ms(found.first_run_ms)}"
    later = ", ".join(f"{batch}: {_ms(ms)}" for batch, ms in found.next_batches)
    return f"{text}; first run at batch {later}" if later else text


def _memory(found: Memory) -> str:
    parts = (found.interpreter_bytes, found.runtime_bytes, found.model_bytes)
    python, runtime, model = map(size_text, parts)
    peak = size_text(found.peak_bytes)
    return f"{peak} at most; Python {python}, the runtime adds {runtime}, the model {model}"


def _print_cuda(found: CudaTimes) -> None:
    if found.gpu is not None:
        _line("GPU", _gpu(found.gpu))
    _line("on the GPU", f"{_ms(found.device_ms.value)}  {_between(found.device_ms)}")
    _line("handed over", f"{_ms(found.launch_ms.value)}  {_between(found.launch_ms)}, by the host")
    _line("done after", f"{_ms(found.total_ms.value)}  {_between(found.total_ms)}, by the host")
    _line("copies", f"in {_copies(found.to_device)}; out {_copies(found.to_host)}; not page-locked")
    inside = found.off_device
    copies = f"copies to the GPU: {len(inside.to_device)}, to the host: {len(inside.to_host)}"
    _line("in the graph", f"{copies}; on the CPU: {_some(inside.on_cpu)}")
    for text in found.findings:
        _line("note", text)


def _gpu(found: Gpu) -> str:
    """What it is, and its largest figures while runs were measured."""
    parts = [f"{found.name}, driver {found.driver}"]
    for what, name, most, unit in (
        ("sm_mhz", "clock", found.sm_mhz_max, "MHz"),
        ("memory_mhz", "memory's", found.memory_mhz_max, "MHz"),
        ("power_w", "power", found.power_limit_w, "W"),
        ("temperature_c", "heat", None, "°C"),
    ):
        if (span := found.span(what)) is not None:
            parts.append(f"{name} {span[1]:,.0f}{'' if most is None else f' of {most:,.0f}'} {unit}")
    if (used := found.span("used_bytes")) is not None and found.memory_bytes is not None:
        parts.append(f"{size_text(int(used[1]))} of {size_text(found.memory_bytes)} taken")
    if found.model_bytes is not None:
        parts.append(f"{size_text(found.model_bytes)} by the model")
    return "; ".join(parts)


def _some(names: tuple[str, ...]) -> str:
    """The first, and how many more."""
    more = f" and {len(names) - _NAMES} more" if len(names) > _NAMES else ""
    return ", ".join(names[:_NAMES]) + more or "nothing"


def _copies(found: Copies) -> str:
    rate = "" if found.gb_per_s is None else f" ({found.gb_per_s:.2g} GB/s)"
    return f"{size_text(found.bytes)} in {_ms(found.ms.value)}{rate}"


def _print_stages(found: Stages) -> None:
    for row in found.formats:
        steps = ", ".join(f"{stage.name} {_ms(stage.time_ms.value)}" for stage in row.stages)
        _line(f"from {row.format}", f"{_ms(row.sum_ms)}: {steps}")
        _line("", f"in one call {_ms(row.call_ms)}; {_more(row)}")
    for text in found.notes:
        _line("note", text)


def _more(row: FormatStages) -> str:
    """Of pairs: the two medians may differ by something else."""
    extra = row.unaccounted_ms
    return f"pair by pair {extra.value:+#.2g} ms ({extra.low:+#.2g} to {extra.high:+#.2g})"


def _print_sweep(found: Sweep) -> None:
    print()
    times = _aligned([cell.latency_ms.value for cell in found.cells])
    rates = _aligned([cell.images_per_second for cell in found.cells])
    rows = [
        (
            str(cell.batch),
            str(cell.threads),
            time,
            f"{_number(cell.latency_ms.low)} to {_number(cell.latency_ms.high)}",
            rate,
            _speed_up(cell),
        )
        for cell, time, rate in zip(found.cells, times, rates, strict=True)
    ]
    header = ("batch", "threads", "ms", "95 % interval", "images/s", "speed-up")
    print_table(rows, header, right=(0, 1, 2, 4))
    for text in found.notes:
        _line("note", text)


def _speed_up(cell: SweepCell) -> str:
    """With its interval; of one thread it is 1, and has none."""
    if cell.speed_up is None or cell.verdict == "no difference":
        return cell.verdict or ""
    if cell.verdict is None:
        return f"{cell.speed_up.value:.2f}"
    return f"{cell.speed_up.value:.2f} ({cell.speed_up.low:.2f} to {cell.speed_up.high:.2f})"


def _print_layers(found: LayerReport) -> None:
    print()
    header = ("layer", "ms", "share", "MMAC", "GMAC/s", "GB/s", "of the limit")
    times = _aligned([row.time_ms for row in found.rows])
    rest = [(time, *_layer(row)) for row, time in zip(found.rows, times, strict=True)]
    columns = zip(header[1:], *rest, strict=True)
    left = _WIDTH - sum(2 + max(map(len, column)) for column in columns)
    longest = max(min(left, _LONGEST), _SHORTEST)
    rows = [(shorten(row.name, longest), *cells) for row, cells in zip(found.rows, rest, strict=True)]
    print_table(rows, header, right=(1, 2, 3, 4, 5))
    _line("sum", f"{_ms(found.sum_ms)}, {found.balance}, {_ms(found.run_ms)}")
    if found.peaks is not None:
        peaks = found.peaks
        _line(
            "limits",
            f"{peaks.float32_gmacs:.0f} GMAC/s in float32, {peaks.int8_gmacs:.0f} in int8, "
            f"{peaks.memory_gb_s:.0f} GB/s from memory",
        )
    for text in found.findings:
        _line("note", text)


def _layer(row: LayerTime) -> tuple[str, ...]:
    """Without its name and time."""
    distance = "" if row.limit_fraction is None else f"{row.limit_fraction:.0%} {row.limit}"
    return (
        f"{row.share:.1%}",
        f"{row.multiply_adds / 1e6:.2f}" if row.multiply_adds else "",
        "" if row.gmacs_per_s is None else f"{row.gmacs_per_s:.0f}",
        "" if row.gb_per_s is None else f"{row.gb_per_s:.1f}",
        distance or row.limit or "",
    )


def _comparison(result: ComparisonResult) -> str:
    name, comparison = result.target.name, result.comparison
    if comparison is None:
        return f"{name}: {result.target.note}"
    ratio, low, high = comparison.ratio, comparison.low, comparison.high
    if comparison.verdict == "slower":
        ratio, low, high = 1 / ratio, 1 / high, 1 / low
    text = f"no difference to {name}, {ratio:.2f}x"
    if comparison.verdict != "no difference":
        text = f"{ratio:.2f}x {comparison.verdict} than {name}"
    times = f"{_ms(comparison.second_ms)} vs {_ms(comparison.first_ms)}"
    notes = "; ".join(filter(None, (times, result.target.note, *comparison.interference)))
    return f"{text} ({low:.2f} to {high:.2f}), {notes}"


def _print_baseline(found: BaselineComparison) -> None:
    _line("baseline", f"{found.file}, measured at {found.created}")
    for what, differ in (
        ("another machine", found.machine_differences),
        ("other versions", found.software_differences),
    ):
        if differ:
            _line("", f"{what}: {'; '.join(differ)}")
    for comparison in found.cases:
        _line("compared", _verdict(comparison))


def _verdict(found: CaseComparison) -> str:
    if found.slowdown_percent is None or found.baseline_ms is None or found.current_ms is None:
        return f"{found.name}: {found.note}"
    slowdown = found.slowdown_percent
    text = f"{slowdown.value:+.1f} % ({slowdown.low:+.1f} to {slowdown.high:+.1f})"
    text += _judged(found)
    note = f"; {found.note}" if found.note else ""
    times = f"{_ms(found.baseline_ms)} in the baseline, {_ms(found.current_ms)} now"
    return f"{found.name}: {times}: {found.verdict}, {text}{note}"


def _judged(found: CaseComparison) -> str:
    """By the bound, where there is one."""
    verdict = ", REGRESSED" if found.regressed else ""
    again = found.second_round_percent
    if again is None:
        return verdict
    then = f"then {again.value:+.1f} % ({again.low:+.1f} to {again.high:+.1f})"
    return f"{verdict or ', not regressed'} (measured twice, {then})"


def _between(found: Estimate) -> str:
    return f"({_number(found.low)} to {_number(found.high)})"


def _ms(value: float) -> str:
    return f"{_number(value)} ms"


def _number(value: float) -> str:
    """Three digits or more of it, and never more decimals than nanoseconds of milliseconds have."""
    rounded = abs(float(f"{value:.3g}"))
    if not 0 < rounded < math.inf:
        return f"{value:g}"
    return f"{value:,.{min(max(2 - math.floor(math.log10(rounded)), 0), _DECIMALS)}f}"


def _aligned(values: Sequence[float]) -> list[str]:
    """Their points one below the other."""
    told = [_number(value) for value in values]
    behind = [len(text.partition(".")[2]) + ("." in text) for text in told]
    return [f"{text}{' ' * (max(behind) - own)}" for text, own in zip(told, behind, strict=True)]


def _line(label: str, text: str) -> None:
    """A label that has no room beside the text stands above it."""
    lines = textwrap.wrap(text, _WIDTH - _LABEL, break_on_hyphens=False) or [""]
    if len(label) >= _LABEL:
        print(shorten(label, _WIDTH))
        label = ""
    for i, line in enumerate(lines):
        print(f"{label if i == 0 else '':{_LABEL}}{line}")
