"""One bench, whole; what each part measures is tested where it is."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnx
import pytest

from cnntk.benchmark import run
from cnntk.benchmark.baseline import load_baseline
from cnntk.benchmark.options import BenchOptions
from cnntk.benchmark.result import SCHEMA
from cnntk.benchmark.run import bench
from cnntk.benchmark.workload import Workload
from cnntk.runtime.artifact.digest import sha256_of
from cnntk.runtime.codec import as_json
from cnntk.runtime.engine import Engine
from cnntk.runtime.errors import NonFiniteOutput, UsageError
from cnntk.shipped import shipped_model


def test_latency_alone(tiny_onnx: Path) -> None:
    actual = bench(tiny_onnx, seconds=0.2, threads=1, cold_start=False)
    latency = actual.latency
    assert latency.batch == latency.threads == 1
    assert latency.runs == len(latency.samples) > 1000
    assert latency.median_ms.low <= latency.median_ms.value <= latency.median_ms.high
    assert latency.images_per_second.value == pytest.approx(1000 / latency.mean_ms.value)
    assert latency.images_per_second.low <= latency.images_per_second.value <= latency.images_per_second.high
    assert actual.sha256 == sha256_of(tiny_onnx)
    assert actual.size_bytes == tiny_onnx.stat().st_size
    parts = (actual.cold_start, actual.memory, actual.cuda, actual.layers, actual.sweep, actual.stages)
    assert parts == (None,) * 6
    assert actual.against == actual.notes == ()


def test_few_runs_have_no_99th_percentile(tiny_onnx: Path) -> None:
    few = bench(tiny_onnx, seconds=1e-6, cold_start=False).latency
    assert few.runs == 20
    assert {name: actual is None for name, actual in few.percentiles_ms.items()} == {
        "50": False,
        "90": True,
        "99": True,
        "99.9": True,
    }
    many = bench(tiny_onnx, seconds=0.3, cold_start=False).latency
    assert many.percentiles_ms["99"] is not None


def test_all_at_once(tmp_path: Path) -> None:
    messages: list[str] = []
    actual = bench(
        shipped_model(),
        seconds=0.2,
        threads=(1, 2),
        batch=(2, 4),
        layers=True,
        end_to_end=True,
        against=(str(shipped_model()),),
        sessions=2,
        save=tmp_path / "base.json",
        progress=messages.append,
    )
    assert actual.cold_start is not None
    assert [batch for batch, _ in actual.cold_start.next_batches] == [2, 4]
    assert actual.memory is not None
    assert actual.memory.batch == actual.latency.batch == 2
    assert actual.layers is not None
    assert actual.layers.batch == 2
    assert actual.sweep is not None
    assert [(c.batch, c.threads) for c in actual.sweep.cells] == [(2, 1), (2, 2), (4, 1), (4, 2)]
    assert actual.stages is not None
    (comparison,) = actual.against
    assert comparison.target.same_outputs
    assert comparison.comparison is not None
    assert set(actual.cases) == {"latency"}
    assert actual.saved == str(tmp_path / "base.json")
    assert load_baseline(actual.saved).cases == actual.cases
    assert len(messages) == len(set(messages)) == 8


def test_the_document_is_json(tiny_onnx: Path) -> None:
    actual = bench(tiny_onnx, seconds=0.1, layers=True)
    data = json.loads(json.dumps(as_json(actual), allow_nan=False))
    assert data["schema"] == SCHEMA
    assert data["model"] == str(tiny_onnx)
    latency = data["latency"]
    assert latency["quantiles_ms"] == sorted(latency["quantiles_ms"])
    assert latency["quantiles_ms"][50] == pytest.approx(actual.latency.median_ms.value, rel=0.05)
    series = np.array(latency["series"])
    assert series.shape[0] <= 300
    assert (series[:, 1] <= series[:, 2]).all()
    assert (series[:, 2] <= series[:, 3]).all()
    assert (np.diff(series[:, 0]) > 0).all()


def test_auto_is_decided_once(tiny_onnx: Path) -> None:
    actual = bench(tiny_onnx, device="auto", batch=(1, 2), seconds=0.05, cold_start=False)
    assert actual.sweep is not None
    assert actual.sweep.device == actual.latency.device


@pytest.mark.gpu
def test_on_the_gpu() -> None:
    actual = bench(shipped_model(), device="cuda", batch=(1, 8), seconds=0.3, layers=True, end_to_end=True)
    assert actual.sweep is not None
    assert [cell.batch for cell in actual.sweep.cells] == [1, 8]
    assert actual.cuda is not None or any("pip install" in note for note in actual.notes)
    with pytest.raises(UsageError, match="threads: apply to the CPU only; leave them out on device 'cuda:0'"):
        bench(shipped_model(), device="cuda", threads=2, seconds=0.05)


def test_a_fixed_batch_is_the_batch(batch_of_3: Path) -> None:
    assert bench(batch_of_3, seconds=0.05, cold_start=False).latency.batch == 3
    with pytest.raises(UsageError, match="the batch size is fixed at 3, not 2"):
        bench(batch_of_3, batch=2, seconds=0.05)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"batch": 0}, "batch 0: expected different numbers of 1 or more"),
        ({"batch": (1, 1)}, "batch 1, 1"),
        ({"threads": (2, 0)}, "threads 2, 0"),
        ({"threads": (1, 9999)}, "threads=9999"),
        ({"random": True, "against": ("torch",)}, r"\(weights, random\) need --against torch:SOURCE"),
        ({"seconds": 0}, "seconds 0: expected a positive number"),
        ({"seconds": float("nan")}, "seconds nan"),
        ({"against": ("nobody",)}, "nobody"),
        ({"fail_above": 5}, "needs a baseline"),
        ({"fail_above": -1}, "percentage of 0 or more"),
    ],
)
def test_what_makes_no_sense_is_reported(tiny_onnx: Path, wrong: dict[str, object], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        bench(tiny_onnx, **{"cold_start": False, "seconds": 0.01, **wrong})


def test_comparisons_do_not_check_for_nan(tmp_path: Path) -> None:
    model = tmp_path / "nan.onnx"
    graph = "g (float[N,4] x) => (float[N,4] y) { a = Abs(x) b = Neg(a) y = Log(b) }"
    onnx.save(onnx.parser.parse_model(f'<ir_version: 10, opset_import: ["": 18]> {graph}'), model)
    engine = Engine(model)
    with pytest.raises(NonFiniteOutput):
        engine.run({"x": np.ones((1, 4), np.float32)})
    options = BenchOptions(against=(str(model),), seconds=0.01)
    (actual,) = run._against(run._Context(engine, Workload(model), 1, (), options, lambda name: None))
    assert actual.comparison is not None
