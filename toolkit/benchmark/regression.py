"""Whether a model got slower since a baseline was saved.

Base and now were measured at different times, and what differs from one time to the next (where memory lies,
the temperature, the neighbors) is the same in all runs of one time: a million runs don't take it away. So
both are measured in several sessions, best each in a process of its own, and sessions are what is compared:
see `cnntk.benchmark.statistics.intervals.slowdown_percent`. Sessions that follow each other share the
machine's state of those seconds, so a regression is confirmed some time later (`cnntk.benchmark.confirming`).
What no test can tell is a machine whose neighbors were quiet in all sessions then, and in none now: a note
says so.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

from cnntk.benchmark.case import Case, Setting
from cnntk.benchmark.case_notes import case_notes
from cnntk.benchmark.compare import SpeedVerdict
from cnntk.benchmark.machine import Machine
from cnntk.benchmark.statistics.intervals import (
    Estimate,
    UndisturbedSessions,
    mostly_disturbed,
    slowdown_percent,
)
from cnntk.runtime.errors import UsageError
from cnntk.runtime.files import readable_file, write_bytes

__all__ = [
    "Baseline",
    "BaselineNote",
    "CaseVerdict",
    "check_comparable",
    "check_machine",
    "check_replaceable",
    "load_baseline",
    "regressed",
    "save_baseline",
    "why_keep",
]

_FORMAT, _VERSION = "cnntk baseline", 1
_AGAIN = "measure it again with --save"


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
        base_ms: what is compared: of a run then, the geometric mean of calm sessions' medians; None where it
            was not measured.
        now_ms: the same of now.
        slowdown_percent: 5 means that a run takes 5 % longer; None where they can't be compared.
        regressed: whether all of ``slowdown_percent``'s interval is above the bound; and all of
            ``again_percent``'s, where it was measured twice. Without a bound nothing is.
        note: what else must be said, or why they can't be compared; may be empty.
        fail_above_percent: the bound; None where none was given.
        again_percent: the slowdown of a second round of sessions; None where there was none.
        mostly_left_out: whether over half of now's sessions were left out as disturbed, and a larger share
            than of the base's.
    """

    name: str
    base_ms: float | None
    now_ms: float | None
    slowdown_percent: Estimate | None
    regressed: bool
    note: str
    fail_above_percent: float | None = None
    again_percent: Estimate | None = None
    mostly_left_out: bool = False

    @property
    def word(self) -> SpeedVerdict | Literal["undecided"] | None:
        """What the interval shows; None where they can't be compared.

        Where most sessions were left out as slow, the few others may show that it is slower, else nothing.
        """
        found = self.slowdown_percent
        if found is None:
            return None
        if found.low > 0:
            return "slower"
        if self.mostly_left_out:
            return "undecided"
        return "faster" if found.high < 0 else "no difference"

    def to_json(self) -> dict[str, Any]:
        """As JSON data."""
        return {**asdict(self), "word": self.word}


def save_baseline(path: str | os.PathLike[str], baseline: Baseline) -> None:
    """Writes it, whole or not at all.

    Raises:
        UsageError: the folder can't be written to, or the file is there and is no baseline.
    """
    check_replaceable(path)
    write_bytes(Path(path), (json.dumps(baseline.to_json(), indent=1) + "\n").encode())


def check_replaceable(path: str | os.PathLike[str]) -> None:
    """Refuses to lose what is no baseline: a model, say.

    Raises:
        UsageError: the file is there, and is something else than a baseline.
    """
    file = Path(path)
    if file.is_file() and _format_of(file.read_bytes()) is None:
        raise UsageError(f"{file}: is there already, and is no baseline; choose another name")


def load_baseline(path: str | os.PathLike[str]) -> Baseline:
    """Reads what `save_baseline` wrote.

    Raises:
        UsageError: there is no such file, it is something else, damaged, or of another version.
    """
    file = readable_file(path, "a baseline, as cnntk bench --save writes it")
    data = _format_of(file.read_bytes())
    if data is None:
        raise UsageError(f"{file}: is no baseline, or a damaged one; name a file that --save wrote")
    if data.get("version") != _VERSION:
        versions = f"version {data.get('version')!r}; this cnntk reads version {_VERSION}"
        raise UsageError(f"{file}: is a baseline of {versions}: update cnntk, or {_AGAIN}")
    with _part(file, "machine"):
        machine, made = Machine.from_json(data["machine"]), str(data["made"])
    with _part(file, "cases"):
        named = data["cases"].items()
    cases = {}
    for name, case in named:
        with _part(file, f"case {name!r}"):
            cases[name] = Case.from_json(case)
    return Baseline(machine, cases, made)


