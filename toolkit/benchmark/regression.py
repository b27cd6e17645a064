"""Comparison of a benchmark with a baseline: whether the model became slower since.

The two were measured at different times, and what differs between times (memory layout, temperature, other
processes) is the same in all runs of one time: a million runs don't average it out. So both are measured in
several sessions, each in a process of its own, and sessions are what is compared: see
`cnntk.benchmark.statistics.intervals.slowdown_percent`. Sessions that follow each other within seconds share
the state of the machine, so a regression counts only if a second round of sessions, after a pause, confirms
it. No test can recognize a machine on which other processes were idle in all sessions of the baseline, and in
none now: a note says so.
"""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar, Literal

from cnntk.benchmark.baseline import (
    MEASURE_AGAIN,
    Baseline,
    load_baseline,
    save_baseline,
)
from cnntk.benchmark.compare import SpeedVerdict
from cnntk.benchmark.latency import Case, Setting, measure_case
from cnntk.benchmark.machine import detect_machine
from cnntk.benchmark.options import BenchOptions
from cnntk.benchmark.statistics.intervals import (
    DISTURBED_RATIO,
    Estimate,
    UndisturbedSessions,
    mostly_disturbed,
    slowdown_percent,
)
from cnntk.benchmark.workload import Workload
from cnntk.runtime.errors import UsageError
from cnntk.runtime.sections import (
    Chart,
    Column,
    Intervals,
    Section,
    Table,
    TableCell,
    Tone,
    Value,
    number,
    under,
)  # fmt: skip

__all__ = [
    "BaselineCheck",
    "BaselineComparison",
    "CaseComparison",
    "compare_baselines",
    "confirm_regressions",
    "reason_to_keep",
]

PAUSE_S = 5.0
"""Seconds before the second round: longer than most bursts of work, and short enough to wait for."""

_MIN_CPU_DIFFERENCE = 0.1
"""Difference of the CPU share of other processes from which a note mentions it."""


@dataclass(frozen=True)
class CaseComparison:
    """One measurement compared with the baseline's.

    Attributes:
        name: Name of the measurement.
        baseline_ms: Time of a run in the baseline: geometric mean of the medians of its undisturbed sessions;
            None if the baseline doesn't have it.
        current_ms: Likewise now; None if it was not measured.
        slowdown_percent: Increase of the time of a run in percent; None if the two can't be compared.
        regressed: Whether the whole interval of ``slowdown_percent`` is above the limit, and of
            ``second_round_percent`` too; False without a limit.
        note: Remarks, or the reason why the two can't be compared; may be empty.
        fail_above_percent: Limit of the slowdown in percent; None for no limit.
        second_round_percent: Slowdown in a second round of sessions; None if there was none.
        mostly_disturbed: Whether over half of the sessions now were disturbed, and so left out, and a larger
            share than in the baseline.
    """

    JSON_PROPERTIES: ClassVar = ("verdict",)

    name: str
    baseline_ms: float | None
    current_ms: float | None
    slowdown_percent: Estimate | None
    regressed: bool
    note: str
    fail_above_percent: float | None = None
    second_round_percent: Estimate | None = None
    mostly_disturbed: bool = False

    @property
    def verdict(self) -> SpeedVerdict | Literal["undecided"] | None:
        """What the interval shows; None if the two can't be compared.

        If most sessions were disturbed, the others can show that the model is slower, and nothing else.
        """
        slowdown = self.slowdown_percent
        if slowdown is None:
            return None
        if slowdown.low > 0:
            return "slower"
        if self.mostly_disturbed:
            return "undecided"
        return "faster" if slowdown.high < 0 else "no difference"


