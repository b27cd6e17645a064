"""Several calls timed in turns, so that a slow moment of the machine affects all alike.

Whatever compares calls uses it: `cnntk.benchmark.compare`, the sweep, the stages of an image, layers.
"""

from __future__ import annotations

import math
import random
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TypeVar

from cnntk.benchmark.statistics.samples import LatencySamples, time_runs

__all__ = ["SETTLE_S", "Interleaver", "TimedBlock", "timed_block"]

SETTLE_S = 0.06
"""Seconds for which onnxruntime's idle threads at most spin after a run.

A call that is timed right after another session's run shares the cores with them: NiN in int8 took 6 ms
instead of 2.5 ms.
"""

K = TypeVar("K")
T = TypeVar("T")


@dataclass(frozen=True)
class Interleaver:
    """Gives each of several calls one turn per round.

    Two calls swap their order every round. More than two are shuffled, with a fixed seed, so that no call
    always follows the same other one.

    Attributes:
        seconds: Duration in seconds; a round that has begun is completed. 0 for ``min_rounds`` rounds.
        min_rounds: Number of rounds to run at least, however long they take.
        max_rounds: Number of rounds to run at most.
        progress: Callback that receives the elapsed share of the duration, 0 to 1, after each round.
    """

    seconds: float
    min_rounds: int = 1
    max_rounds: float = math.inf
    progress: Callable[[float], object] | None = None

    def run(self, turns: Mapping[K, Callable[[], T]]) -> dict[K, list[T]]:
        """Runs all rounds of calls by name; returns what each call returned, one item per round."""
        results: dict[K, list[T]] = {name: [] for name in turns}
        order, rng = list(turns), random.Random(0)
        end, rounds = time.perf_counter() + self.seconds, 0
        while rounds < self.max_rounds and (rounds < self.min_rounds or time.perf_counter() < end):
            for name in order:
                results[name].append(turns[name]())
            rounds += 1
            if len(order) > 2:
                rng.shuffle(order)
            else:
                order.reverse()
            if self.progress is not None:
                left = (end - time.perf_counter()) / self.seconds if self.seconds else 0.0
                self.progress(min(1.0, 1 - left))
        return results


@dataclass(frozen=True)
class TimedBlock:
    """Consecutive runs of one call, timed in one turn.

    Attributes:
        samples: Latencies of the runs that count.
        settling_runs: Number of runs before them that do not count.
    """

    samples: LatencySamples
    settling_runs: int


def timed_block(
    call: Callable[[], object],
    *,
    seconds: float,
    min_runs: int = 1,
    max_runs: float = math.inf,
    settle_s: float = SETTLE_S,
    min_settling_runs: int = 1,
    wait_s: float = 0.0,
) -> TimedBlock:
    """Times one turn of a call, after runs that do not count.

    Args:
        call: Call to time.
        seconds: Duration of the runs that count, in seconds.
        min_runs: Number of runs that count, at least.
        max_runs: Number of runs at most, of those that count and of those before them.
        settle_s: Duration of the runs before them, in seconds; 0 for none.
        min_settling_runs: Number of runs before them, at least.
        wait_s: Seconds to sleep first, until the threads of other sessions are idle.
    """
    time.sleep(wait_s)
    settling_runs = 0
    if settle_s > 0:
        settling = time_runs(call, seconds=settle_s, min_runs=min_settling_runs, max_runs=max_runs)
        settling_runs = len(settling)
    samples = time_runs(call, seconds=seconds, min_runs=min_runs, max_runs=max_runs)
    return TimedBlock(samples, settling_runs)
