"""Turns of calls: their order, their number, their progress."""

import time

import pytest

from cnntk.benchmark.interleaved import Interleaver, timed_block


def test_two_calls_swap_their_order_every_round() -> None:
    order: list[str] = []
    results = Interleaver(0, 4).run(
        {name: lambda name=name: order.append(name) or len(order) for name in "ab"}
    )
    assert "".join(order) == "abbaabba"
    assert results == {"a": [1, 4, 5, 8], "b": [2, 3, 6, 7]}


def test_more_calls_are_shuffled_by_a_fixed_seed() -> None:
    def play() -> list[str]:
        order: list[str] = []
        Interleaver(0, 20).run({name: lambda name=name: order.append(name) for name in "abcd"})
        return order

    order = play()
    rounds = ["".join(order[i : i + 4]) for i in range(0, 80, 4)]
    assert all(sorted(names) == list("abcd") for names in rounds)
    assert len(set(rounds)) > 5
    assert play() == order


def test_rounds_are_limited() -> None:
    assert len(Interleaver(60, 1, 4).run({"a": int})["a"]) == 4
    assert len(Interleaver(1e-9, 3).run({"a": int})["a"]) == 3


def test_all_of_the_duration_is_used() -> None:
    start = time.perf_counter()
    results = Interleaver(0.05).run({"a": lambda: time.sleep(0.001)})
    assert time.perf_counter() - start >= 0.05
    assert len(results["a"]) > 1


def test_progress_after_each_round() -> None:
    shares: list[float] = []
    results = Interleaver(0.05, 2, progress=shares.append).run({"a": lambda: time.sleep(0.01)})
    assert len(shares) == len(results["a"])
    assert shares == sorted(shares)
    assert shares[-1] == 1
    shares.clear()
    Interleaver(0, 2, progress=shares.append).run({"a": int})
    assert shares == [1, 1]


def test_a_block_counts_its_runs() -> None:
    calls: list[int] = []
    block = timed_block(lambda: calls.append(0), seconds=1e-9, min_runs=2, settle_s=1e-9, min_settling_runs=3)
    assert (block.settling_runs, len(block.samples), len(calls)) == (3, 2, 5)
    assert timed_block(int, seconds=1e-9, settle_s=0).settling_runs == 0
    most = timed_block(int, seconds=60, settle_s=60, max_runs=4)
    assert (most.settling_runs, len(most.samples)) == (4, 4)


def test_a_block_waits_first() -> None:
    start = time.perf_counter()
    timed_block(int, seconds=1e-9, settle_s=0, wait_s=0.02)
    assert time.perf_counter() - start >= 0.02


@pytest.mark.parametrize("seconds", [0, -1, float("nan")])
def test_a_block_without_duration(seconds: float) -> None:
    with pytest.raises(ValueError, match="nothing to time"):
        timed_block(int, seconds=seconds)
