from __future__ import annotations

import numpy as np
import pytest

from cnntk.benchmark.layers.profile import Profile
from cnntk.benchmark.layers.rounds import Block, Player, calm_rounds, faster_half, play
from cnntk.benchmark.statistics.samples import LatencySamples


def block(*latencies_ms: float, first: int = 0) -> Block:
    return Block(first, LatencySamples(np.zeros(len(latencies_ms)), np.array(latencies_ms, dtype=np.float64)))


def player(*blocks: Block) -> Player:
    return Player(lambda: None, 0.001, 3, blocks=[*blocks])


def test_each_takes_its_turn() -> None:
    order: list[str] = []
    players = [Player(lambda name=name: order.append(name), 1e-9, 9) for name in "ab"]
    play(players, seconds=1e-6, at_least=2, at_most=9)
    assert "".join(order) == "bbbaaaaaabbb"  # one to warm up, and two
    assert [len(p.blocks) for p in players] == [2, 2]
    assert [b.first for b in players[0].blocks] == [1, 4]


def test_not_more_rounds_than_were_asked_for() -> None:
    one = Player(lambda: None, 1e-6, 3)
    play([one], seconds=60, at_least=1, at_most=4)
    assert len(one.blocks) == 4


def test_a_slow_run_does_not_count() -> None:
    assert block(1, 1, 1, 90).latency_us == pytest.approx(1000)
    assert block(1, 2, 3).latency_us == pytest.approx(1500)


def test_nodes_are_taken_of_the_runs_that_count() -> None:
    durations = np.array([[7.0, 7], [1, 2], [50, 60], [3, 4], [9, 9]])
    found = block(1, 90, 1.5, first=1).durations_us(Profile((), durations))
    np.testing.assert_array_equal(found, [2, 3])


@pytest.mark.parametrize(
    ("values", "positions"), [([3.0, 1, 2], [1, 2]), ([5.0], [0]), ([4.0, 3, 2, 1], [3, 2])]
)
def test_the_faster_half(values: list[float], positions: list[int]) -> None:
    assert faster_half(np.array(values)).tolist() == positions


def test_rounds_that_were_disturbed_are_left_out_whoever_was_hit() -> None:
    long = player(block(100), block(101), block(150), block(100))
    short = player(block(1), block(1.01), block(1), block(3))
    assert sorted(calm_rounds([long, short]).tolist()) == [0, 1]
