"""`layer_times`: what each layer of the user's network costs, and how far it is from the machine's limits."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import ClassVar

from cnntk.benchmark.layers._attribution import attribute_nodes
from cnntk.benchmark.layers._profile import NodeTimes, measure_nodes
from cnntk.benchmark.layers.roofline import (
    PEAK_TOLERANCE,
    Limit,
    Peaks,
    layer_work,
    layers_from_graph,
    machine_peaks,
    roofline_limit,
)
from cnntk.benchmark.statistics.findings import interference
from cnntk.benchmark.statistics.system_load import read_counters
from cnntk.benchmark.workload import Workload
from cnntk.runtime.sections import (
    Chart,
    Column,
    Section,
    Table,
    TableCell,
    first_names,
    number,
    percent,
    size_text,
    threads_text,
)  # fmt: skip

__all__ = ["LayerReport", "LayerTime", "layer_times"]

_SUM_TOLERANCE = 0.05
"""Relative difference between the rows' sum and a run without profiler, above which it is reported."""

_HIGH_OVERHEAD = 0.25
"""Share of a run that the profiler adds, above which it is reported."""

_MIN_OVERHEADS = 10
"""A layer of so many times the profiler's overhead is timed well enough to refute a peak."""

_MAX_OPS = 3
"""Number of operators of a layer that a table shows."""


@dataclass(frozen=True)
class LayerTime:
    """The cost of one layer.

    Attributes:
        name: Name of the torch module; the node's in a file that cnntk did not write; ``preprocess``;
            ``softmax``; ``reordering between A and B`` or ``conversion between A and B`` for what onnxruntime
            or quantization inserted; ``call`` for what comes before and after all nodes.
        op_type: ONNX operator of the layer; ``preprocess``, ``reordering``, ``conversion`` or ``call``.
        executed_ops: Operators that ran for it.
        fused: Names of other layers that ran as part of it.
        time_ms: Time per run in milliseconds, without what the profiler added: the mean over the faster half
            of the runs in the quieter half of the rounds, which is as robust as a median, finer than the
            profiler's whole microseconds, and adds up.
        share: Share of the sum of all rows, 0 to 1.
        multiply_adds: Number of multiply-adds per run, for all images of the batch.
        bytes: Bytes that it reads and writes per run, including weights.
        dtype: Data type that it multiplies, ``float32`` or ``int8``; empty if it multiplies none.
        limit: What limits it; None if that is not known.
        limit_fraction: Time at the limit divided by its time: 1 is at the limit; None without such a time.
    """

    name: str
    op_type: str
    executed_ops: tuple[str, ...]
    fused: tuple[str, ...]
    time_ms: float
    share: float
    multiply_adds: int
    bytes: int
    dtype: str
    limit: Limit | None
    limit_fraction: float | None

    JSON_PROPERTIES: ClassVar = ("gmacs_per_s", "gb_per_s")

    @property
    def gmacs_per_s(self) -> float | None:
        """Multiply-adds in 10^9 per second; None if it multiplies none."""
        return self._rate(self.multiply_adds)

    @property
    def gb_per_s(self) -> float | None:
        """Traffic to memory or cache in 10^9 bytes per second; None if it moves none."""
        return self._rate(self.bytes)

    def _rate(self, amount: int) -> float | None:
        return amount / self.time_ms / 1e6 if amount and self.time_ms else None


