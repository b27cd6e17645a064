from pathlib import Path

import numpy as np
import onnx
import onnx.parser
import pytest

from cnntk.benchmark import _inputs
from cnntk.benchmark._inputs import (
    batch_inputs,
    choose_batch,
    engine_call,
    fixed_batch,
    input_notes,
    min_runs,
    open_sizes,
    seeded_inputs,
    session_inputs,
)
from cnntk.benchmark.latency import measure_latency, measure_session
from cnntk.benchmark.workload import Workload
from cnntk.runtime import Engine
from cnntk.runtime.errors import InferenceError, NonFiniteOutput, UsageError
from cnntk.runtime.session.devices import resolve_device
from cnntk.runtime.session.session_factory import SessionSettings, open_session


def test_a_free_batch(tiny_onnx: Path) -> None:
    engine = Engine(tiny_onnx)
    assert fixed_batch(engine) is None
    assert batch_inputs(engine, 5)["input"].shape == (5, 1, 4, 4)


def test_a_fixed_batch(batch_of_3: Path) -> None:
    engine = Engine(batch_of_3)
    assert fixed_batch(engine) == 3
    assert batch_inputs(engine, 3)["input"].shape == (3, 1, 4, 4)


@pytest.mark.parametrize("batch", [1, 8])
def test_no_other_batch_stands_for_the_requested_one(batch_of_3: Path, batch: int) -> None:
    with pytest.raises(UsageError, match=f"batch size is fixed at 3, not {batch}; export with a dynamic one"):
        batch_inputs(Engine(batch_of_3), batch)


def parsed(text: str, file: Path) -> Path:
    """A model, as ONNX text."""
    onnx.save(onnx.parser.parse_model(f'<ir_version: 10, opset_import: ["" : 18]>\n{text}'), file)
    return file


INDEXES = "indexes (int64[N] at) => (float[N] y) <float[2] w = {0, 1}> { y = Gather (w, at) }"
ADDS = "adds (int64[N] x, int64[N] z) => (int64[N] y) { y = Add (x, z) }"
NOT_FINITE = "logs (float[N, 8] x) => (float[N, 8] y) { a = Abs (x) b = Neg (a) y = Log (b) }"


def test_indices_are_zeros_where_noise_does_not_run(tmp_path: Path) -> None:
    engine = Engine(parsed(INDEXES, tmp_path / "indexes.onnx"))
    assert not batch_inputs(engine, 4)["at"].any()
    assert seeded_inputs(engine, 4)["at"].any()
    assert list(input_notes(engine, 4)) == [
        "at: measured with zeros, because the model fails on noise of 0 to 255"
    ]
    opened = open_session(engine.name, resolve_device("cpu"), SessionSettings())
    assert not session_inputs(opened, 4)["at"].any()


def test_integers_are_noise_where_it_runs(tmp_path: Path) -> None:
    engine = Engine(parsed(ADDS, tmp_path / "adds.onnx"))
    assert all(array.any() for array in batch_inputs(engine, 4).values())
    assert list(input_notes(engine, 4)) == []


def test_where_zeros_do_not_run_either_the_error_is_that_of_noise(tmp_path: Path) -> None:
    weights = "<float[2] w = {0, 1}, int64 by = {9}>"
    text = f"far (int64[N] at) => (float[N] y) {weights} {{ b = Add (at, by) y = Gather (w, b) }}"
    engine = Engine(parsed(text, tmp_path / "far.onnx"))
    with pytest.raises(InferenceError, match=r"far\.onnx: onnxruntime failed: .*idx=226"):
        list(input_notes(engine, 1))


def test_answers_that_are_not_finite_are_accepted_and_reported(tmp_path: Path, tiny_onnx: Path) -> None:
    engine = Engine(parsed(NOT_FINITE, tmp_path / "logs.onnx"))
    arrays = batch_inputs(engine, 1)
    with pytest.raises(NonFiniteOutput):
        engine.run(arrays)
    run = engine_call(engine, arrays)
    assert np.isnan(run()["y"]).all()
    assert np.isnan(run()["y"]).all()
    (note,) = input_notes(engine, 1)
    assert note.startswith("y: outputs are not finite")
    assert list(input_notes(Engine(tiny_onnx), 1)) == []


