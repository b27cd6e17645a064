"""Results of a benchmark."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import ClassVar

from cnntk.benchmark.cold_start import ColdStart
from cnntk.benchmark.compare import Comparison
from cnntk.benchmark.cuda.report import CudaTimes
from cnntk.benchmark.latency import Case, Latency
from cnntk.benchmark.layers.report import LayerReport
from cnntk.benchmark.machine import Machine
from cnntk.benchmark.memory import Memory
from cnntk.benchmark.regression import BaselineComparison
from cnntk.benchmark.stages import Stages
from cnntk.benchmark.sweep import Sweep
from cnntk.benchmark.targets import Target

__all__ = ["SCHEMA", "BenchResult", "ComparisonResult"]

SCHEMA = "cnntk-bench/1"
"""Schema of the JSON document that docs/bench-json.md describes; the number increases when a field changes
its meaning or is removed."""


@dataclass(frozen=True)
class ComparisonResult:
    """The model compared with a target, their runs interleaved.

    Attributes:
        target: What the model is compared with, and whether its outputs are the same.
        comparison: Time of a run of the target (first) and of the model (second): over 1, the model is
            faster. None if the target is not available.
    """

    target: Target
    comparison: Comparison | None


@dataclass(frozen=True)
class BenchResult:
    """Everything that a benchmark measured; None or empty for what was not requested.

    Attributes:
        model: Path of the model's file.
        name: Name of the model.
        sha256: SHA-256 of the file.
        size_bytes: Size of the file and its external data.
        created: Time of the benchmark, ISO 8601 in UTC.
        machine: Machine that ran it.
        latency: Latency of a run.
        cold_start: Time from the start of a process to the first output.
        memory: Memory of a process with the model.
        cuda: Time of the GPU apart from the host's; None on another device.
        layers: Time of each layer.
        sweep: Latency and throughput by batch size and threads.
        stages: Time of each step from image file to label.
        against: Comparisons with other runtimes or models.
        cases: Latency in several processes, as a baseline stores it, by name.
        baseline: Comparison with a baseline.
        saved: File that the baseline was written to; None if it was not, and a note says why.
        notes: Remarks: measurements that were not possible, and why; unusual inputs or outputs.
    """

    JSON_PROPERTIES: ClassVar = ("schema",)

    model: str
    name: str
    sha256: str
    size_bytes: int
    created: str
    machine: Machine
    latency: Latency
    cold_start: ColdStart | None = None
    memory: Memory | None = None
    cuda: CudaTimes | None = None
    layers: LayerReport | None = None
    sweep: Sweep | None = None
    stages: Stages | None = None
    against: tuple[ComparisonResult, ...] = ()
    cases: Mapping[str, Case] = field(default_factory=dict)
    baseline: BaselineComparison | None = None
    saved: str | None = None
    notes: tuple[str, ...] = ()

    @property
    def schema(self) -> str:
        """Version of the JSON document: ``cnntk-bench/1``."""
        return SCHEMA

    @property
    def regressed(self) -> bool:
        """Whether the model is slower than the baseline by more than ``fail_above``, in two measurements."""
        return self.baseline is not None and any(case.regressed for case in self.baseline.cases)
