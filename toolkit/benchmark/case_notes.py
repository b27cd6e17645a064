"""What a reader must know of two cases that were compared, besides the slowdown."""

from __future__ import annotations

from collections.abc import Iterator

from cnntk.benchmark.case import Case
from cnntk.benchmark.statistics.intervals import DISTURBED_RATIO, UndisturbedSessions, mostly_disturbed

__all__ = ["case_notes"]

_BUSIER = 0.1


def case_notes(base: Case, now: Case) -> Iterator[str]:
    """A phrase each; none where nothing but the time differs."""
    if base.model_sha256 != now.model_sha256:
        yield "the model is another file than then"
    then, later = _sessions(base), _sessions(now)
    if then != later:
        yield f"measured in {then} then, {later} now"
    yield from _left_out(base, now)
    if base.others is not None and now.others is not None and abs(now.others - base.others) > _BUSIER:
        shares = f"{base.others * 100:.0f} % of the cores then, {now.others * 100:.0f} % now"
        yield f"other processes used {shares}: what differs may be the machine"


def _sessions(case: Case) -> str:
    length = "" if case.session_seconds is None else f" of {case.session_seconds:g} s"
    return f"{len(case.sessions)} sessions{length}"


def _left_out(base: Case, now: Case) -> Iterator[str]:
    """Why what is compared is not the median of all runs."""
    if _disturbed(base) or _disturbed(now):
        slow = f"over {(DISTURBED_RATIO - 1) * 100:.0f} % slower than the second fastest"
        yield f"judged on {_kept(base)} sessions then, {_kept(now)} now; the others were {slow}"
    if mostly_disturbed(base.sessions, now.sessions):
        yield "most were slow now: measure again; if it stays so, it is the model that is slow at times"


def _kept(case: Case) -> str:
    return f"{len(case.sessions) - _disturbed(case)} of {len(case.sessions)}"


def _disturbed(case: Case) -> int:
    return UndisturbedSessions.of(case.sessions).disturbed
