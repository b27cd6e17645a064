"""A bench as text of 80 columns."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

from cnntk.cli.output import print_table, size_text

if TYPE_CHECKING:
    from cnntk.benched import BenchResult, Rivalry
    from cnntk.measuring.cuda.clocks import Gpu
    from cnntk.measuring.cuda.times import Copies, CudaTimes
    from cnntk.measuring.latency import Latency
    from cnntk.measuring.layers.times import LayerReport, LayerRow
    from cnntk.measuring.memory import Memory
    from cnntk.measuring.regression import BaselineNote, CaseVerdict
    from cnntk.measuring.scenarios import ScenarioResult
    from cnntk.measuring.stages import Stages
    from cnntk.measuring.start_up import StartUp
    from cnntk.measuring.sweep import Cell, Sweep
    from cnntk.measuring.traces.statistics import Estimate

__all__ = ["print_bench"]

_WIDTH, _LABEL = 80, 13
_NAME, _NAMES = 27, 4
_PERCENTS = ("50", "90", "99")


def print_bench(
    result: BenchResult, verdicts: Iterable[CaseVerdict] = (), baseline: BaselineNote | None = None
) -> None:
    """Prints what was measured, a part after the other."""
    found, machine = result.latency, result.machine
    threads = f", {found.threads} thread{'s' * (found.threads > 1)}" if found.device == "cpu" else ""
    _line(result.name, f"on {found.device}{threads}, batch {found.batch}; {size_text(result.size_bytes)}")
    _line("machine", f"{machine.cpu}, {machine.cores_text}, onnxruntime {machine.onnxruntime}")
    for label, text in _latency(found):
        _line(label, text)
    if result.start_up is not None:
        _line("first answer", _start_up(result.start_up))
    if result.memory is not None:
        _line("memory", _memory(result.memory))
    for finding in found.findings:
        _line("noise", finding.message)
    if result.cuda is not None:
        _print_cuda(result.cuda)
    if result.stages is not None:
        _print_stages(result.stages)
    if result.sweep is not None:
        _print_sweep(result.sweep)
    if result.layers is not None:
        _print_layers(result.layers)
    for rivalry in result.against:
        _line("against", _rivalry(rivalry))
    for scenario in result.scenarios:
        _print_scenario(scenario)
    if baseline is not None:
        _print_baseline(baseline)
    for verdict in verdicts:
        _line("compared", _verdict(verdict))
    for text in result.notes:
        _line("note", text)


def _latency(found: Latency) -> Iterator[tuple[str, str]]:
    label = "latency"
    for percent, estimate in found.percentiles_ms.items():
        if estimate is None:
            needed = round(10 / (1 - float(percent) / 100))
            yield label, f"p{percent:<5}(needs {needed:,} runs, had {found.runs:,})"
        else:
            yield label, f"p{percent:<5}{_ms(estimate.value)}  {_between(estimate)}"
        label = ""
    rate = found.images_per_second
    yield "throughput", f"{rate.value:,.1f} images/s  ({rate.low:,.1f} to {rate.high:,.1f}), by the mean"
    warm = found.warm_up
    when = "never steady" if warm.steady is False else "too few to tell whether steady"
    if warm.steady_after_s is not None:
        when = f"steady after {warm.steady_after_s:.2f} s"
    yield "runs", f"{found.runs:,}, after {warm.runs:,} to warm up ({when})"
    yield "intervals", "95 %, of this process alone; --save measures several"


def _start_up(found: StartUp) -> str:
    parts = f"import {found.import_ms:.0f}, session {_ms(found.session_ms)}"
    text = f"{found.first_answer_ms:.0f} ms: {parts}, first run {_ms(found.first_run_ms)}"
    later = ", ".join(f"{batch}: {_ms(ms)}" for batch, ms in found.next_shapes)
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
    _line("handed over", f"{_ms(found.host_ms.value)}  {_between(found.host_ms)}, by the host")
    _line("done after", f"{_ms(found.whole_ms.value)}  {_between(found.whole_ms)}, by the host")
    _line("copies", f"in {_copies(found.to_device)}; out {_copies(found.to_host)}; not page-locked")
    inside = found.inside
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
        steps = ", ".join(f"{stage.name} {_ms(stage.ms)}" for stage in row.stages)
        _line(f"from {row.format}", f"{_ms(row.whole_ms)}: {steps}")
    for text in found.notes:
        _line("note", text)


def _print_sweep(found: Sweep) -> None:
    print()
    rows = [
        (
            str(cell.batch),
            str(cell.threads),
            _ms(cell.latency_ms),
            f"{_number(cell.low_ms)} to {_number(cell.high_ms)}",
            f"{cell.images_per_second:,.1f}",
            _speed_up(cell),
        )
        for cell in found.cells
    ]
    header = ("batch", "threads", "latency", "95 % interval", "images/s", "speed-up")
    print_table(rows, header, right=(0, 1, 2, 4))
    for text in found.notes:
        _line("note", text)


def _speed_up(cell: Cell) -> str:
    """With its interval; of one thread it is 1, and has none."""
    if cell.speed_up is None or cell.verdict == "no difference":
        return cell.verdict or ""
    if cell.verdict is None:
        return f"{cell.speed_up:.2f}"
    return f"{cell.speed_up:.2f} ({cell.speed_up_low:.2f} to {cell.speed_up_high:.2f})"


def _print_layers(found: LayerReport) -> None:
    print()
    header = ("layer", "ms", "share", "MMAC", "GMAC/s", "GB/s", "of the limit")
    print_table([_layer(row) for row in found.rows], header, right=(1, 2, 3, 4, 5))
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


def _layer(row: LayerRow) -> tuple[str, ...]:
    name = row.name if len(row.name) <= _NAME else f"{row.name[: _NAME - 1]}…"
    distance = "" if row.distance is None else f"{row.distance:.0%} {row.limit}"
    return (
        name,
        _number(row.time_ms),
        f"{row.share:.1%}",
        f"{row.multiply_adds / 1e6:.2f}" if row.multiply_adds else "",
        "" if row.gmacs_per_s is None else f"{row.gmacs_per_s:.0f}",
        "" if row.gb_per_s is None else f"{row.gb_per_s:.1f}",
        distance or row.limit or "",
    )


def _rivalry(found: Rivalry) -> str:
    name, faced = found.opponent.name, found.comparison
    if faced is None:
        return f"{name}: {found.opponent.note}"
    word = {
        "faster": f"{faced.ratio:.2f} times as fast",
        "slower": f"{faced.ratio:.2f} times as fast, slower",
        "no difference": f"no difference, {faced.ratio:.2f}",
    }[faced.verdict]
    times = f"{_ms(faced.second_ms)} against its {_ms(faced.first_ms)}"
    notes = "; ".join(filter(None, (times, found.opponent.note, *faced.noise)))
    return f"{name}: {word} ({faced.low:.2f} to {faced.high:.2f}), {notes}"


def _print_scenario(found: ScenarioResult) -> None:
    _line(found.scenario, _scenario(found))
    if told := [f"p{p} {_ms(found.percentiles_ms[p])}" for p in _PERCENTS if p in found.percentiles_ms]:
        _line("", ", ".join(told))
    for text in found.notes:
        _line("", text)


def _scenario(found: ScenarioResult) -> str:
    value = f"{found.value:,.3f} {found.unit}" if found.unit == "ms" else f"{found.value:,.1f} a second"
    verdict = "valid" if found.valid else f"not valid: {'; '.join(found.reasons)}"
    accuracy = ""
    if found.accuracy is not None:
        accuracy = f"; accuracy {found.accuracy:.2%} of {found.accuracy_images:,} images"
    return f"{found.metric} {value}, {found.queries:,} queries{accuracy}; {verdict}"


def _print_baseline(found: BaselineNote) -> None:
    _line("baseline", f"{found.file}, measured at {found.made}")
    for what, differ in (
        ("another machine", found.machine_differences),
        ("other versions", found.software_differences),
    ):
        if differ:
            _line("", f"{what}: {'; '.join(differ)}")


def _verdict(found: CaseVerdict) -> str:
    if found.slowdown_percent is None or found.base_ms is None or found.now_ms is None:
        return f"{found.name}: {found.note}"
    slowdown = found.slowdown_percent
    text = f"{slowdown.value:+.1f} % ({slowdown.low:+.1f} to {slowdown.high:+.1f})"
    text += _judged(found)
    note = f"; {found.note}" if found.note else ""
    return f"{found.name}: {_ms(found.base_ms)} then, {_ms(found.now_ms)} now: {found.word}, {text}{note}"


def _judged(found: CaseVerdict) -> str:
    """By the bound, where there is one."""
    verdict = ", REGRESSED" if found.regressed and found.fail_above_percent is not None else ""
    again = found.again_percent
    if again is None:
        return verdict
    then = f"then {again.value:+.1f} % ({again.low:+.1f} to {again.high:+.1f})"
    return f"{verdict or ', not regressed'} (measured twice, {then})"


def _between(found: Estimate) -> str:
    return f"({_number(found.low)} to {_number(found.high)})"


def _ms(value: float) -> str:
    return f"{_number(value)} ms"


def _number(value: float) -> str:
    """Three digits or more of it, and never more decimals than nanoseconds have."""
    return f"{value:.3f}" if value < 10 else f"{value:.2f}" if value < 100 else f"{value:,.1f}"


def _line(label: str, text: str) -> None:
    lines = textwrap.wrap(text, _WIDTH - _LABEL, break_long_words=True) or [""]
    for i, line in enumerate(lines):
        print(f"{label if i == 0 else '':{_LABEL}}{line}")
