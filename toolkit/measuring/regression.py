"""Whether a model got slower since a baseline was saved.

Base and now were measured at different times, and what differs from one time to the next (where memory lies,
the temperature, the neighbours) is the same in all runs of one time: a million runs don't take it away. So
both are measured in several sessions, best each in a process of its own, and sessions are what is compared:
Welch's test on the logarithms of their medians, ``(mean - mean') ± t sqrt(s²/n + s'²/n' + 0.01²)``. The 1 %
is between any two loadings of a model, and is in no session; so the slowdown's interval is never narrower
than ± 2 %. What no test can tell is a machine whose neighbours were quiet in all sessions then, and in none
now: a note says so.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from cnntk.measuring.case import Case, Setting
from cnntk.measuring.machine import Machine
from cnntk.measuring.traces.statistics import Estimate, t_quantile
from cnntk.runtime.errors import UsageError
from cnntk.runtime.files import readable, write_bytes

__all__ = [
    "Baseline",
    "BaselineNote",
    "CaseVerdict",
    "check_comparable",
    "check_machine",
    "load_baseline",
    "regressed",
    "save_baseline",
]

_FORMAT, _VERSION = "cnntk baseline", 1
_AGAIN = "measure it again with --save"

_LOADINGS = 0.01
"""Two engines on one LeNet, measured in turns, were apart by 1 % (standard deviation of 15; the most was 2
%)."""

_BUSIER = 0.1


@dataclass(frozen=True)
class Baseline:
    """What later measurements are compared with.

    Attributes:
        machine: where it was measured.
        cases: by name.
        made: when, ISO 8601 in UTC.
    """

    machine: Machine
    cases: Mapping[str, Case]
    made: str

    @classmethod
    def of(cls, machine: Machine, cases: Mapping[str, Case]) -> Baseline:
        """Made now."""
        return cls(machine, dict(cases), datetime.now(UTC).isoformat(timespec="seconds"))

    def to_json(self) -> dict[str, Any]:
        """As JSON data."""
        return {
            "format": _FORMAT,
            "version": _VERSION,
            "made": self.made,
            "machine": self.machine.to_json(),
            "cases": {name: case.to_json() for name, case in self.cases.items()},
        }


@dataclass(frozen=True)
class BaselineNote:
    """What a reader must know of the baseline that something was compared with.

    Attributes:
        file: of the baseline.
        made: when, ISO 8601 in UTC.
        machine_differences: what makes the machine another one than here, like "cores: 8 there, 2 here".
        software_differences: versions that are others than here.
    """

    file: str
    made: str
    machine_differences: tuple[str, ...]
    software_differences: tuple[str, ...]

    @classmethod
    def of(cls, file: str | os.PathLike[str], base: Baseline, here: Machine) -> BaselineNote:
        """Of a baseline that was read from ``file``."""
        differ = here.differences(base.machine), here.software_differences(base.machine)
        return cls(os.fspath(file), base.made, *differ)

    def to_json(self) -> dict[str, Any]:
        """As JSON data."""
        return asdict(self)


@dataclass(frozen=True)
class CaseVerdict:
    """How one case compares with its base.

    Attributes:
        name: of the case.
        base_ms: median of a run then; None where it was not measured.
        now_ms: median of a run now; None where it was not measured.
        slowdown_percent: 5 means that a run takes 5 % longer; None where they can't be compared.
        regressed: whether all of ``slowdown_percent``'s interval is above the bound.
        note: what else must be said, or why they can't be compared; may be empty.
    """

    name: str
    base_ms: float | None
    now_ms: float | None
    slowdown_percent: Estimate | None
    regressed: bool
    note: str

    def to_json(self) -> dict[str, Any]:
        """As JSON data."""
        return asdict(self)


def save_baseline(path: str | os.PathLike[str], baseline: Baseline) -> None:
    """Writes it, whole or not at all.

    Raises:
        UsageError: the folder can't be written to.
    """
    write_bytes(Path(path), (json.dumps(baseline.to_json(), indent=1) + "\n").encode())


def load_baseline(path: str | os.PathLike[str]) -> Baseline:
    """Reads what `save_baseline` wrote.

    Raises:
        UsageError: there is no such file, it is something else, damaged, or of another version.
    """
    file = readable(path, "a baseline, as cnntk bench --save writes it")
    try:
        data = json.loads(file.read_bytes())
    except ValueError as error:
        raise UsageError(f"{file}: is damaged, or no baseline: not JSON ({error}); {_AGAIN}") from error
    if not isinstance(data, dict) or data.get("format") != _FORMAT:
        raise UsageError(f"{file}: is JSON, but not a baseline of cnntk; name a file that --save wrote")
    if data.get("version") != _VERSION:
        versions = f"version {data.get('version')!r}; this cnntk reads version {_VERSION}"
        raise UsageError(f"{file}: is a baseline of {versions}: update cnntk, or {_AGAIN}")
    try:
        cases = {name: Case.from_json(case) for name, case in data["cases"].items()}
        return Baseline(Machine.from_json(data["machine"]), cases, str(data["made"]))
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise UsageError(f"{file}: is damaged ({type(error).__name__}: {error}); {_AGAIN}") from error


def check_machine(base: Baseline, here: Machine, *, other_machine: bool = False) -> None:
    """Refuses a baseline of another machine, unless told to go on.

    Raises:
        UsageError: the machines differ.
    """
    differ = here.differences(base.machine)
    if differ and not other_machine:
        raise UsageError(
            f"the baseline is of another machine ({'; '.join(differ)}): {_AGAIN} on this one, "
            "or go on with --other-machine"
        )


def check_comparable(
    base: Baseline,
    here: Machine,
    settings: Mapping[str, Mapping[str, Setting]],
    *,
    other_machine: bool = False,
) -> None:
    """Refuses before anything is measured what `regressed` would refuse afterwards.

    Args:
        base: measured then.
        here: this machine.
        settings: with which each case, by name, will be measured.
        other_machine: whether different machines are compared all the same.

    Raises:
        UsageError: the machines differ, or no case can be compared.
    """
    planned = {
        name: replace(then, settings=settings[name]) for name, then in base.cases.items() if name in settings
    }
    regressed(base, Baseline(here, planned, base.made), 0.0, other_machine=other_machine)


def regressed(
    base: Baseline, now: Baseline, fail_above_percent: float, *, other_machine: bool = False
) -> tuple[CaseVerdict, ...]:
    """Compares case by case: those of the base in their order, then new ones.

    Args:
        base: measured then.
        now: measured now.
        fail_above_percent: slowdown that is borne, 0 or more.
        other_machine: whether different machines are compared all the same.

    Raises:
        UsageError: the machines differ, or no case can be compared: a check that looks at nothing never
        fails. ValueError: ``fail_above_percent`` is negative or not finite.
    """
    if not 0 <= fail_above_percent < math.inf:
        raise ValueError(f"fail_above_percent must be 0 or more, got {fail_above_percent}")
    check_machine(base, now.machine, other_machine=other_machine)
    found = tuple(_verdicts(base, now, fail_above_percent))
    if all(verdict.slowdown_percent is None for verdict in found):
        reasons = "; ".join(f"{verdict.name}: {verdict.note}" for verdict in found) or "both are empty"
        raise UsageError(f"nothing to compare with the baseline ({reasons}): {_AGAIN}")
    return found


def _verdicts(base: Baseline, now: Baseline, bound: float) -> Iterator[CaseVerdict]:
    for name, then in base.cases.items():
        if name in now.cases:
            yield _verdict(name, then, now.cases[name], bound)
        else:
            yield CaseVerdict(name, then.median_ms.value, None, None, False, "not measured now")
    for name, case in now.cases.items():
        if name not in base.cases:
            yield CaseVerdict(name, None, case.median_ms.value, None, False, "not in the baseline")


def _verdict(name: str, base: Case, now: Case, bound: float) -> CaseVerdict:
    medians = base.median_ms.value, now.median_ms.value
    if differ := now.differences(base):
        return CaseVerdict(name, *medians, None, False, f"other settings ({'; '.join(differ)})")
    slowdown = _slowdown(base, now)
    return CaseVerdict(name, *medians, slowdown, slowdown.low > bound, "; ".join(_notes(base, now)))


def _notes(base: Case, now: Case) -> Iterator[str]:
    if base.model_sha256 != now.model_sha256:
        yield "the model is another file than then"
    if base.others is not None and now.others is not None and abs(now.others - base.others) > _BUSIER:
        shares = f"{base.others * 100:.0f} % of the cores then, {now.others * 100:.0f} % now"
        yield f"other processes used {shares}: what differs may be the machine"


def _slowdown(base: Case, now: Case) -> Estimate:
    """In percent, by Welch's test (Biometrika 34 (1947) 28)."""
    levels = [np.log([np.median(session) for session in case.sessions]) for case in (base, now)]
    errors = [float(np.var(level, ddof=1)) / len(level) for level in levels]
    freedoms = [error**2 / (len(level) - 1) for error, level in zip(errors, levels, strict=True)]
    freedom = sum(errors) ** 2 / sum(freedoms) if sum(freedoms) else math.inf
    apart = float(levels[1].mean() - levels[0].mean())
    reach = math.hypot(t_quantile(freedom) * math.sqrt(sum(errors)), t_quantile(math.inf) * _LOADINGS)
    low, value, high = (math.expm1(end) * 100 for end in (apart - reach, apart, apart + reach))
    return Estimate(value, low, high)
