"""Latency and throughput by batch size and number of threads, all measured in the same rounds."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from cnntk.benchmark._inputs import batch_inputs, choose_batch, engine_call, is_slow
from cnntk.benchmark.compare import Comparison, SpeedVerdict
from cnntk.benchmark.interleaved import SETTLE_S, Interleaver, timed_block
from cnntk.benchmark.statistics.findings import interference
from cnntk.benchmark.statistics.intervals import Estimate, median_estimate
from cnntk.benchmark.statistics.system_load import read_counters
from cnntk.benchmark.workload import Workload
from cnntk.runtime.engine import Engine
from cnntk.runtime.errors import UsageError
from cnntk.runtime.sections import (
    Chart,
    Column,
    Curves,
    Section,
    Table,
    Value,
    interval,
    number,
    percent,
    threads_text,
)  # fmt: skip
from cnntk.runtime.session.cores import usable_cores

__all__ = ["Sweep", "SweepCell", "measure_sweep"]

_MEASURE_S, _MIN_ROUNDS = 0.02, 6
"""Seconds of a measured block, and least number of rounds: fewer blocks have no 95 % interval."""


@dataclass(frozen=True)
class SweepCell:
    """One batch size on one number of threads.

    Attributes:
        batch: Images per run.
        threads: Threads of the engine.
        latency_ms: Time of a run: the median over blocks of their medians.
        images_per_second: ``batch`` divided by the latency.
        speed_up: Time with one thread divided by the time with these, at this batch size: the median over the
            rounds. None if one thread was not measured.
        verdict: Result of comparing these threads with one thread, as `cnntk.benchmark.compare` defines it;
            None for one thread.
        efficiency: Speed-up divided by threads: 1 means that each thread does as much as one alone.
    """

    batch: int
    threads: int
    latency_ms: Estimate
    images_per_second: float
    speed_up: Estimate | None = None
    verdict: SpeedVerdict | None = None
    efficiency: float | None = None

    def clearly_faster_than(self, other: SweepCell) -> bool:
        """Whether the 95 % intervals show that it is faster than another cell of its batch size.

        Compares with one thread by the verdict, else by the intervals of the speed-ups, which are taken round
        by round, and without speed-ups by the intervals of the latencies.
        """
        if other.threads == 1 and self.verdict is not None:
            return self.verdict == "faster"
        if self.speed_up is not None and other.speed_up is not None:
            return self.speed_up.low > other.speed_up.high
        return self.latency_ms.high < other.latency_ms.low


@dataclass(frozen=True)
class Sweep:
    """Latency and throughput by batch size and number of threads.

    Attributes:
        cells: Measurements, ordered by batch size, then by threads.
        device: Device that ran the model.
        rounds: Number of rounds; each measures all cells, in another order each time.
        notes: Remarks about the figures, a sentence each.
    """

    cells: tuple[SweepCell, ...]
    device: str
    rounds: int
    notes: tuple[str, ...]

    @property
    def highest_throughput(self) -> SweepCell:
        """The cell with the most images per second, or one at its batch size with fewer threads that is not
        clearly slower."""
        return self._with_fewest_threads(max(self.cells, key=lambda cell: cell.images_per_second))

    @property
    def lowest_latency(self) -> SweepCell:
        """The cell with the shortest runs, or one at its batch size with fewer threads that is not clearly
        slower."""
        return self._with_fewest_threads(min(self.cells, key=lambda cell: cell.latency_ms.value))

    def _with_fewest_threads(self, best: SweepCell) -> SweepCell:
        equals = (
            cell for cell in self.cells if cell.batch == best.batch and not best.clearly_faster_than(cell)
        )
        return min((best, *equals), key=lambda cell: cell.threads)

    def sections(self) -> tuple[Section, ...]:
        """Latency and throughput of each cell, for text and pages."""
        best, quickest = self.highest_throughput, self.lowest_latency
        most = best.images_per_second == max(cell.images_per_second for cell in self.cells)
        least = quickest.latency_ms.value == min(cell.latency_ms.value for cell in self.cells)
        throughput = _best(best, f"{number(best.images_per_second)} images/s", "at most", most)
        latency = _best(quickest, f"{number(quickest.latency_ms.value)} ms a run", "at least", least)
        columns = (
            Column("batch", "right"),
            Column("threads", "right"),
            Column("ms", "decimal"),
            Column("95 % interval", interval=True),
            Column("images/s", "decimal"),
            Column("speed-up"),
            Column("efficiency", "right", optional=True),
        )
        method = (
            f"Measured in {self.rounds} interleaved rounds on {self.device}; the bars are 95 % intervals. "
            "Speed-ups over one thread are medians over the rounds, not ratios of the medians in the table."
        )
        charts = (
            Chart("sweep-throughput", "curves", throughput, self._curves(_throughput, "images/s")),
            Chart("sweep-latency", "curves", latency, self._curves(_latency, "ms a run")),
        )
        table = Table(columns, tuple(_row(cell) for cell in self.cells))
        return (Section("Batches and threads", throughput, method, (), (table,), charts, notes=self.notes),)

    def _curves(self, value: Callable[[SweepCell], Value], unit: str) -> Curves:
        """A line for each number of threads; for each batch where there is only one."""
        by_batch = len({cell.batch for cell in self.cells}) > 1
        lines: dict[str, list[tuple[float, Value]]] = {}
        for cell in self.cells:
            name = threads_text(cell.threads) if by_batch else f"batch {cell.batch}"
            lines.setdefault(name, []).append((cell.batch if by_batch else cell.threads, value(cell)))
        title = "images a run" if by_batch else "threads"
        return Curves(title, unit, tuple((name, tuple(points)) for name, points in lines.items()))


def _row(cell: SweepCell) -> tuple[str, ...]:
    return (
        str(cell.batch),
        str(cell.threads),
        number(cell.latency_ms.value),
        interval(cell.latency_ms),
        number(cell.images_per_second),
        _speed_up_text(cell),
        "" if cell.efficiency is None else percent(cell.efficiency),
    )


def _speed_up_text(cell: SweepCell) -> str:
    """The speed-up with its interval, which one thread does not have."""
    if cell.speed_up is None or cell.verdict == "no difference":
        return cell.verdict or ""
    if cell.verdict is None:
        return f"{cell.speed_up.value:.2f}"
    return f"{cell.speed_up.value:.2f} ({cell.speed_up.low:.2f} to {cell.speed_up.high:.2f})"


def _best(cell: SweepCell, figure: str, extreme: str, alone: bool) -> str:
    """No extreme is named where more threads were a little better, without a clear difference."""
    where = f"batch {cell.batch} on {threads_text(cell.threads)}"
    return f"{figure} {extreme}: {where}" if alone else f"{figure}: {where}; more make no clear difference"


def _hint(cell: SweepCell) -> str:
    rate = f"{number(cell.images_per_second)} images/s"
    return f"batch {cell.batch}, {threads_text(cell.threads)}: {number(cell.latency_ms.value)} ms, {rate}"


def _throughput(cell: SweepCell) -> Value:
    latency, images_ms = cell.latency_ms, 1e3 * cell.batch
    return Value(cell.images_per_second, images_ms / latency.high, images_ms / latency.low, _hint(cell))


def _latency(cell: SweepCell) -> Value:
    return Value(cell.latency_ms.value, cell.latency_ms.low, cell.latency_ms.high, _hint(cell))


_Key = tuple[int, int]
"""Batch size and threads."""


def measure_sweep(workload: Workload, *, batches: Sequence[int] = (), threads: Sequence[int] = ()) -> Sweep:
    """Measures each batch size with each number of threads, in rounds, so that a slow minute affects all.

    Args:
        workload: Model to measure. Its time is for all cells together; at least 6 rounds are run, which may
            take longer.
        batches: Images per run; by default the workload's alone.
        threads: Numbers of CPU threads; by default the workload's alone, the only choice on another device.

    Raises:
        UsageError: A number is not positive or not possible for the model.
    """
    if any(count < 1 for count in (*batches, *threads)):
        raise UsageError(f"batches {list(batches)}, threads {list(threads)}: must be positive numbers")
    if workload.device != "cpu" and threads:
        raise UsageError(
            f"threads {list(threads)}: threads apply to the CPU; leave them out on device {workload.device!r}"
        )
    engines = [replace(workload, threads=n).engine() for n in dict.fromkeys(threads or (workload.threads,))]
    calls: dict[_Key, Callable[[], object]] = {
        (batch, engine.threads): engine_call(engine, batch_inputs(engine, batch, workload.sizes))
        for batch in sorted(set(batches or (choose_batch(engines[0], workload.batch),)))
        for engine in engines
    }
    before = read_counters()
    blocks_ms = _measure_rounds(calls, workload.seconds)
    disturbance = interference(before, read_counters())
    cells = tuple(_cell(key, blocks_ms) for key in sorted(calls))
    rounds = len(next(iter(blocks_ms.values())))
    return Sweep(cells, engines[0].device, rounds, (*_notes(engines), *disturbance))


def _measure_rounds(calls: Mapping[_Key, Callable[[], object]], seconds: float) -> dict[_Key, list[float]]:
    """Median of each block in ms, one block per cell and round."""
    latest_ms: dict[_Key, float] = {}

    def block_ms(key: _Key) -> float:
        # In a slow run, the first moments beside another cell's idle threads weigh little.
        settle_s = 0.0 if is_slow(latest_ms.get(key, 0.0) / 1e3) else SETTLE_S
        block = timed_block(calls[key], seconds=_MEASURE_S, settle_s=settle_s)
        latest_ms[key] = block.samples.median_ms
        return latest_ms[key]

    turns = {key: functools.partial(block_ms, key) for key in calls}
    return Interleaver(seconds, _MIN_ROUNDS).run(turns)


def _cell(key: _Key, blocks_ms: Mapping[_Key, Sequence[float]]) -> SweepCell:
    batch, threads = key
    latency_ms = median_estimate(np.array(blocks_ms[key]))
    cell = SweepCell(batch, threads, latency_ms, 1e3 * batch / latency_ms.value)
    one_thread_ms = blocks_ms.get((batch, 1))
    if one_thread_ms is None:
        return cell
    comparison = Comparison.from_pairs([one_thread_ms, blocks_ms[key]])
    return replace(
        cell,
        speed_up=Estimate(comparison.ratio, comparison.low, comparison.high),
        verdict=comparison.verdict if threads > 1 else None,
        efficiency=comparison.ratio / threads,
    )


def _notes(engines: Sequence[Engine]) -> tuple[str, ...]:
    cores = usable_cores()
    most = max(engine.threads for engine in engines)
    if engines[0].device != "cpu" or most <= cores:
        return ()
    return (f"{most} threads share the {cores} cores available to this process",)