@dataclass(frozen=True)
class LayerReport:
    """The cost of a model's layers.

    Attributes:
        model: Path of the file.
        device: Device that ran it.
        threads: Number of CPU threads.
        batch: Number of images per run.
        rows: Layers in the order in which they ran, the call last.
        run_ms: Time of a run without profiler in milliseconds, interleaved and averaged like the others.
        runs: Number of runs under the profiler that count.
        profiler_us: Mean time that the profiler added to each node in microseconds, already subtracted.
        peaks: Peaks of the machine; None if another device than the CPU ran the model.
        findings: Sentences on what to know about these figures.
    """

    model: str
    device: str
    threads: int
    batch: int
    rows: tuple[LayerTime, ...]
    run_ms: float
    runs: int
    profiler_us: float
    peaks: Peaks | None
    findings: tuple[str, ...] = ()

    JSON_PROPERTIES: ClassVar = ("sum_ms", "unaccounted_share", "multiply_adds")

    @property
    def sum_ms(self) -> float:
        """Sum of all rows in milliseconds."""
        return sum(row.time_ms for row in self.rows)

    @property
    def unaccounted_share(self) -> float:
        """Share of a run without profiler that the rows leave out; negative if they exceed it."""
        return 1 - self.sum_ms / self.run_ms

    @property
    def balance(self) -> str:
        """The rows' sum in words: ``13.9 % more than a run without profiler``."""
        share = self.unaccounted_share
        return f"{abs(share) * 100:.1f} % {'more' if share < 0 else 'less'} than a run without profiler"

    @property
    def multiply_adds(self) -> int:
        """Number of multiply-adds per run, for all images of the batch."""
        return sum(row.multiply_adds for row in self.rows)

    def sections(self) -> tuple[Section, ...]:
        """The time of each layer and its distance to the machine's limits, for text and pages."""
        columns = (
            Column("layer"),
            Column("ran as", wrap=True, optional=True),
            Column("ms", "decimal"),
            Column("share", "right"),
            Column("MMAC", "right"),
            Column("GMAC/s", "right"),
            Column("MB", "right", optional=True),
            Column("GB/s", "right"),
            Column("type", optional=True),
            Column("of the limit"),
        )
        lines = [("sum", f"{number(self.sum_ms)} ms, {self.balance}, {number(self.run_ms)} ms")]
        if self.peaks is not None:
            lines.append(("limits", _limits(self.peaks)))
        method = (
            f"Batch {self.batch} on {threads_text(self.threads)}; {self.runs:,} runs under the profiler. The "
            f"{number(self.profiler_us)} us that it adds to each node are subtracted. MMAC: million "
            "multiply-adds."
        )
        return (
            Section(
                "Layers",
                self._headline(),
                method,
                tuple(lines),
                (Table(columns, tuple(_table_row(row) for row in self.rows)),),
                (
                    Chart("layers", "layers", self._headline(), self),
                    Chart("roofline", "roofline", self._roofline_headline(), self),
                ),
                self.findings,
            ),
        )

    def _headline(self) -> str:
        """The layer that takes most of the time."""
        first = max(self.rows, key=lambda row: row.time_ms, default=None)
        if first is None:
            return "No layer was measured"
        limit = "" if first.limit_fraction is None else f", at {percent(first.limit_fraction)} of its limit"
        return f"{first.name} takes {percent(first.share)} of a run{limit}"

    def _roofline_headline(self) -> str:
        """How near their limits the layers run that have one, weighted by time."""
        rows = [row for row in self.rows if row.limit_fraction is not None]
        time_ms = sum(row.time_ms for row in rows)
        if not time_ms:
            return "No layer has a known limit"
        near = sum(row.time_ms * (row.limit_fraction or 0.0) for row in rows) / time_ms
        return f"Layers with a known limit run at {percent(near)} of it"


def _table_row(row: LayerTime) -> tuple[str | TableCell, ...]:
    fused = f", with {', '.join(row.fused)}" if row.fused else ""
    limit = "" if row.limit_fraction is None else f"{row.limit_fraction:.0%} {row.limit}"
    return (
        TableCell(row.name, f"{row.name}{fused}"),
        TableCell(first_names(row.executed_ops, _MAX_OPS) or row.op_type, ", ".join(row.executed_ops)),
        number(row.time_ms),
        f"{row.share:.1%}",
        f"{row.multiply_adds / 1e6:,.2f}" if row.multiply_adds else "",
        "" if row.gmacs_per_s is None else number(row.gmacs_per_s),
        f"{row.bytes / 1e6:,.2f}" if row.bytes else "",
        "" if row.gb_per_s is None else number(row.gb_per_s),
        row.dtype,
        limit or row.limit or "",
    )


def _limits(peaks: Peaks) -> str:
    cache = f"; largest cache {size_text(peaks.cache_bytes)}" if peaks.cache_bytes else ""
    return (
        f"{peaks.float32_gmacs:.0f} GMAC/s in float32, {peaks.int8_gmacs:.0f} in int8, "
        f"{peaks.memory_gb_s:.0f} GB/s from memory, measured on {threads_text(peaks.threads)}{cache}"
    )


