"""`Case`: one thing that was measured, in several sessions, as a baseline keeps it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from cnntk.benchmark.statistics.changepoints import block_medians
from cnntk.benchmark.statistics.intervals import Estimate, mean_estimate, percentiles, quantile_estimate
from cnntk.benchmark.statistics.samples import LatencySamples

__all__ = ["Case", "Setting", "case_of"]

Setting = str | int | float | bool | None

_PARTS, _LEAST_RUNS = 5, 10
_DIGITS = 6


@dataclass(frozen=True)
class Case:
    """A summary of its sessions.

    Attributes:
        settings: with which it was measured, like threads, batch and device.
        model_sha256: of the file; None where there is none.
        runs: in all sessions.
        median_ms: of all runs.
        mean_ms: of all runs.
        percentiles_ms: 90, 99 and 99.9, as "99"; None where there were too few runs.
        others: share of the cores' time that other processes used meanwhile, 0 to 1; None where not known.
        sessions: in each, medians of up to 50 blocks of runs, in ms; two sessions or more.
        session_seconds: for how long each was to measure; None where that was not said.
    """

    settings: Mapping[str, Setting]
    model_sha256: str | None
    runs: int
    median_ms: Estimate
    mean_ms: Estimate
    percentiles_ms: Mapping[str, Estimate | None]
    others: float | None
    sessions: tuple[tuple[float, ...], ...]
    session_seconds: float | None = None

    def __post_init__(self) -> None:
        if len(self.sessions) < 2 or not all(self.sessions):
            raise ValueError("two sessions or more are needed, none of them empty")
        if not all(0 < median < float("inf") for session in self.sessions for median in session):
            raise ValueError("latencies must be positive and finite")
        if self.others is not None and not 0 <= self.others <= 1:
            raise ValueError(f"others must lie between 0 and 1, got {self.others}")

    def differences(self, other: Case) -> tuple[str, ...]:
        """Settings of another one that are not as here, like "threads: 2 there, 1 here"."""
        names = dict.fromkeys((*self.settings, *other.settings))
        return tuple(
            f"{name}: {other.settings.get(name)} there, {self.settings.get(name)} here"
            for name in names
            if self.settings.get(name) != other.settings.get(name)
        )

    def to_json(self) -> dict[str, Any]:
        """As JSON data."""
        return asdict(self)

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Case:
        """What `to_json` gave.

        Raises:
            ValueError, TypeError, KeyError, AttributeError: it is something else.
        """
        others, sha256, seconds = data["others"], data["model_sha256"], data.get("session_seconds")
        return cls(
            settings=dict(data["settings"]),
            model_sha256=None if sha256 is None else _text(sha256),
            runs=int(data["runs"]),
            median_ms=_estimate(data["median_ms"]),
            mean_ms=_estimate(data["mean_ms"]),
            percentiles_ms={
                name: None if found is None else _estimate(found)
                for name, found in data["percentiles_ms"].items()
            },
            others=None if others is None else float(others),
            sessions=tuple(tuple(map(float, session)) for session in data["sessions"]),
            session_seconds=None if seconds is None else float(seconds),
        )


def case_of(
    sessions: Sequence[LatencySamples],
    *,
    settings: Mapping[str, Setting],
    model_sha256: str | None = None,
    others: float | None = None,
    session_seconds: float | None = None,
) -> Case:
    """Sums sessions up.

    Args:
        sessions: measured apart, best each in a process of its own and at another time. One alone is cut into
            five, which know nothing of what differs from process to process.
        settings: with which all were measured.
        model_sha256: of the model's file.
        others: as `cnntk.benchmark.statistics.system_load.SystemLoad` has it.
        session_seconds: for how long each was to measure.

    Raises:
        ValueError: there are fewer than 10 runs in all, or a session without any.
    """
    values = np.concatenate([trace.latencies_ms for trace in sessions])
    if len(values) < _LEAST_RUNS:
        raise ValueError(f"a case needs {_LEAST_RUNS} runs or more, got {len(values)}")
    parts = [trace.latencies_ms for trace in sessions]
    if len(parts) == 1:
        parts = np.array_split(values, _PARTS)
    return Case(
        settings=dict(settings),
        model_sha256=model_sha256,
        runs=len(values),
        median_ms=quantile_estimate(values, 0.5),
        mean_ms=mean_estimate(values),
        percentiles_ms={f"{p:g}": found for p, found in percentiles(values, (90, 99, 99.9)).items()},
        others=others,
        sessions=tuple(tuple(block_medians(part).round(_DIGITS).tolist()) for part in parts),
        session_seconds=session_seconds,
    )


def _estimate(data: Mapping[str, Any]) -> Estimate:
    return Estimate(*(float(data[end]) for end in ("value", "low", "high")))


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError(f"expected text, got {value!r}")
    return value