@dataclass(frozen=True)
class BaselineComparison:
    """A benchmark compared with a baseline.

    Attributes:
        file: File of the baseline; empty for one that was not loaded from a file.
        created: Time of the baseline's measurement, ISO 8601 in UTC.
        machine_differences: Differences that make the machine another one, like "cores: 8 in the baseline, 2
            now".
        software_differences: Versions that differ from the baseline's.
        cases: Comparison of each measurement: those of the baseline in their order, then new ones.
    """

    file: str
    created: str
    machine_differences: tuple[str, ...]
    software_differences: tuple[str, ...]
    cases: tuple[CaseComparison, ...]

    def sections(self) -> tuple[Section, ...]:
        """How the cases compare with the baseline, for text and pages."""
        columns = (
            Column("case"),
            Column("baseline, ms", "right"),
            Column("now, ms", "right"),
            Column("slowdown", "right"),
            Column("95 % interval", interval=True),
            Column("verdict", wrap=True),
        )
        rows = tuple(
            (c.name, _ms(c.baseline_ms), _ms(c.current_ms), *_percents(c.slowdown_percent), _verdict_cell(c))
            for c in self.cases
        )
        headline = _headline(self.cases)
        values: tuple[tuple[str, Value, Tone], ...] = tuple(
            (case.name, _value(case), "bad" if case.regressed else "")
            for case in self.cases
            if case.slowdown_percent
        )
        intervals = Intervals("slowdown since the baseline, %", 0.0, values)
        lines = (
            ("baseline", f"{self.file}, measured at {self.created}"),
            *under("another machine", self.machine_differences),
            *under("other versions", self.software_differences),
        )
        charts = (Chart("regressions", "intervals", headline, intervals),)
        return (Section("Since the baseline", headline, "", lines, (Table(columns, rows),), charts),)


def _headline(cases: Sequence[CaseComparison]) -> str:
    """The cases that are slower; by more than the limit, where there is one."""
    limited = all(v.fail_above_percent is not None for v in cases)
    limit = "Slower by more than the limit" if limited else "Slower than the baseline"
    slower = [v.name for v in cases if v.regressed or (not limited and v.verdict == "slower")]
    undecided = [v.name for v in cases if v.verdict == "undecided"]
    parts = [f"{limit}: {', '.join(slower)}"] if slower else []
    if undecided:
        parts.append(f"{'undecided' if slower else 'Undecided'}: {', '.join(undecided)}")
    none = "No case is slower by more than the limit" if limited else "No case is significantly slower"
    return "; ".join(parts) or none


def _ms(value: float | None) -> str:
    return "" if value is None else number(value)


def _percents(slowdown: Estimate | None) -> tuple[str, str]:
    if slowdown is None:
        return "", ""
    return f"{slowdown.value:+.1f} %", f"{slowdown.low:+.1f} to {slowdown.high:+.1f} %"


def _tone(case: CaseComparison) -> Tone:
    if case.regressed:
        return "bad"
    judged = case.fail_above_percent is not None and case.verdict not in (None, "undecided")
    return "good" if judged else ""


def _value(case: CaseComparison) -> Value:
    slowdown = case.slowdown_percent
    assert slowdown is not None  # noqa: S101 - only such cases are drawn
    text = f"{slowdown.value:+.1f} % ({slowdown.low:+.1f} to {slowdown.high:+.1f})"
    text += ": regressed" * case.regressed + ": undecided" * (case.verdict == "undecided")
    return Value(slowdown.value, slowdown.low, slowdown.high, text)


def _verdict_cell(case: CaseComparison) -> TableCell:
    text = f"{case.verdict or ''}{', REGRESSED' * case.regressed}"
    if (again := case.second_round_percent) is not None:
        result = "" if case.regressed else ", not regressed"
        ends = f"{again.low:+.1f} to {again.high:+.1f}"
        text += f"{result} (measured twice, then {again.value:+.1f} % ({ends}))"
    return TableCell("; ".join(filter(None, (text, case.note))), tone=_tone(case))


