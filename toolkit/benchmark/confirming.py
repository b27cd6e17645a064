"""A regression counts once it was measured twice.

Sessions that follow each other within seconds share the state that the machine was in just then, of which the
test between them knows nothing. A second round after a pause meets another state; both must say the same.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from cnntk.benchmark.case import Case
from cnntk.benchmark.latency import measure_case
from cnntk.benchmark.regression import Baseline, CaseVerdict, regressed

__all__ = ["PAUSE_S", "regressed_twice"]

PAUSE_S = 5.0
"""Longer than most bursts of work beside, and short enough to wait for."""


def regressed_twice(
    base: Baseline,
    now: Baseline,
    model: str | os.PathLike[str],
    fail_above_percent: float | None = None,
    *,
    other_machine: bool = False,
    pause_s: float = PAUSE_S,
    progress: Callable[[str], None] | None = None,
) -> tuple[CaseVerdict, ...]:
    """Compares as `regressed` does, and measures once more what regressed, if there is a bound.

    Args:
        base: measured then.
        now: measured now, by `cnntk.benchmark.latency.measure_case`.
        model: the file that was measured now.
        fail_above_percent: slowdown that is borne, 0 or more; None to confirm nothing.
        other_machine: whether different machines are compared all the same.
        pause_s: seconds between the rounds.
        progress: is told what is measured.

    Raises:
        UsageError: as `regressed`. CnntkError: as `measure_case`.
    """
    verdicts = regressed(base, now, fail_above_percent, other_machine=other_machine)
    if fail_above_percent is None or not any(verdict.regressed for verdict in verdicts):
        return verdicts
    if progress is not None:
        progress("once more what got slower, after a pause")
    time.sleep(pause_s)
    again = {
        verdict.name: _again(now, verdict.name, model) if verdict.regressed else now.cases[verdict.name]
        for verdict in verdicts
        if verdict.name in now.cases
    }
    later = regressed(base, replace(now, cases=again), fail_above_percent, other_machine=other_machine)
    return tuple(map(_both, verdicts, later))


def _again(now: Baseline, name: str, model: str | os.PathLike[str]) -> Case:
    case = now.cases[name]
    count = len(case.sessions)
    settings: dict[str, Any] = dict(case.settings)
    seconds = (case.session_seconds or 0) * count or 3.0
    return measure_case(model, **settings, seconds=seconds, sessions=count)


def _both(first: CaseVerdict, second: CaseVerdict) -> CaseVerdict:
    """The first one, if the second round says the same."""
    if not first.regressed:
        return first
    doubt = "most sessions of the second round were slow, and left out" if second.mostly_left_out else ""
    note = "; ".join(filter(None, (first.note, doubt)))
    return replace(first, regressed=second.regressed, again_percent=second.slowdown_percent, note=note)
