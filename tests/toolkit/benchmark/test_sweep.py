from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from made_up_bench import sweep as example_sweep

from cnntk.benchmark import _inputs
from cnntk.benchmark import sweep as sweep_module
from cnntk.benchmark.interleaved import TimedBlock
from cnntk.benchmark.statistics.intervals import Estimate
from cnntk.benchmark.sweep import _cell, measure_sweep
from cnntk.benchmark.workload import Workload
from cnntk.runtime.errors import UsageError
from cnntk.runtime.session.cores import usable_cores


def test_every_pair_is_a_cell(tiny_onnx: Path) -> None:
    result = measure_sweep(Workload(tiny_onnx, seconds=0.1), batches=(8, 1), threads=(2, 1))
    assert [(cell.batch, cell.threads) for cell in result.cells] == [(1, 1), (1, 2), (8, 1), (8, 2)]
    assert result.rounds == 6
    for cell in result.cells:
        assert 0 < cell.latency_ms.low <= cell.latency_ms.value <= cell.latency_ms.high
        assert cell.images_per_second == pytest.approx(1e3 * cell.batch / cell.latency_ms.value)
        assert cell.speed_up.low <= cell.speed_up.value <= cell.speed_up.high
        assert cell.efficiency == cell.speed_up.value / cell.threads
        assert (cell.verdict is None) == (cell.threads == 1)
    one = result.cells[0]
    assert one.speed_up == Estimate(1, 1, 1)
    best = max(result.cells, key=lambda cell: cell.images_per_second)
    assert result.highest_throughput.batch == best.batch
    assert not best.clearly_faster_than(result.highest_throughput)


def test_no_speed_up_where_one_thread_was_not_measured(tiny_onnx: Path) -> None:
    (cell,) = measure_sweep(Workload(tiny_onnx, seconds=0.1), batches=(1,), threads=(2,)).cells
    assert cell.speed_up is cell.verdict is cell.efficiency is None


@pytest.mark.parametrize(
    ("ratio", "verdict"), [(1.8, "faster"), (1.0, "no difference"), (1.015, "no difference"), (0.7, "slower")]
)
def test_a_speed_up_is_that_of_rounds(ratio: float, verdict: str) -> None:
    """Weather that is alike in a round widens the interval of the latency, and not that of the speed-up."""
    rng = np.random.default_rng(0)
    weather = np.exp(rng.normal(0, 0.3, 40))
    noise = np.exp(rng.normal(0, 0.003, (2, 40)))
    alone, together = weather * noise[0], weather * noise[1] / ratio
    cell = _cell((1, 2), {(1, 1): list(alone), (1, 2): list(together)})
    assert cell.speed_up.low < ratio < cell.speed_up.high
    assert cell.speed_up.high - cell.speed_up.low < 0.01 * ratio
    assert cell.latency_ms.high - cell.latency_ms.low > 0.1 * cell.latency_ms.value
    assert cell.verdict == verdict
    shuffled = _cell((1, 2), {(1, 1): list(rng.permutation(alone)), (1, 2): list(together)})
    assert shuffled.speed_up.high - shuffled.speed_up.low > 0.1 * ratio


def test_the_engine_may_choose_its_threads(tiny_onnx: Path) -> None:
    (cell,) = measure_sweep(Workload(tiny_onnx, seconds=0.1), batches=(1,)).cells
    assert cell.threads >= 1


def test_more_threads_than_cores_are_reported(tiny_onnx: Path) -> None:
    many = usable_cores() + 1
    result = measure_sweep(Workload(tiny_onnx, seconds=0.1), batches=(1,), threads=(1, many))
    message = f"{many} threads share the {usable_cores()} cores available to this process"
    assert message in result.notes
    one = measure_sweep(Workload(tiny_onnx, seconds=0.1), batches=(1,), threads=(1,))
    assert not any("threads share" in note for note in one.notes)


def test_a_fixed_batch_is_the_only_one(batch_of_3: Path) -> None:
    assert [
        cell.batch
        for cell in measure_sweep(Workload(batch_of_3, seconds=0.1), batches=(3,), threads=(1,)).cells
    ] == [3]
    with pytest.raises(UsageError, match="the batch size is fixed at 3, not 1"):
        measure_sweep(Workload(batch_of_3), batches=(1, 8))


@pytest.mark.parametrize("wrong", [{"batches": (0,)}, {"threads": (0,)}, {"threads": (1, -1)}])
def test_nothing_to_measure(tiny_onnx: Path, wrong: dict) -> None:
    with pytest.raises(UsageError, match="must be positive numbers"):
        measure_sweep(Workload(tiny_onnx), **wrong)


def test_threads_are_for_the_cpu(tiny_onnx: Path) -> None:
    with pytest.raises(UsageError, match="leave them out on device 'cuda'"):
        measure_sweep(Workload(tiny_onnx, "cuda"), threads=(1, 2))


def test_the_fewest_threads_that_are_not_distinguished() -> None:
    """Beside one thread by the verdict; among others by their speed-ups, else by their latencies."""
    alike = example_sweep((1, 1, 4.0), (1, 2, 2.0), (1, 4, 1.95), (8, 1, 40.0))
    assert (alike.lowest_latency.batch, alike.lowest_latency.threads) == (1, 2)
    assert alike.highest_throughput.threads == 2
    assert example_sweep((1, 1, 4.0), (1, 2, 2.0), (1, 4, 1.0)).lowest_latency.threads == 4
    assert example_sweep((1, 2, 2.0), (1, 4, 1.95)).lowest_latency.threads == 2
    assert example_sweep((1, 2, 2.0), (1, 4, 1.0)).lowest_latency.threads == 4


def test_slow_runs_are_not_settled(tiny_onnx: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settled: list[bool] = []
    real = sweep_module.timed_block

    def counted(call: Callable[[], object], *, seconds: float, settle_s: float) -> TimedBlock:
        settled.append(settle_s > 0)
        return real(call, seconds=seconds, settle_s=min(settle_s, 0.001))

    monkeypatch.setattr(sweep_module, "timed_block", counted)
    monkeypatch.setattr(_inputs, "SLOW_S", 0)
    assert measure_sweep(Workload(tiny_onnx, seconds=0.01), batches=(1,), threads=(1,)).rounds == 6
    assert sum(settled) == 1
    monkeypatch.setattr(_inputs, "SLOW_S", 60)
    settled.clear()
    measure_sweep(Workload(tiny_onnx, seconds=0.01), batches=(1,), threads=(1,))
    assert sum(settled) == 6
