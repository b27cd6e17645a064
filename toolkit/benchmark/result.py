"""Results of a benchmark."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
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
from cnntk.benchmark.statistics.findings import Finding
from cnntk.benchmark.sweep import Sweep
from cnntk.benchmark.targets import Target
from cnntk.runtime.codec import NOT_IN_JSON
from cnntk.runtime.notebook import summary_html
from cnntk.runtime.sections import (
    Chart,
    Column,
    Header,
    Highlight,
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
    times_text,
)  # fmt: skip

__all__ = ["SCHEMA", "BenchResult", "ComparisonResult"]

SCHEMA = "cnntk-bench/1"
"""Schema of the JSON document that docs/bench-json.md describes; the number increases when a field changes
its meaning or is removed."""


_TOLERATED_CORES = 0.25
"""Part of a core that other processes may take from the model's threads before the latency is withheld."""

_TOLERATED_DRIFT = 0.15
"""Relative distance of the levels of a latency from which it is withheld; also that of slowed sessions."""


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
        digests: Embedded digest of an artifact, and of the one that it was quantized from; else the SHA-256.
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
    digests: tuple[str, ...] = field(default=(), metadata=NOT_IN_JSON)
    notes: tuple[str, ...] = ()

    @property
    def schema(self) -> str:
        """Version of the JSON document: ``cnntk-bench/1``."""
        return SCHEMA

    @property
    def regressed(self) -> bool:
        """Whether the model is slower than the baseline by more than ``fail_above``, in two measurements."""
        return self.baseline is not None and any(case.regressed for case in self.baseline.cases)

    @property
    def disturbed(self) -> tuple[str, ...]:
        """What disturbed the latency so that it is not the model's; empty on a quiet machine."""
        latency = self.latency
        unsteady = () if latency.warm_up.steady else (latency.warm_up.reason,)
        messages = (finding.message for finding in latency.findings if self._disturbs(finding))
        return (*unsteady, *messages)

    def _disturbs(self, finding: Finding) -> bool:
        """Whether the median may not be the model's; other processes matter where they lack cores."""
        if finding.kind == "other_processes" and finding.share is not None and self.latency.device == "cpu":
            free = self.machine.cores * (1 - finding.share)
            return free < self.latency.threads - _TOLERATED_CORES
        if finding.kind == "not_steady" and finding.share is not None:
            return finding.share > _TOLERATED_DRIFT
        return finding.kind in ("not_steady", "slower_clock", "other_processes", "steal", "throttled")

    def header(self) -> Header:
        """What the page of the result, and the text, begin with."""
        latency = self.latency
        batch = f", batch {latency.batch}" if latency.batch > 1 else ""
        rate = f"{number(latency.images_per_second.value)} images/s"
        verdict = f"{latency.typical_text}, {rate} on average; {latency.where}{batch}"
        tone: Tone = ""
        highlights = self._highlights(batch)
        if self.disturbed:
            verdict = f"Not reliable, the machine was disturbed: {'; '.join(self.disturbed)}. Measure again."
            tone, highlights = "bad", ()
        machine = f"{self.machine.cpu}, {self.machine.cores_text}, onnxruntime {self.machine.onnxruntime}"
        return Header(
            self.name,
            "Bench report",
            verdict,
            tone,
            highlights,
            f"{self.model} ({size_text(self.size_bytes)}), measured at {self.created} on {machine}",
            model=self.model,
            digests=self.digests,
            machine=self.machine.summary,
        )

    def _repr_html_(self) -> str:
        """The head of its page, for notebooks."""
        return summary_html(self.header())

    def _highlights(self, batch: str) -> tuple[Highlight, ...]:
        latency = self.latency
        rate = latency.images_per_second
        first = Highlight(
            f"{number(latency.mean_ms.value)} ms",
            "A run on average",
            f"The mean of {latency.runs:,} runs on {latency.where}{batch}.",
        )
        if median := latency.percentiles_ms.get("50"):
            meaning = f"Half of {latency.runs:,} runs on {latency.where}{batch} took at most this."
            first = Highlight(f"{number(median.value)} ms", "A typical run (median)", meaning)
        known = [(p, e) for p, e in latency.percentiles_ms.items() if e is not None and p != "50"]
        last = Highlight(size_text(self.size_bytes), "File", "What an app downloads and loads.")
        if known:
            percent_text, estimate = known[-1]
            meaning = f"{percent_text} % of the runs took at most this (p{percent_text})."
            last = Highlight(f"{number(estimate.value)} ms", "A slow run", meaning)
        meaning = "One run after the other, from the mean time of a run."
        return first, Highlight(f"{number(rate.value)}", "Images per second", meaning), last

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
        if self.disturbed:
            sections = [_withheld(s) if s.title in ("Latency", "Layers") else s for s in sections]
        if self.against:
            sections.append(_comparison(self.name, self.against))
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
        headline = f"{size_text(self.size_bytes)}, measured at {self.created}"
        return Section("File", headline, lines=lines, folded=True, shown_in="page")


def _withheld(section: Section) -> Section:
    """A section of a disturbed machine, without its headline and the layers under the machine's roofs."""
    charts = tuple(
        replace(chart, title=chart.name.replace("-", " ").capitalize())
        for chart in section.charts
        if chart.kind != "roofline"
    )
    return replace(section, headline="measured on a disturbed machine", charts=charts)


def _comparison(model: str, against: Sequence[ComparisonResult]) -> Section:
    """The model beside its targets, for text and pages."""
    columns = (
        Column("target"),
        Column(f"{shorten(model, 24)} is"),
        Column("95 % interval", interval=True),
        Column("target, ms", "decimal"),
        Column(f"{shorten(model, 24)}, ms", "decimal"),
        Column("pairs", "right", optional=True),
    )
    measured = [(r.target.name, r.comparison) for r in against if r.comparison is not None]
    parts = [f"{_speed(c)[0]}{_THAN[c.verdict]} {shorten(name, 40)}" for name, c in measured]
    headline = f"{model} is {'; '.join(parts)}" if parts else "No target could be measured"
    values = tuple((name, _value(comparison), _TONES[comparison.verdict]) for name, comparison in measured)
    unit = f"speed of {shorten(model, 24)}, multiple of the target's, log scale"
    intervals = Intervals(unit, 1.0, values, log=True)
    return Section(
        "Comparison",
        headline,
        "Timed in turns, on the same inputs and number of threads; the ratio is the median over the pairs.",
        tables=(Table(columns, tuple(map(_row, against))),),
        charts=(Chart("against", "intervals", headline, intervals),),
        notes=tuple(_notes(against)),
    )


_THAN = {"faster": " than", "slower": " than", "no difference": " to"}
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
        c = result.comparison
        interference = () if c is None else c.interference
        times = "" if c is None else times_text(c.ratio, c.second_ms, c.first_ms)
        ratio = "" if times[:1].isdigit() else times
        if text := "; ".join(filter(None, (result.target.note, ratio, *interference))):
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
