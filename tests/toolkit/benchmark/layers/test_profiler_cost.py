from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from cnntk.benchmark.layers.profiler_cost import LENGTH, Calibration, Cost
from cnntk.benchmark.layers.rounds import Block, play
from cnntk.benchmark.statistics.samples import LatencySamples


def test_each_further_tensor_costs() -> None:
    cost = Cost(call_us=5, event_us=2, tensor_us=0.25)
    assert [cost.of(tensors) for tensors in (2, 3, 6)] == [2, 2.25, 3]


@pytest.fixture(scope="module")
def calibration(tmp_path_factory: pytest.TempPathFactory) -> Calibration:
    found = Calibration(tmp_path_factory.mktemp("profiles"), 1)
    play(found.players, seconds=0.01, at_least=4, at_most=4)
    found.end()
    return found


def test_no_node_was_optimized_away(calibration: Calibration) -> None:
    counts = {name: len(profile.nodes) for name, profile in calibration.profiles.items()}
    assert counts == {"profiled 2": LENGTH, "profiled 4": LENGTH}
    for name, profile in calibration.profiles.items():
        assert {node.tensors for node in profile.nodes} == {int(name[-1])}


def test_the_profiler_costs_something(calibration: Calibration) -> None:
    costs = [calibration.cost(i) for i in range(4)]
    assert np.median([cost.event_us for cost in costs]) > 0.1
    assert min(cost.call_us for cost in costs) >= 0


def test_by_arithmetic(tmp_path: Path) -> None:
    """A call of 5 us and nodes of 1 us; the profiler states 3 us for 2 tensors and 4 us for 4."""
    found = Calibration(tmp_path, 1)
    play(found.players, seconds=1e-9, at_least=1, at_most=1)
    found.end()
    one_plain_profiled_plain_profiled = (6, 5 + LENGTH, 99, 5 + LENGTH, 99)
    for microseconds, player in zip(one_plain_profiled_plain_profiled, found.players, strict=True):
        player.blocks[0] = Block(
            player.blocks[0].first, LatencySamples(np.zeros(2), np.full(2, microseconds / 1e3))
        )
    for tensors, stated in ((2, 3), (4, 4)):
        found.profiles[f"profiled {tensors}"].durations_us[:] = stated
    cost = found.cost(0)
    assert cost.call_us == pytest.approx(5)
    assert cost.event_us == pytest.approx(2)
    assert cost.tensor_us == pytest.approx(0.5)