@dataclass(frozen=True)
class BaselineCheck:
    """The baseline options of one benchmark: what it is compared with, and where it is saved.

    Attributes:
        baseline: Baseline to compare with; None for no comparison.
        file: File of the baseline; empty for one that was not loaded from a file.
        options: Options of the benchmark.
    """

    baseline: Baseline | None
    file: str
    options: BenchOptions

    @classmethod
    def open(cls, options: BenchOptions) -> BaselineCheck:
        """Loads the baseline, before anything is measured.

        Raises:
            UsageError: The baseline can't be loaded or is of another machine.
        """
        source, file = options.baseline, ""
        baseline = source if isinstance(source, Baseline) else None
        if source is not None and not isinstance(source, Baseline):
            baseline, file = load_baseline(source), os.fspath(source)
        if baseline is not None:
            baseline.check_machine(detect_machine(), allow_other=options.allow_other_machine)
        return cls(baseline, file, options)

    def check_settings(self, settings: Mapping[str, Setting]) -> None:
        """Refuses, before anything is measured, settings with which no case could be compared.

        Raises:
            UsageError: The settings or the machine differ from the baseline's.
        """
        if self.baseline is None:
            return
        machine = detect_machine(str(settings["device"]))
        self.baseline.check_machine(machine, allow_other=self.options.allow_other_machine)
        cases = {name: case for name, case in self.baseline.cases.items() if name == "latency"}
        planned = {name: replace(case, settings=settings) for name, case in cases.items()}
        compare_baselines(self.baseline, replace(self.baseline, cases=planned))

    def compare(
        self, current: Baseline, model: str, progress: Callable[[str], None]
    ) -> BaselineComparison | None:
        """Compares a measurement with the baseline; None without one.

        Raises:
            UsageError: As `compare_baselines`. CnntkError: As `measure_case`.
        """
        if self.baseline is None:
            return None
        return BaselineComparison(
            self.file,
            self.baseline.created,
            current.machine.differences(self.baseline.machine),
            current.machine.software_differences(self.baseline.machine),
            confirm_regressions(self.baseline, current, model, self.options.fail_above, progress=progress),
        )

    def save(self, current: Baseline, comparison: BaselineComparison | None, notes: list[str]) -> str | None:
        """Saves a measurement, unless it would replace the baseline that it failed by; returns the file."""
        if self.options.save is None:
            return None
        file = os.fspath(self.options.save)
        same = self.file and Path(self.file).resolve() == Path(file).resolve()
        if same and comparison is not None and (reason := reason_to_keep(comparison)):
            notes.append(
                f"{file} was not replaced, because {reason}; to accept this run, save it under another name"
            )
            return None
        save_baseline(file, current)
        return file


def reason_to_keep(comparison: BaselineComparison) -> str | None:
    """Why a run must not replace the baseline that it was compared with; None if it may.

    Otherwise a regression is reported once only, because the next run is compared with the slow one.
    """
    for case in comparison.cases:
        if case.fail_above_percent is None:
            continue
        if case.regressed:
            return f"{case.name} regressed by more than {case.fail_above_percent:g} %"
        if case.second_round_percent is not None:
            return f"{case.name} was slower in the first of two rounds"
        if case.verdict == "undecided":
            return f"{case.name} is undecided"
    return None


def compare_baselines(
    baseline: Baseline, current: Baseline, fail_above_percent: float | None = None
) -> tuple[CaseComparison, ...]:
    """Compares measurements by name: those of the baseline in their order, then new ones.

    Args:
        baseline: Earlier measurement.
        current: Measurement of now.
        fail_above_percent: Limit of the slowdown in percent, 0 or more; None for no limit.

    Raises:
        UsageError: No case can be compared: a check of nothing would never fail.
        ValueError: The limit is negative or not finite.
    """
    if fail_above_percent is not None and not 0 <= fail_above_percent < math.inf:
        raise ValueError(f"fail_above_percent must be 0 or more, got {fail_above_percent}")
    comparisons = tuple(_compare_cases(baseline, current, fail_above_percent))
    if all(comparison.slowdown_percent is None for comparison in comparisons):
        reasons = "; ".join(f"{c.name}: {c.note}" for c in comparisons) or "both are empty"
        raise UsageError(f"nothing to compare with the baseline ({reasons}): {MEASURE_AGAIN}")
    return comparisons


