"""What a bench measured."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from cnntk.benchmark.case import Case
from cnntk.benchmark.cold_start import StartUp
from cnntk.benchmark.compare import Comparison
from cnntk.benchmark.cuda.report import CudaTimes
from cnntk.benchmark.latency import Latency
from cnntk.benchmark.layers.report import LayerReport
from cnntk.benchmark.machine import Machine
from cnntk.benchmark.memory import Memory
from cnntk.benchmark.opponent import Opponent
from cnntk.benchmark.scenarios import ScenarioResult
from cnntk.benchmark.stages import Stages
from cnntk.benchmark.sweep import Sweep
from cnntk.runtime.codec import as_json

__all__ = ["SCHEMA", "BenchResult", "Rivalry"]

SCHEMA = "cnntk-bench/1"
"""Of the JSON document; docs/bench-json.md describes it. A field that changes its meaning gives it another
number."""


@dataclass(frozen=True)
class Rivalry:
    """The model and another, measured in turns.

    Attributes:
        opponent: who, and whether it answers the same.
        comparison: of the other's time with the model's: over 1, the model is faster; None where the other
            can't be had.
    """

    opponent: Opponent
    comparison: Comparison | None

    def to_json(self) -> dict[str, Any]:
        """As JSON data."""
        return {
            "opponent": self.opponent.to_json(),
            "comparison": self.comparison and as_json(self.comparison),
        }


@dataclass(frozen=True)
class BenchResult:
    """What a bench measured; None and empty for what was not asked for.

    Attributes:
        model: file.
        name: of the model.
        sha256: of the file.
        size_bytes: of the file, and of the data beside it.
        made: when, ISO 8601 in UTC.
        machine: where.
        latency: of a run.
        start_up: time to the first answer.
        memory: of a process with the model.
        cuda: the GPU's time apart from the host's; None where another device was measured.
        layers: time layer by layer.
        sweep: over batches and threads.
        stages: from file to label.
        against: others, each beside the model.
        scenarios: MLPerf's.
        cases: what a baseline keeps, by name.
        notes: what could not be measured, and why.
    """

    model: str
    name: str
    sha256: str
    size_bytes: int
    made: str
    machine: Machine
    latency: Latency
    start_up: StartUp | None = None
    memory: Memory | None = None
    cuda: CudaTimes | None = None
    layers: LayerReport | None = None
    sweep: Sweep | None = None
    stages: Stages | None = None
    against: tuple[Rivalry, ...] = ()
    scenarios: tuple[ScenarioResult, ...] = ()
    cases: Mapping[str, Case] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """As JSON data."""
        parts = ("start_up", "memory", "cuda", "layers", "sweep", "stages")
        found = {name: getattr(self, name) for name in parts}
        return {
            "schema": SCHEMA,
            "model": {
                "file": self.model,
                "name": self.name,
                "sha256": self.sha256,
                "size_bytes": self.size_bytes,
            },
            "made": self.made,
            "machine": self.machine.to_json(),
            "latency": self.latency.to_json(),
            **{name: part and part.to_json() for name, part in found.items()},
            "against": [rivalry.to_json() for rivalry in self.against],
            "scenarios": [scenario.to_json() for scenario in self.scenarios],
            "cases": {name: case.to_json() for name, case in self.cases.items()},
            "notes": list(self.notes),
        }
