"""Results of a benchmark."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
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
from cnntk.runtime.sections import (
    Chart,
    Column,
    Header,
    Intervals,
    Section,
    Table,
    TableCell,
    Tone,
    Value,
    interval,
    number,
    shorten,
    size_text,
)  # fmt: skip

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

    def header(self) -> Header:
        """What the page of the result begins with."""
        latency = self.latency
        batch = f", batch {latency.batch}" if latency.batch > 1 else ""
        rate = f"{number(latency.images_per_second.value)} images/s"
        percentiles = ((f"p{p}", e.value) for p, e in latency.percentiles_ms.items() if e is not None)
        figures = [(f"{number(value)} ms", name) for name, value in percentiles]
        figures.append((number(latency.images_per_second.value), "images/s, on average"))
        if self.cold_start is not None:
            figures.append((f"{number(self.cold_start.total_ms)} ms", "cold start"))
        if self.memory is not None:
            figures.append((size_text(self.memory.peak_bytes), "peak memory"))
        figures.append((size_text(self.size_bytes), "file"))
        machine = f"{self.machine.cpu}, {self.machine.cores_text}, onnxruntime {self.machine.onnxruntime}"
        return Header(
            self.name,
            "bench report",
            f"{latency.typical_text}, {rate} on average; {latency.where}{batch}",
            figures=tuple(figures),
            note=f"{self.model} ({size_text(self.size_bytes)}), measured at {self.created} on {machine}",
        )

    def sections(self) -> tuple[Section, ...]:
        """What was measured, part by part, for text and pages."""
        parts = (
            self.latency,
            self.baseline,
            self.cold_start,
            self.memory,
            self.cuda,
            self.layers,
            self.sweep,
            self.stages,
        )
        sections = [section for part in parts if part is not None for section in part.sections()]
        if self.against:
            sections.append(_comparison(self.against))
        notes = (Section("Notes", notes=self.notes),) if self.notes else ()
        return (*self._interference(), *sections, *notes, *self.machine.sections(), self._file())

    def _interference(self) -> tuple[Section, ...]:
        warm_up = self.latency.warm_up
        unsteady = () if warm_up.steady else (warm_up.reason,)
        notes = (*unsteady, *(finding.message for finding in self.latency.findings))
        return (Section("Interference", notes=notes, tone="bad"),) if notes else ()

    def _file(self) -> Section:
        lines = (
            ("file", self.model),
            ("size", f"{self.size_bytes:,} bytes"),
            ("SHA-256", self.sha256),
            *((f"baseline: {name}", _case(case)) for name, case in self.cases.items()),
        )
        return Section("File", lines=lines, half=True, shown_in="page")


def _comparison(against: Sequence[ComparisonResult]) -> Section:
    """The model beside its targets, for text and pages."""
    columns = (
        Column("target"),
        Column("the model is"),
        Column("95 % interval", interval=True),
        Column("target, ms", "decimal"),
        Column("model, ms", "decimal"),
        Column("pairs", "right", optional=True),
    )
    measured = [(r.target.name, r.comparison) for r in against if r.comparison is not None]
    words = {"faster": "faster than", "slower": "slower than", "no difference": "no difference to"}
    parts = [f"{words[c.verdict]} {shorten(name, 40)}" for name, c in measured]
    headline = "; ".join(parts) or "no target could be measured"
    headline = headline[0].upper() + headline[1:]
    values = tuple((name, _value(comparison), _TONES[comparison.verdict]) for name, comparison in measured)
    intervals = Intervals("speed of the model, multiple of the target's, log scale", 1.0, values, log=True)
    return Section(
        "Comparison",
        headline,
        "Timed in turns with the model, on the same inputs and number of threads.",
        tables=(Table(columns, tuple(map(_row, against))),),
        charts=(Chart("against", "intervals", headline, intervals),),
        notes=tuple(_notes(against)),
    )


_TONES: dict[str, Tone] = {"faster": "good", "slower": "bad", "no difference": ""}


def _row(result: ComparisonResult) -> tuple[str | TableCell, ...]:
    name, comparison = result.target.name, result.comparison
    if comparison is None:
        return TableCell(name, name), "not measured", "", "", "", ""
    verdict, ends = _speed(comparison)
    return (
        TableCell(name, name),
        TableCell(verdict, tone=_TONES[comparison.verdict]),
        ends,
        number(comparison.first_ms),
        number(comparison.second_ms),
        f"{comparison.pairs:,}",
    )


def _notes(against: Sequence[ComparisonResult]) -> Iterator[str]:
    for result in against:
        interference = () if result.comparison is None else result.comparison.interference
        if text := "; ".join(filter(None, (result.target.note, *interference))):
            yield f"{result.target.name}: {text}"


def _speed(comparison: Comparison) -> tuple[str, str]:
    """``1.93x faster`` or ``1.23x slower``, and the interval of that factor."""
    if comparison.verdict == "no difference":
        return comparison.verdict, interval(comparison)
    low, high, factor = comparison.low, comparison.high, comparison.ratio
    if comparison.verdict == "slower":
        low, high, factor = 1 / high, 1 / low, 1 / factor
    return f"{number(factor)}x {comparison.verdict}", f"{number(low)} to {number(high)}"


def _value(comparison: Comparison) -> Value:
    verdict, ends = _speed(comparison)
    return Value(comparison.ratio, comparison.low, comparison.high, f"{verdict} ({ends})")


def _case(case: Case) -> str:
    tail = "".join(
        f", p{percent} {number(estimate.value)} ms"
        for percent, estimate in case.percentiles_ms.items()
        if estimate is not None
    )
    median, mean = case.median_ms, number(case.mean_ms.value)
    runs = f"{case.runs:,} runs in {len(case.sessions)} sessions"
    return f"median {number(median.value)} ms ({interval(median)}), mean {mean} ms{tail}; {runs}"