def confirm_regressions(
    baseline: Baseline,
    current: Baseline,
    model: str | os.PathLike[str],
    fail_above_percent: float | None = None,
    *,
    pause_s: float = PAUSE_S,
    progress: Callable[[str], None] = lambda name: None,
) -> tuple[CaseComparison, ...]:
    """Compares as `compare_baselines`, and measures again what regressed: both rounds must agree.

    Args:
        baseline: Earlier measurement.
        current: Measurement of now, by `cnntk.benchmark.latency.measure_case`.
        model: Path of the file that was measured now.
        fail_above_percent: Limit of the slowdown in percent, 0 or more; None to confirm nothing.
        pause_s: Seconds between the rounds.
        progress: Called with the name of what is measured.

    Raises:
        UsageError: As `compare_baselines`. CnntkError: As `measure_case`.
    """
    first = compare_baselines(baseline, current, fail_above_percent)
    regressed = {comparison.name for comparison in first if comparison.regressed}
    if not regressed:
        return first
    progress("slower results again, after a pause")
    time.sleep(pause_s)
    cases = {
        name: _measure_again(case, model) if name in regressed else case
        for name, case in current.cases.items()
    }
    second = compare_baselines(baseline, replace(current, cases=cases), fail_above_percent)
    return tuple(_confirmed(*rounds) for rounds in zip(first, second, strict=True))


def _measure_again(case: Case, model: str | os.PathLike[str]) -> Case:
    count = len(case.sessions)
    settings: dict[str, Any] = dict(case.settings)
    seconds = (case.session_seconds or 0) * count or 3.0
    return measure_case(Workload(model, **settings, seconds=seconds), sessions=count)


def _confirmed(first: CaseComparison, second: CaseComparison) -> CaseComparison:
    """The comparison of the first round, as regressed only if the second round regressed too."""
    if not first.regressed:
        return first
    doubt = (
        "most sessions of the second round were disturbed, and left out" if second.mostly_disturbed else ""
    )
    note = "; ".join(filter(None, (first.note, doubt)))
    return replace(first, regressed=second.regressed, second_round_percent=second.slowdown_percent, note=note)


def _compare_cases(baseline: Baseline, current: Baseline, limit: float | None) -> Iterator[CaseComparison]:
    for name in dict.fromkeys((*baseline.cases, *current.cases)):
        base, now = baseline.cases.get(name), current.cases.get(name)
        comparison = CaseComparison(name, _typical_ms(base), _typical_ms(now), None, False, "", limit)
        if base is None or now is None:
            yield replace(comparison, note="not in the baseline" if base is None else "not measured now")
        elif differences := now.differences(base):
            yield replace(comparison, note=f"other settings ({'; '.join(differences)})")
        else:
            slowdown = slowdown_percent(base.sessions, now.sessions)
            yield replace(
                comparison,
                slowdown_percent=slowdown,
                regressed=limit is not None and slowdown.low > limit,
                note="; ".join(_notes(base, now)),
                mostly_disturbed=mostly_disturbed(base.sessions, now.sessions),
            )


def _typical_ms(case: Case | None) -> float | None:
    return None if case is None else UndisturbedSessions.of(case.sessions).ms


def _notes(base: Case, now: Case) -> Iterator[str]:
    """Differences of two cases besides their latency, and sessions that were left out."""
    if base.model_sha256 != now.model_sha256:
        yield "the model's file is not the baseline's"
    then, later = _sessions_text(base), _sessions_text(now)
    if then != later:
        yield f"measured in {then} in the baseline, {later} now"
    totals = [(len(case.sessions), UndisturbedSessions.of(case.sessions).disturbed) for case in (base, now)]
    if any(disturbed for _, disturbed in totals):
        used = [f"{total - disturbed} of {total}" for total, disturbed in totals]
        slow = f"over {(DISTURBED_RATIO - 1) * 100:.0f} % slower than the second fastest"
        yield f"compares {used[0]} sessions of the baseline, {used[1]} now; the others were {slow}"
    if mostly_disturbed(base.sessions, now.sessions):
        yield "most sessions were slow now: measure again; if that persists, the model is slow at times"
    shares = base.other_cpu_share, now.other_cpu_share
    if shares[0] is not None and shares[1] is not None and abs(shares[1] - shares[0]) > _MIN_CPU_DIFFERENCE:
        usage = f"{shares[0]:.0%} of the cores in the baseline, {shares[1]:.0%} now"
        yield f"other processes used {usage}: the difference may be the machine's"


def _sessions_text(case: Case) -> str:
    length = "" if case.session_seconds is None else f" of {case.session_seconds:g} s"
    return f"{len(case.sessions)} sessions{length}"
