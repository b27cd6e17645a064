"""Placement: which onnxruntime provider runs which share of a model."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cnntk.runtime.files import scratch_folder
from cnntk.runtime.session.session_factory import LoadedModel

__all__ = ["Placement", "ProviderShare", "kernel_events", "measure_placement", "run_profiled"]

_RUNS = 5


@dataclass(frozen=True)
class ProviderShare:
    """Share of one onnxruntime provider in the runs of a model.

    Attributes:
        provider: Name of the provider, like ``CUDAExecutionProvider``.
        nodes: Number of nodes of the optimized graph that run there.
        share: Share of the time of all nodes, 0 to 1.
    """

    provider: str
    nodes: int
    share: float


@dataclass(frozen=True)
class Placement:
    """Shares of all providers in the runs of a model, by descending time."""

    providers: tuple[ProviderShare, ...]

    def of(self, provider: str) -> ProviderShare:
        """Returns the share of one provider; zero for a provider that runs no node."""
        return next(
            (row for row in self.providers if row.provider == provider), ProviderShare(provider, 0, 0.0)
        )


def measure_placement(open_profiled: Callable[[str], LoadedModel], inputs: dict[str, Any]) -> Placement:
    """Measures placement by a few runs under onnxruntime's profiler.

    ``open_profiled`` loads the model; its argument is the prefix of the profile's path.
    """
    # One more run: `_times` ignores the first, whose times include memory allocation.
    session, events = run_profiled(open_profiled, inputs, 1 + _RUNS)
    times = _times(events)
    assigned = session.get_provider_graph_assignment_info()
    counts = Counter(part.ep_name for part in assigned for _ in part.get_nodes())
    total = sum(times.values()) or 1
    rows = (ProviderShare(p, counts[p], times[p] / total) for p in {**counts, **times})
    return Placement(tuple(sorted(rows, key=lambda row: (-row.share, row.provider))))


def run_profiled(
    open_profiled: Callable[[str], LoadedModel], inputs: dict[str, Any], runs: int
) -> tuple[Any, list[dict[str, Any]]]:
    """Runs a model under onnxruntime's profiler; returns the session and the recorded events."""
    with scratch_folder() as folder:
        session = open_profiled(str(folder / "profile")).session
        for _ in range(runs):
            session.run(None, inputs)
        text = Path(session.end_profiling()).read_text(encoding="utf-8", errors="replace")
    return session, json.loads(text)


def kernel_events(events: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """The events of a profile that are runs of a node by a provider."""
    return [
        e
        for e in events
        if e.get("cat") == "Node" and e["name"].endswith("_kernel_time") and "provider" in e["args"]
    ]


def _times(events: list[dict[str, Any]]) -> Counter[str]:
    """Returns microseconds by provider, without the first run."""
    times: Counter[str] = Counter()
    seen: set[str] = set()
    for event in kernel_events(events):
        if event["name"] in seen:
            times[event["args"]["provider"]] += event["dur"]
        seen.add(event["name"])
    return times