def _format_of(content: bytes) -> dict[str, Any] | None:
    """The data of a baseline of any version; None where it is none."""
    try:
        data = json.loads(content)
    except ValueError:  # no JSON, or no text
        return None
    return data if isinstance(data, dict) and data.get("format") == _FORMAT else None


@contextmanager
def _part(file: Path, what: str) -> Iterator[None]:
    """What goes wrong while a part is read means that it is not as it was written."""
    try:
        yield
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise UsageError(f"{file}: is damaged: its {what} can't be read; {_AGAIN}") from error


def check_machine(base: Baseline, here: Machine, *, other_machine: bool = False) -> None:
    """Refuses a baseline of another machine, unless told to go on.

    Raises:
        UsageError: the machines differ.
    """
    differ = here.differences(base.machine)
    if differ and not other_machine:
        raise UsageError(
            f"the baseline is of another machine ({'; '.join(differ)}): {_AGAIN} on this one, "
            "or compare anyway with --allow-other-machine"
        )


def why_keep(verdicts: Iterable[CaseVerdict]) -> str | None:
    """Why the baseline that a run was judged by must not be replaced by this run; None where it may be.

    Else a regression is found once: the next run is compared with the slow one.
    """
    for verdict in verdicts:
        if verdict.fail_above_percent is None:
            continue
        if verdict.regressed:
            return f"{verdict.name} regressed by more than {verdict.fail_above_percent:g} %"
        if verdict.again_percent is not None:
            return f"{verdict.name} was slower in the first of two rounds"
        if verdict.word == "undecided":
            return f"{verdict.name} is undecided"
    return None


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
    regressed(base, Baseline(here, planned, base.made), other_machine=other_machine)


def regressed(
    base: Baseline, now: Baseline, fail_above_percent: float | None = None, *, other_machine: bool = False
) -> tuple[CaseVerdict, ...]:
    """Compares case by case: those of the base in their order, then new ones.

    Args:
        base: measured then.
        now: measured now.
        fail_above_percent: slowdown that is borne, 0 or more; without it nothing is called regressed.
        other_machine: whether different machines are compared all the same.

    Raises:
        UsageError: the machines differ, or no case can be compared: a check that looks at nothing never
        fails. ValueError: ``fail_above_percent`` is negative or not finite.
    """
    if fail_above_percent is not None and not 0 <= fail_above_percent < math.inf:
        raise ValueError(f"fail_above_percent must be 0 or more, got {fail_above_percent}")
    check_machine(base, now.machine, other_machine=other_machine)
    found = tuple(_verdicts(base, now, fail_above_percent))
    if all(verdict.slowdown_percent is None for verdict in found):
        reasons = "; ".join(f"{verdict.name}: {verdict.note}" for verdict in found) or "both are empty"
        raise UsageError(f"nothing to compare with the baseline ({reasons}): {_AGAIN}")
    return found


def _verdicts(base: Baseline, now: Baseline, bound: float | None) -> Iterator[CaseVerdict]:
    for name, then in base.cases.items():
        if name in now.cases:
            yield _verdict(name, then, now.cases[name], bound)
        else:
            ms = UndisturbedSessions.of(then.sessions).ms
            yield CaseVerdict(name, ms, None, None, False, "not measured now", bound)
    for name, case in now.cases.items():
        if name not in base.cases:
            yield CaseVerdict(
                name,
                None,
                UndisturbedSessions.of(case.sessions).ms,
                None,
                False,
                "not in the baseline",
                bound,
            )


def _verdict(name: str, base: Case, now: Case, bound: float | None) -> CaseVerdict:
    levels = UndisturbedSessions.of(base.sessions).ms, UndisturbedSessions.of(now.sessions).ms
    if differ := now.differences(base):
        return CaseVerdict(name, *levels, None, False, f"other settings ({'; '.join(differ)})", bound)
    slowdown, note = slowdown_percent(base.sessions, now.sessions), "; ".join(case_notes(base, now))
    beyond = bound is not None and slowdown.low > bound
    doubtful = mostly_disturbed(base.sessions, now.sessions)
    return CaseVerdict(name, *levels, slowdown, beyond, note, bound, mostly_left_out=doubtful)
