"""`compare_interleaved`: whether the second of two calls is faster, slower, or not visibly different.

Blocks of both are timed in turns. On two noisy cores the times of successive blocks were correlated over some
30 pairs, and the ratios of the pairs not at all: pairing removes the interference, and the interval holds.

The whole duration is used. Stopping as soon as a difference shows would find one where there is none, the
more often the longer one looks (Armitage, McPherson and Rowe, J. R. Stat. Soc. A 132 (1969) 235).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import ClassVar, Literal

import numpy as np
from numpy.typing import ArrayLike

from cnntk.benchmark.interleaved import Interleaver, timed_block
from cnntk.benchmark.statistics.findings import interference
from cnntk.benchmark.statistics.intervals import median_estimate
from cnntk.benchmark.statistics.system_load import read_counters

__all__ = ["MIN_PAIRS", "Comparison", "SpeedVerdict", "compare_interleaved"]

SpeedVerdict = Literal["faster", "slower", "no difference"]

MIN_PAIRS = 6
"""Number of pairs from which on a median has a 95 % confidence interval."""

_BLOCK_S, _MIN_BLOCK_RUNS, _MIN_SETTLING_RUNS = 0.01, 5, 2

_EQUIVALENT = 0.02
"""Ratios within 2 % of 1 are no difference: where memory happens to lie makes two loadings of a model differ.

Of 20 pairs of engines on one LeNet the second was 0.7 % faster on average, and 2.3 % at most. Mytkowicz et
al., Producing wrong data without doing anything obviously wrong, ASPLOS 2009. Without this margin a model
compared with itself would be called different one time in 20, by the definition of a 95 % interval.
"""


@dataclass(frozen=True)
class Comparison:
    """Speed of a second call relative to a first one.

    Attributes:
        ratio: Median over the pairs of the first call's time divided by the second's: 2 if the second takes
            half as long.
        low: Lower end of the 95 % confidence interval of ``ratio``.
        high: Upper end of that interval.
        first_ms: Median time of the first call in milliseconds.
        second_ms: Median time of the second call in milliseconds.
        pairs: Number of pairs of blocks.
        interference: Sentences on what else used the machine; pairing removes most of it from the ratio.
    """

    ratio: float
    low: float
    high: float
    first_ms: float
    second_ms: float
    pairs: int
    interference: tuple[str, ...] = ()

    JSON_PROPERTIES: ClassVar = ("differs", "verdict")

    @property
    def differs(self) -> bool:
        """Whether the interval excludes 1."""
        return not self.low <= 1 <= self.high

    @property
    def verdict(self) -> SpeedVerdict:
        """The second call's speed in words: faster or slower only if all of the interval is, by over 2 %."""
        if self.low > 1 + _EQUIVALENT:
            return "faster"
        return "slower" if self.high < 1 / (1 + _EQUIVALENT) else "no difference"

    @classmethod
    def from_pairs(cls, times_ms: ArrayLike) -> Comparison:
        """Compares times in milliseconds, (2, pairs): of the first call and of the second, in turns."""
        times = np.asarray(times_ms, dtype=np.float64)
        log_ratio = median_estimate(np.log(times[0] / times[1]))
        ratio, low, high = (math.exp(log) for log in (log_ratio.value, log_ratio.low, log_ratio.high))
        first_ms, second_ms = np.median(times, axis=1).tolist()
        return cls(ratio, low, high, first_ms, second_ms, times.shape[1])


def compare_interleaved(
    first: Callable[[], object],
    second: Callable[[], object],
    *,
    seconds: float = 10.0,
    min_pairs: int = MIN_PAIRS,
    progress: Callable[[float], object] | None = None,
) -> Comparison:
    """Times blocks of two calls in turns and compares them pair by pair.

    The first runs of a block do not count, because the other call's threads are still spinning.

    Args:
        first: Call to compare with.
        second: Call that is judged.
        seconds: Duration in seconds, all of which is used.
        min_pairs: Number of pairs at least, however long they take.
        progress: Callback that receives the elapsed share of the duration, 0 to 1, after each pair.

    Raises:
        ValueError: The duration or the number of pairs is not positive.
    """
    if not 0 < seconds < math.inf or min_pairs < 1:
        raise ValueError(f"seconds must be positive and min_pairs 1 or more, got {seconds} and {min_pairs}")
    before = read_counters()
    turns = {"first": partial(_block_ms, first), "second": partial(_block_ms, second)}
    for turn in turns.values():
        turn()
    times_ms = Interleaver(seconds, min_pairs, progress=progress).run(turns)
    comparison = Comparison.from_pairs([times_ms["first"], times_ms["second"]])
    return replace(comparison, interference=interference(before, read_counters()))


def _block_ms(call: Callable[[], object]) -> float:
    block = timed_block(
        call, seconds=_BLOCK_S, min_runs=_MIN_BLOCK_RUNS, min_settling_runs=_MIN_SETTLING_RUNS
    )
    return block.samples.median_ms
