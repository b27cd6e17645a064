"""`layer_times`: what each layer of the user's network costs, and how far it is from the machine's limits."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from cnntk.benchmark.layers.attribution import Share, attributed
from cnntk.benchmark.layers.peaks import Peaks, peaks
from cnntk.benchmark.layers.profiled import NodeTimes, measure_nodes
from cnntk.benchmark.layers.roofline import TOLERANCE as PEAK_TOLERANCE
from cnntk.benchmark.layers.roofline import Bound, Limit, bound_of
from cnntk.benchmark.layers.work import Work, layers_of, work_of
from cnntk.benchmark.statistics.findings import interference
from cnntk.benchmark.statistics.system_load import read_counters

__all__ = ["TOLERANCE", "LayerReport", "LayerRow", "layer_times"]

TOLERANCE = 0.05
"""How far the rows' sum may be from a run without profiler, as a share of it, and nothing be said."""

_MUCH = 0.25
"""What the profiler adds, as a share of a run, from which it is told."""

_CALL = "call"

_PROFILED = 10
"""A layer of so many times what the profiler adds is timed well enough to speak for or against a peak."""


@dataclass(frozen=True)
class LayerRow:
    """What one layer cost.

    Attributes:
        name: torch's; the node's in a file that cnntk did not make; ``preprocess``; ``softmax``;
            ``reordering between A and B`` or ``conversion between A and B`` for what onnxruntime or
            quantizing put in between; ``call`` for what lies before and behind all nodes.
        kind: ONNX operator of the layer; ``preprocess``, ``reordering``, ``conversion`` or ``call``.
        ops: operators that ran for it.
        fused: other layers that ran as part of it.
        time_ms: of a run, without what the profiler added: the mean over the faster half of the runs in the
            quieter half of the rounds, which is as robust as a median, finer than the profiler's whole
            microseconds, and adds up.
        share: of the sum of all rows, 0 to 1.
        multiply_adds: of a run, all images of it.
        bytes: that it reads and writes in a run, weights among them.
        numbers: that it multiplies, ``float32`` or ``int8``; empty where it multiplies none.
        gmacs_per_s: 10^9 multiply-adds a second; None where it multiplies none.
        gb_per_s: 10^9 bytes a second, from memory or cache; None where it moves none.
        limit: what binds it; None where that is not known.
        distance: the time at the limit as a share of its time: 1 is at the limit; None where there is none.
    """

    name: str
    kind: str
    ops: tuple[str, ...]
    fused: tuple[str, ...]
    time_ms: float
    share: float
    multiply_adds: int
    bytes: int
    numbers: str
    gmacs_per_s: float | None
    gb_per_s: float | None
    limit: Limit | None
    distance: float | None


@dataclass(frozen=True)
class LayerReport:
    """What the layers of a model cost.

    Attributes:
        model: file.
        device: that ran it.
        threads: on the CPU.
        batch: images a run.
        rows: in the order in which they ran, the call last.
        run_ms: of a run without profiler, measured in turn with those under it, and taken likewise.
        runs: under the profiler that were counted.
        profiler_us: that the profiler added to each node, on average, and that was subtracted.
        peaks: of the machine; None where it is not the CPU that ran the model.
        findings: what is to be known of these figures, a line each.
    """

    model: str
    device: str
    threads: int
    batch: int
    rows: tuple[LayerRow, ...]
    run_ms: float
    runs: int
    profiler_us: float
    peaks: Peaks | None
    findings: tuple[str, ...] = ()

    @property
    def sum_ms(self) -> float:
        """Of all rows."""
        return sum(row.time_ms for row in self.rows)

    @property
    def unaccounted_share(self) -> float:
        """Of a run without profiler, what the rows leave out; below 0 where they are more than it."""
        return 1 - self.sum_ms / self.run_ms

    @property
    def balance(self) -> str:
        """What the rows' sum is: ``13.9 % more than a run without profiler``."""
        share = self.unaccounted_share
        return f"{abs(share) * 100:.1f} % {'more' if share < 0 else 'less'} than a run without profiler"

    @property
    def multiply_adds(self) -> int:
        """Of a run, all images of it."""
        return sum(row.multiply_adds for row in self.rows)

    def to_json(self) -> dict[str, Any]:
        """As JSON data."""
        own = {"sum_ms": self.sum_ms, "unaccounted_share": self.unaccounted_share}
        return {**asdict(self), **own, "multiply_adds": self.multiply_adds}


