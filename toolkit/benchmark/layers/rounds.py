"""Blocks of runs of several calls, in turn, so that a slow moment of the machine meets all of them."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from cnntk.benchmark.layers.profile import Profile
from cnntk.benchmark.statistics.samples import LatencySamples, time_runs

__all__ = ["SETTLE_S", "Block", "Player", "calm_rounds", "faster_half", "play"]

SETTLE_S = 0.06
"""How long onnxruntime's idle threads wait busily at most after a run."""


@dataclass(frozen=True)
class Block:
    """Some runs, one after the other.

    Attributes:
        first: how many runs of the same call there were before.
        trace: of the runs.
    """

    first: int
    trace: LatencySamples

    @property
    def latency_us(self) -> float:
        """Mean of the faster half of the runs: what others on the machine do makes a run only slower."""
        times = self.trace.latencies_ms
        return float(times[faster_half(times)].mean()) * 1e3

    def durations_us(self, profile: Profile) -> NDArray[np.float64]:
        """Of each node (nodes,), as the profiler states them, in the same runs."""
        runs = profile.durations_us[self.first : self.first + len(self.trace)]
        return np.asarray(runs[faster_half(self.trace.latencies_ms)].mean(axis=0))


@dataclass
class Player:
    """A call that takes its turns.

    Attributes:
        call: what is timed.
        seconds: of a block, at least two runs.
        most: runs of a block, at most.
        settle_s: how long to wait before a block, for the threads of others to come to rest.
        blocks: that were played.
    """

    call: Callable[[], object]
    seconds: float
    most: int
    settle_s: float = 0.0
    blocks: list[Block] = field(default_factory=list)
    _made: int = 0

    def play(self) -> None:
        """Waits, runs at least once for nothing, and times a block."""
        time.sleep(self.settle_s)
        self._made += len(time_runs(self.call, seconds=self.seconds / 8, min_runs=1, max_runs=self.most))
        trace = time_runs(self.call, seconds=self.seconds, min_runs=2, max_runs=self.most)
        self.blocks.append(Block(self._made, trace))
        self._made += len(trace)


def play(players: Sequence[Player], *, seconds: float, at_least: int, at_most: int) -> None:
    """Gives each a block in turn, every other round in the other order.

    Args:
        players: who play.
        seconds: for how long; a round that has begun is ended.
        at_least: rounds, however long they take.
        at_most: rounds.
    """
    end = time.perf_counter() + seconds
    rounds = 0
    while (time.perf_counter() < end or rounds < at_least) and rounds < at_most:
        for player in players if rounds % 2 else reversed(players):
            player.play()
        rounds += 1


def calm_rounds(players: Sequence[Player]) -> NDArray[np.intp]:
    """The quieter half of the rounds: where all together were fastest, each by its own usual time."""
    times = np.array([[block.latency_us for block in player.blocks] for player in players])
    return faster_half((times / np.median(times, axis=1, keepdims=True)).sum(axis=0))


def faster_half(values: NDArray[np.float64]) -> NDArray[np.intp]:
    """Positions of the smaller half of ``values`` (N,)."""
    return np.argsort(values)[: (len(values) + 1) // 2]
