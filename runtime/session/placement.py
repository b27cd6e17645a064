"""Where the nodes of a model ran, as onnxruntime itself says."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from cnntk.runtime.session.session_factory import LoadedModel

__all__ = ["Placement", "ProviderShare", "measure_placement", "run_profiled"]

_RUNS = 5


@dataclass(frozen=True)
class ProviderShare:
    """One of onnxruntime's providers.

    Attributes:
        provider: like ``CUDAExecutionProvider``.
        nodes: of the optimized graph that were given to it.
        share: of the time that all nodes took, 0 to 1.
    """

    provider: str
    nodes: int
    share: float


@dataclass(frozen=True)
class Placement:
    """Which provider ran what; those with the most time first."""

    providers: tuple[ProviderShare, ...]

    def of(self, provider: str) -> ProviderShare:
        """The row of one provider; with nothing in it where the provider ran nothing."""
        return next(
            (row for row in self.providers if row.provider == provider), ProviderShare(provider, 0, 0.0)
        )

    def to_json(self) -> dict[str, Any]:
        """As JSON data."""
        return asdict(self)


def measure_placement(open_profiled: Callable[[str], LoadedModel], inputs: dict[str, Any]) -> Placement:
    """Runs a model a few times under onnxruntime's profiler.

    Args:
        open_profiled: opens the model; takes the beginning of the profile's path.
        inputs: for a run.
    """
    # One more: the first run's allocations would count as the nodes' time, and `_times` leaves it out.
    session, events = run_profiled(open_profiled, inputs, 1 + _RUNS)
    assigned: list[Any] = list(getattr(session, "get_provider_graph_assignment_info", list)())
    times = _times(events)
    counts = Counter(part.ep_name for part in assigned for _ in part.get_nodes()) or _counts(events)
    total = sum(times.values()) or 1
    rows = (ProviderShare(p, counts[p], times[p] / total) for p in {**counts, **times})
    return Placement(tuple(sorted(rows, key=lambda row: (-row.share, row.provider))))


def run_profiled(
    open_profiled: Callable[[str], LoadedModel], inputs: dict[str, Any], runs: int
) -> tuple[Any, list[dict[str, Any]]]:
    """A session after some runs under onnxruntime's profiler, and the events that it wrote down."""
    with TemporaryDirectory(prefix="cnntk-") as folder:
        session = open_profiled(str(Path(folder) / "profile")).session
        for _ in range(runs):
            session.run(None, inputs)
        text = Path(session.end_profiling()).read_text(encoding="utf-8", errors="replace")
    return session, json.loads(text)


def _kernels(events: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [
        e
        for e in events
        if e.get("cat") == "Node" and e["name"].endswith("_kernel_time") and "provider" in e["args"]
    ]


def _times(events: list[dict[str, Any]]) -> Counter[str]:
    """Microseconds by provider, of all but the first run."""
    times: Counter[str] = Counter()
    seen: set[str] = set()
    for event in _kernels(events):
        if event["name"] in seen:
            times[event["args"]["provider"]] += event["dur"]
        seen.add(event["name"])
    return times


def _counts(events: list[dict[str, Any]]) -> Counter[str]:
    """Nodes by provider, for an onnxruntime that tells them nowhere else."""
    return Counter(provider for _, provider in {(e["name"], e["args"]["provider"]) for e in _kernels(events)})