def test_booleans_are_noise(tmp_path: Path) -> None:
    engine = Engine(parsed("turns (bool[N, 9] x) => (bool[N, 9] y) { y = Not (x) }", tmp_path / "turns.onnx"))
    assert set(batch_inputs(engine, 1)["x"].ravel()) == {True, False}


def test_an_open_size_names_the_file(tmp_path: Path) -> None:
    engine = Engine(
        parsed("o (float[N, 3, H, W] x) => (float[N, 3, H, W] y) { y = Relu (x) }", tmp_path / "o.onnx")
    )
    with pytest.raises(
        UsageError,
        match=r"o\.onnx: x: its shape .* has free dimensions \(H, W\); state them \(bench: --input",
    ):
        batch_inputs(engine, 1)
    opened = open_session(engine.name, resolve_device("cpu"), SessionSettings())
    with pytest.raises(UsageError, match=r"o\.onnx: x: its shape"):
        session_inputs(opened, 1)


def test_stated_sizes_fill_open_ones(tmp_path: Path) -> None:
    text = "o (float[N, 3, H, W] x, float[N, H] y) => (float[N, 3, H, W] z) { z = Relu (x) }"
    engine = Engine(parsed(text, tmp_path / "o.onnx"))
    sizes = open_sizes(engine, {"x": (3, 8, 6)})
    assert sizes == {"H": 8, "W": 6}
    assert [a.shape for a in batch_inputs(engine, 2, sizes).values()] == [(2, 3, 8, 6), (2, 8)]
    opened = open_session(engine.name, resolve_device("cpu"), SessionSettings())
    assert session_inputs(opened, 2, sizes)["x"].shape == (2, 3, 8, 6)
    measure_latency(Workload(engine.name, seconds=0.01, sizes=sizes))
    for shapes, message in (
        ({"x": (4, 8, 6)}, "--input 4x8x6: .*the input 'x' is 3xHxW"),
        ({"x": (3, 8)}, "--input 3x8: .*the input 'x' is 3xHxW"),
        ({"x": (3, 8, 6), "y": (9,)}, "--input 9: .*the input 'y' is H"),
        ({"w": (3, 8, 6)}, "--input w=...: no such input; .* takes x, y"),
    ):
        with pytest.raises(UsageError, match=message):
            open_sizes(engine, shapes)


def test_a_shape_without_a_name_is_the_only_inputs(tiny_onnx: Path, tmp_path: Path) -> None:
    engine = Engine(parsed("o (float[N, K] x) => (float[N, K] y) { y = Relu (x) }", tmp_path / "o.onnx"))
    assert open_sizes(engine, (7,)) == {"K": 7}
    assert open_sizes(engine, {"input": (7,)}) == {"K": 7}
    assert open_sizes(engine, None) == {}


def test_a_model_without_inputs_is_refused(tmp_path: Path) -> None:
    text = "fixed () => (float[1] y) <float[1] w = {1}> { y = Relu (w) }"
    with pytest.raises(UsageError, match=r"fixed\.onnx: the model has no inputs"):
        choose_batch(Engine(parsed(text, tmp_path / "fixed.onnx")))


def test_slow_runs_are_fewer() -> None:
    assert min_runs(20, 1.5) == 3
    assert min_runs(20, 0.9) == 20
    assert min_runs(10, 60, slow=2) == 2
    assert min_runs(1, 60) == 1


def test_latency_of_slow_runs_has_no_percentiles(tiny_onnx: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert measure_latency(Workload(tiny_onnx, seconds=1e-6)).runs == 20
    monkeypatch.setattr(_inputs, "SLOW_S", 0)
    result = measure_latency(Workload(tiny_onnx, seconds=1e-6))
    assert result.runs == 3
    assert set(result.percentiles_ms.values()) == {None}
    assert result.mean_ms.value > 0
    assert result.findings[0].message.startswith("3 runs are too few")
    assert measure_session(Workload(tiny_onnx, seconds=1e-6), slow_runs=5)[0].runs == 5