def layer_times(
    model: str | os.PathLike[str],
    *,
    threads: int | None = None,
    batch: int = 1,
    device: str = "cpu",
    seconds: float = 3.0,
    limits: Peaks | None = None,
) -> LayerReport:
    """Times each layer of a model in onnxruntime's profiler, in turn with runs without it.

    Args:
        model: an ``.onnx`` file.
        threads: as `Engine` takes them.
        batch: images a run.
        device: as `Engine` takes it.
        seconds: to measure for; at least four rounds of two runs.
        limits: the machine's peaks; by default from `peaks`, which measures them once, and once more where a
            layer was faster.

    Raises:
        UsageError: batch or seconds are not positive, or the model's input has no size to try.
        CnntkError: the model can't be loaded or run there.
    """
    before = read_counters()
    times = measure_nodes(model, threads=threads, batch=batch, device=device, seconds=seconds)
    disturbed = interference(before, read_counters())
    on_cpu = times.device == "cpu"
    known = (limits or peaks(times.opened.threads)) if on_cpu else None
    rows = _rows(times, batch, known)
    if limits is None and _surpassing(rows, times):
        known = peaks(times.opened.threads, again=True)
        rows = _rows(times, batch, known)
    report = LayerReport(
        model=os.fspath(model),
        device=times.device,
        threads=times.opened.threads,
        batch=batch,
        rows=rows,
        run_ms=times.run_us / 1e3,
        runs=times.runs,
        profiler_us=times.profiler_us,
        peaks=known,
    )
    return replace(report, findings=(*_findings(report, times), *disturbed))


def _surpassing(rows: Sequence[LayerRow], times: NodeTimes) -> list[LayerRow]:
    """The layers that were faster than at the peak: the machine can do more than was measured."""
    least_ms = _PROFILED * times.profiler_us / 1e3
    fast = [row for row in rows if row.distance is not None and row.distance > 1 + PEAK_TOLERANCE]
    return [row for row in fast if row.time_ms > least_ms]


def _rows(times: NodeTimes, batch: int, limits: Peaks | None) -> tuple[LayerRow, ...]:
    spec = times.opened.spec
    layers = (spec.layers if spec is not None else ()) or layers_of(times.original)
    shares = attributed(layers, times.nodes, times.original)
    works = [work_of(share, layers, times, batch) for share in shares]
    model_bytes = sum(work.weight_bytes for work in works)
    spent = [max(0.0, float(times.nodes_us[[*share.nodes]].sum())) / 1e3 for share in shares]
    whole = sum(spent) + times.call_us / 1e3
    rows = []
    for share, work, time_ms in zip(shares, works, spent, strict=True):
        bound = Bound(None, None) if limits is None else bound_of(work, time_ms, model_bytes, limits)
        others = dict.fromkeys(layers[i].name for i in share.layers[1:])
        fused = tuple(name for name in others if name != share.name)
        rows.append(_row(share, fused, work, bound, time_ms, time_ms / whole))
    nothing = Work(0, "", 0, 0)
    call = Share(_CALL, _CALL, (), (), ())
    rows.append(_row(call, (), nothing, Bound(None, None), times.call_us / 1e3, times.call_us / 1e3 / whole))
    return tuple(rows)


def _row(
    share: Share, fused: tuple[str, ...], work: Work, bound: Bound, time_ms: float, part: float
) -> LayerRow:
    def rate(amount: int) -> float | None:
        return amount / time_ms / 1e6 if amount and time_ms else None

    moved = work.weight_bytes + work.data_bytes
    return LayerRow(
        name=share.name,
        kind=share.kind,
        ops=share.ops,
        fused=fused,
        time_ms=time_ms,
        share=part,
        multiply_adds=work.multiply_adds,
        bytes=moved,
        numbers=work.numbers,
        gmacs_per_s=rate(work.multiply_adds),
        gb_per_s=rate(moved),
        limit=bound.limit,
        distance=bound.distance,
    )


def _findings(report: LayerReport, times: NodeTimes) -> Iterator[str]:
    nodes = len(times.nodes)
    added = report.profiler_us * nodes / 1e3 / report.run_ms
    short = added > _MUCH
    if abs(report.unaccounted_share) > TOLERANCE:
        yield (
            f"the layers add up to {report.sum_ms:.3g} ms, {report.balance} ({report.run_ms:.3g} ms); "
            f"{'its nodes are short for the profiler' if short else 'try a quiet machine, or more seconds'}"
        )
    if short:
        each = f"each of {nodes:,} nodes" if nodes > 1 else "its one node"
        yield (
            f"the profiler adds {report.profiler_us:.1f} us to {each}, {added:.0%} of a run; "
            "it is subtracted, and what is left of small layers is rough"
        )
    if report.peaks is None:
        yield f"on {report.device} the times are those in which the host hands work over"
    if not times.optimized.nodes:
        yield "onnxruntime's own graph can't be had for this file: nodes stand by their own names"
    if fast := _surpassing(report.rows, times):
        names = ", ".join(row.name for row in fast)
        yield f"{names}: less time than at the machine's peak, which was measured in slower moments"
