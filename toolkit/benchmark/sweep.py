"""Latency and throughput by batch and threads, all of them under the same weather."""

from __future__ import annotations

import functools
import os
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from cnntk.benchmark.compare import Comparison, SpeedVerdict
from cnntk.benchmark.inputs import batch_inputs, runs_on
from cnntk.benchmark.interleaved import SETTLE_S, Interleaver, timed_block
from cnntk.benchmark.patience import is_slow
from cnntk.benchmark.statistics.findings import interference
from cnntk.benchmark.statistics.intervals import median_interval
from cnntk.benchmark.statistics.system_load import read_counters
from cnntk.runtime.engine import Engine
from cnntk.runtime.errors import UsageError
from cnntk.runtime.session.cores import usable_cores

__all__ = ["Cell", "Sweep", "sweep"]

_MEASURE_S, _ROUNDS = 0.02, 6
"""Seconds of a block, and rounds at least: of fewer blocks there is no interval of 95 %."""


@dataclass(frozen=True)
class Cell:
    """One batch on one number of threads.

    Attributes:
        batch: images a run.
        threads: of the engine.
        latency_ms: of a run: median over blocks of their medians.
        low_ms: lower end of its 95 % confidence interval.
        high_ms: upper end.
        images_per_second: batch by latency.
        speed_up: time with one thread by time with these, at this batch: median over the rounds. None where
            one thread was not measured.
        speed_up_low: lower end of its 95 % confidence interval.
        speed_up_high: upper end.
        verdict: on these threads beside one, as `cnntk.benchmark.compare` words it; None for one thread.
        efficiency: speed-up by threads; 1 where each thread does as much as one alone.
    """

    batch: int
    threads: int
    latency_ms: float
    low_ms: float
    high_ms: float
    images_per_second: float
    speed_up: float | None
    speed_up_low: float | None
    speed_up_high: float | None
    verdict: SpeedVerdict | None
    efficiency: float | None

    def told_apart(self, other: Cell) -> bool:
        """Whether it is surely faster than another of its batch: by the verdict beside one thread, else by
        the intervals of the speed-ups, which are of rounds, or of the latencies where there are none."""
        if other.threads == 1 and self.verdict is not None:
            return self.verdict == "faster"
        if self.speed_up_low is not None and other.speed_up_high is not None:
            return self.speed_up_low > other.speed_up_high
        return self.high_ms < other.low_ms


@dataclass(frozen=True)
class Sweep:
    """What a sweep measured.

    Attributes:
        cells: by batch, then by threads.
        device: that ran it.
        rounds: in which all cells were measured, in another order each time.
        notes: what to know about the figures.
    """

    cells: tuple[Cell, ...]
    device: str
    rounds: int
    notes: tuple[str, ...]

    @property
    def fastest(self) -> Cell:
        """The cell with the most images a second; of those on fewer threads that are not told apart from it
        at its batch, the one with the fewest."""
        return self._fewest(max(self.cells, key=lambda cell: cell.images_per_second))

    @property
    def quickest(self) -> Cell:
        """Likewise, the one whose runs are the shortest."""
        return self._fewest(min(self.cells, key=lambda cell: cell.latency_ms))

    def _fewest(self, best: Cell) -> Cell:
        alike = (cell for cell in self.cells if cell.batch == best.batch and not best.told_apart(cell))
        return min((best, *alike), key=lambda cell: cell.threads)

    def to_json(self) -> dict[str, Any]:
        """As JSON data."""
        return asdict(self)


_Key = tuple[int, int]


def sweep(
    model: str | os.PathLike[str],
    *,
    batches: Sequence[int] = (1, 8, 32),
    threads: Sequence[int | None] = (1, 2),
    device: str = "cpu",
    seconds: float = 6.0,
) -> Sweep:
    """Measures each batch with each number of threads, in rounds, so that a slow minute meets all of them.

    Args:
        model: an ``.onnx`` file.
        batches: images a run.
        threads: on the CPU; None for `Engine`'s own choice, the only one elsewhere.
        device: as `Engine` takes it.
        seconds: for all of it; at least 6 rounds, which may take longer.

    Raises:
        UsageError: there is nothing to measure, or a batch or a number of threads can't be.
    """
    _check(batches, threads, device, seconds)
    engines = [Engine(model, device, threads=count) for count in dict.fromkeys(threads)]
    calls: dict[_Key, Callable[[], object]] = {
        (batch, engine.threads): runs_on(engine, batch_inputs(engine, batch))
        for batch in sorted(set(batches))
        for engine in engines
    }
    before = read_counters()
    blocks_ms = _rounds(calls, seconds)
    disturbed = interference(before, read_counters())
    cells = tuple(_cell(key, blocks_ms) for key in sorted(calls))
    rounds = len(next(iter(blocks_ms.values())))
    return Sweep(cells, engines[0].device, rounds, (*_notes(engines), *disturbed))


def _check(batches: Sequence[int], threads: Sequence[int | None], device: str, seconds: float) -> None:
    numbers = [*batches, *(count for count in threads if count is not None)]
    if not batches or not threads or any(n < 1 for n in numbers) or not 0 < seconds < float("inf"):
        raise UsageError(
            f"batches {list(batches)}, threads {list(threads)}, seconds {seconds:g}: must be positive numbers"
        )
    if device != "cpu" and list(threads) != [None]:
        raise UsageError(f"threads {list(threads)}: are for the CPU; leave them out on device {device!r}")


def _rounds(calls: dict[_Key, Callable[[], object]], seconds: float) -> dict[_Key, list[float]]:
    """Median of each block in ms, by cell; a block a round, the order drawn anew each time, but seeded."""
    latest_ms: dict[_Key, float] = {}

    def block_ms(key: _Key) -> float:
        # What a slow run meets in its first moments weighs little.
        settle_s = 0.0 if is_slow(latest_ms.get(key, 0.0) / 1e3) else SETTLE_S
        block = timed_block(calls[key], seconds=_MEASURE_S, settle_s=settle_s)
        latest_ms[key] = block.samples.median_ms
        return latest_ms[key]

    return Interleaver(seconds, _ROUNDS).run({key: functools.partial(block_ms, key) for key in calls})


def _cell(key: _Key, blocks_ms: dict[_Key, list[float]]) -> Cell:
    batch, threads = key
    blocks = np.array(blocks_ms[key])
    low, high = median_interval(blocks)
    latency_ms = float(np.median(blocks))
    return Cell(
        batch=batch,
        threads=threads,
        latency_ms=latency_ms,
        low_ms=low,
        high_ms=high,
        images_per_second=1e3 * batch / latency_ms,
        **_speed_up(blocks_ms.get((batch, 1)), blocks_ms[key], threads),
    )


def _speed_up(alone_ms: list[float] | None, blocks_ms: list[float], threads: int) -> dict[str, Any]:
    """The fields of a cell that compare it with one thread, round by round."""
    if alone_ms is None:
        return dict.fromkeys(("speed_up", "speed_up_low", "speed_up_high", "verdict", "efficiency"))
    faced = Comparison.from_pairs([alone_ms, blocks_ms])
    return {
        "speed_up": faced.ratio,
        "speed_up_low": faced.low,
        "speed_up_high": faced.high,
        "verdict": faced.verdict if threads > 1 else None,
        "efficiency": faced.ratio / threads,
    }


def _notes(engines: Sequence[Engine]) -> tuple[str, ...]:
    cores = usable_cores()
    most = max(engine.threads for engine in engines)
    if engines[0].device != "cpu" or most <= cores:
        return ()
    return (f"{most} threads share the {cores} cores that this process may use",)
