"""What is wrong with a measurement, in sentences: drift, steps, throttling, two speeds, outliers, noise."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from cnntk.benchmark.statistics.changepoints import LEAST_TOLD, Change, changes
from cnntk.benchmark.statistics.modes import modes
from cnntk.benchmark.statistics.samples import Trace
from cnntk.benchmark.statistics.system_load import Meanwhile, Surroundings, meanwhile

__all__ = ["Finding", "Kind", "findings", "noise"]

Float64 = NDArray[np.float64]
Kind = Literal["few", "drift", "step", "throttling", "bimodal", "outliers", "others", "stolen", "quota"]

_OUTLIER, _TIME_IN_OUTLIERS = 3.0, 0.05
_OTHERS, _STOLEN, _HELD_BACK = 0.05, 0.01, 0.01
_SWITCHES_A_SECOND = 100
_LEAST_S = 0.2  # CPU time is counted in hundredths of a second
_SLOWER_CLOCK = 0.05
_STEPS_SAID = 3


@dataclass(frozen=True)
class Finding:
    """One thing that a reader of the figures must know.

    Attributes:
        kind: what it is.
        message: one sentence, without a full stop.
    """

    kind: Kind
    message: str

    def to_json(self) -> dict[str, Any]:
        """As JSON data."""
        return asdict(self)


def findings(
    trace: Trace, before: Surroundings | None = None, after: Surroundings | None = None
) -> tuple[Finding, ...]:
    """What disturbed a measurement.

    Args:
        trace: that was measured; changes are told from `LEAST_TOLD` runs on, and so are two speeds.
        before: a look just before it.
        after: a look just after it.
    """
    around = None if before is None or after is None else meanwhile(before, after)
    changed = changes(trace.latencies_ms)
    level = _flat(trace.latencies_ms, changed)
    found = [*_of_few(trace), *_of_changes(trace, changed), *_of_modes(level), *_of_outliers(level)]
    if around is not None:
        found += [*_of_clock(changed, around), *_of_others(around)]
    return tuple(found)


def noise(before: Surroundings, after: Surroundings) -> tuple[Finding, ...]:
    """What the machine did meanwhile, where there is no trace to see it in.

    Args:
        before: a look just before a measurement.
        after: a look just after it.
    """
    around = meanwhile(before, after)
    return (*_slower_clock(around), *_of_others(around))


def _of_few(trace: Trace) -> Iterator[Finding]:
    if (runs := len(trace)) < LEAST_TOLD:
        seconds = LEAST_TOLD * float(trace.latencies_ms.mean()) / 1e3
        yield Finding(
            "few",
            f"{runs} runs are too few to tell drift from noise, and intervals of so few may be too narrow: "
            f"{LEAST_TOLD} take about {seconds:.2g} s",
        )


def _of_changes(trace: Trace, changed: tuple[Change, ...]) -> Iterator[Finding]:
    if len(changed) > _STEPS_SAID:
        levels = [changed[0].before_ms, *(change.after_ms for change in changed)]
        span = f"{min(levels):.3g} and {max(levels):.3g} ms"
        yield Finding("step", f"latency changed its level {len(changed)} times, between {span}")
        return
    for change in changed:
        by = f"{'grew' if change.percent > 0 else 'fell'} by {abs(change.percent):.0f} %"
        at = f"at once after {trace.starts_s[change.at]:.2g} s"
        when = "from begin to end" if change.kind == "drift" else at
        yield Finding(change.kind, f"latency {by} {when}: {change.before_ms:.3g} to {change.after_ms:.3g} ms")


def _of_modes(level: Float64) -> Iterator[Finding]:
    if (two := modes(level)) is not None:
        slow = round(two.slow_share * 100)
        fast_runs = f"{100 - slow} % of the runs took about {two.fast_ms:.3g} ms"
        yield Finding("bimodal", f"two speeds: {fast_runs}, {slow} % about {two.slow_ms:.3g} ms")


def _of_outliers(level: Float64) -> Iterator[Finding]:
    slow = level > _OUTLIER * np.median(level)
    share = float(level[slow].sum() / level.sum())
    if share >= _TIME_IN_OUTLIERS:
        runs = f"{int(slow.sum())} of {len(level)} runs"
        yield Finding(
            "outliers", f"{share * 100:.0f} % of the time went into {runs}, each over 3 times the median"
        )


def _of_clock(changed: tuple[Change, ...], around: Meanwhile) -> Iterator[Finding]:
    if changed and changed[-1].after_ms > changed[0].before_ms:
        yield from _slower_clock(around)


def _slower_clock(around: Meanwhile) -> Iterator[Finding]:
    if around.hot:
        yield Finding("throttling", f"the processor was too hot and slowed down, {around.hot} times")
    elif around.mhz is not None and around.mhz[1] < around.mhz[0] * (1 - _SLOWER_CLOCK):
        speeds = f"{around.mhz[0]:.0f} to {around.mhz[1]:.0f} MHz"
        yield Finding("throttling", f"the processor's clock slowed down meanwhile: {speeds}")


def _of_others(around: Meanwhile) -> Iterator[Finding]:
    if around.seconds < _LEAST_S:
        return
    cores = "core" if around.cores == 1 else f"{around.cores} cores"
    if around.others is not None and around.others >= _OTHERS:
        yield Finding("others", f"other processes used {around.others * 100:.0f} % of the {cores} meanwhile")
    elif around.others is None and (around.switches or 0) > _SWITCHES_A_SECOND * around.seconds:
        yield Finding("others", f"this process had to leave its core {around.switches} times meanwhile")
    if around.stolen is not None and around.stolen >= _STOLEN:
        yield Finding(
            "stolen", f"the machine's host took {around.stolen * 100:.0f} % of the {cores} meanwhile"
        )
    if around.held_back is not None and around.held_back >= _HELD_BACK:
        percent = f"{around.held_back * 100:.0f} %"
        yield Finding("quota", f"the container's CPU quota stopped this process for {percent} of the time")


def _flat(values: Float64, changed: tuple[Change, ...]) -> Float64:
    """As if the level had never changed: what is left is told apart from it."""
    if not changed:
        return values
    if changed[0].kind == "drift":
        ends = math.log(changed[0].before_ms), math.log(changed[0].after_ms)
        levels = np.exp(np.linspace(*ends, len(values)))
    else:
        parts = np.split(values, [change.at for change in changed])
        levels = np.repeat([np.median(part) for part in parts], [len(part) for part in parts])
    flat: Float64 = values / levels * np.median(values)
    return flat