def layer_times(workload: Workload, *, peaks: Peaks | None = None) -> LayerReport:
    """Times each layer of a model in onnxruntime's profiler, interleaved with runs without it.

    Args:
        workload: Model to measure, with one image per run by default; at least four rounds of two runs.
        peaks: Peaks of the machine; by default from `machine_peaks`, which measures them once, and once more
            if a layer was faster.

    Raises:
        UsageError: An input has no size to try.
        MissingDependency: onnx is not installed.
        CnntkError: The model can't be loaded or run there.
    """
    before = read_counters()
    times, batch = measure_nodes(workload), workload.batch or 1
    disturbed = interference(before, read_counters())
    limits = (peaks or machine_peaks(times.loaded.threads)) if times.device == "cpu" else None
    report = LayerReport(
        model=os.fspath(workload.model),
        device=times.device,
        threads=times.loaded.threads,
        batch=batch,
        rows=_rows(times, batch, limits),
        run_ms=times.run_us / 1e3,
        runs=times.runs,
        profiler_us=times.profiler_us,
        peaks=limits,
    )
    if peaks is None and _rows_above_peak(report):
        limits = machine_peaks(times.loaded.threads, remeasure=True)
        report = replace(report, rows=_rows(times, batch, limits), peaks=limits)
    return replace(report, findings=(*_findings(report, times), *disturbed))


def _rows_above_peak(report: LayerReport) -> list[LayerTime]:
    """Layers that were faster than at the peak: the machine can do more than was measured."""
    min_ms = _MIN_OVERHEADS * report.profiler_us / 1e3
    return [
        row
        for row in report.rows
        if (row.limit_fraction or 0.0) > 1 + PEAK_TOLERANCE and row.time_ms > min_ms
    ]


def _rows(times: NodeTimes, batch: int, peaks: Peaks | None) -> tuple[LayerTime, ...]:
    spec = times.loaded.spec
    layers = (spec.layers if spec is not None else ()) or layers_from_graph(times.original)
    rows = attribute_nodes(layers, times.nodes, times.original)
    works = [layer_work(row, layers, times, batch) for row in rows]
    model_bytes = sum(work.weight_bytes for work in works)
    row_ms = [max(0.0, float(times.nodes_us[[*row.nodes]].sum())) / 1e3 for row in rows]
    call_ms = times.call_us / 1e3
    sum_ms = sum(row_ms) + call_ms
    results = []
    for row, work, time_ms in zip(rows, works, row_ms, strict=True):
        no_limit = None, None
        limit, fraction = no_limit if peaks is None else roofline_limit(work, time_ms, model_bytes, peaks)
        others = dict.fromkeys(layers[i].name for i in row.layers[1:])
        results.append(
            LayerTime(
                name=row.name,
                op_type=row.op_type,
                executed_ops=row.executed_ops,
                fused=tuple(name for name in others if name != row.name),
                time_ms=time_ms,
                share=time_ms / sum_ms,
                multiply_adds=work.multiply_adds,
                bytes=work.weight_bytes + work.data_bytes,
                dtype=work.dtype,
                limit=limit,
                limit_fraction=fraction,
            )
        )
    call = LayerTime("call", "call", (), (), call_ms, call_ms / sum_ms, 0, 0, "", None, None)
    return (*results, call)


def _findings(report: LayerReport, times: NodeTimes) -> Iterator[str]:
    nodes = len(times.nodes)
    overhead = report.profiler_us * nodes / 1e3 / report.run_ms
    short_nodes = overhead > _HIGH_OVERHEAD
    if abs(report.unaccounted_share) > _SUM_TOLERANCE:
        cause = "try a quiet machine, or more seconds"
        if short_nodes:
            cause = "its nodes are short compared with the profiler's overhead"
        yield (
            f"the layers add up to {report.sum_ms:.3g} ms, {report.balance} ({report.run_ms:.3g} ms); {cause}"
        )
    if short_nodes:
        each = f"each of {nodes:,} nodes" if nodes > 1 else "its one node"
        yield (
            f"the profiler adds {report.profiler_us:.1f} us to {each}, {overhead:.0%} of a run; it is "
            "subtracted, and the times of small layers are rough"
        )
    if report.peaks is None:
        yield f"on {report.device} the times are those in which the host launches the work"
    if not times.optimized.nodes:
        yield "onnxruntime's optimized graph is not available for this file, so rows have the nodes' names"
    if fast := _rows_above_peak(report):
        names = ", ".join(row.name for row in fast)
        yield f"{names}: faster than the machine's peak, which was measured while the machine was slower"
