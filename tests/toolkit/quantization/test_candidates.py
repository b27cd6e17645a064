"""Candidates of a network that was trained on digits; only the clock is not real."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import digit_nets
import numpy as np
import onnx_ir as ir
import pytest

from cnntk.benchmark.compare import Comparison
from cnntk.data import ArrayImages, open_data
from cnntk.data.batches import batches_of
from cnntk.data.calibration import CalibrationImages
from cnntk.quantization.calibration import CalibrationData, calibrate, tensors_to_calibrate
from cnntk.quantization.candidates import (
    CandidateEvaluator,
    MeasurementStore,
    Original,
    config_key,
    layer_infos,
)
from cnntk.quantization.config import LayerPlan, QuantConfig, linear_layers
from cnntk.runtime.artifact.spec import METADATA_KEY
from cnntk.runtime.engine import Engine
from cnntk.runtime.errors import DataError, UsageError


@pytest.fixture
def evaluators(original: Original, calibration: CalibrationData) -> Callable[..., CandidateEvaluator]:
    test = open_data("digits").test
    indices, labels = tuple(range(len(test.labels))), tuple(test.labels.tolist())

    def create(store: MeasurementStore | None = None, **options: object) -> CandidateEvaluator:
        return CandidateEvaluator(
            original,
            calibration,
            lambda: batches_of(original.engine, CalibrationImages(test.images, indices, labels)),
            batches_of(original.engine, CalibrationImages(test.images, indices[:16])),
            store=store,
            compare_calls=lambda *_: Comparison(2.0, 1.9, 2.1, 2.0, 1.0, 60),
            **options,
        )

    return create


def every(original: Original, kind: str = "int8") -> QuantConfig:
    return QuantConfig({str(n.name): LayerPlan(kind) for n in linear_layers(original.model)})  # type: ignore[arg-type]


def test_layers_have_the_names_of_torch(original: Original) -> None:
    layers = layer_infos(original)
    assert [f.title for f in layers.values()] == ["0", "2", "5", "9", "11"]
    assert [f.op for f in layers.values()] == ["Conv", "Conv", "Conv", "Gemm", "Gemm"]
    assert next(iter(layers.values())).multiply_adds == 16 * 16 * 32 * 9


def test_integers_predict_nearly_the_same(
    evaluators: Callable[..., CandidateEvaluator], original: Original
) -> None:
    accuracy = evaluators().accuracy(every(original))
    assert accuracy.images == 359
    assert accuracy.before is not None
    assert accuracy.before.top1 > 90
    assert accuracy.agreement > 98
    assert abs(accuracy.drop or 0.0) < 1.5


def test_the_original_does_not_differ_from_itself(
    evaluators: Callable[..., CandidateEvaluator], original: Original
) -> None:
    evaluator, nothing = evaluators(), every(original, "float32")
    assert evaluator.accuracy(nothing).agreement == 100
    assert evaluator.kl_divergence(nothing) == pytest.approx(0, abs=1e-9)


def test_damage_by_8_bits_is_measured(tmp_path: Path) -> None:
    """The negative control: one channel is 3,000 times as large as the others."""
    file = tmp_path / "lopsided.onnx"
    file.write_bytes(digit_nets.artifact("lopsided"))
    graph = ir.load(file)
    del graph.metadata_props[METADATA_KEY]
    engine = Engine(file, threads=1)
    images = open_data("digits").test.images
    assert isinstance(images, ArrayImages)
    batches = list(batches_of(engine, CalibrationImages(images, tuple(range(64)))))
    calibration = calibrate(graph, batches, tensors_to_calibrate(graph))
    histograms = {n: h for n, h in calibration.histograms.items() if h.maximum > 100}
    assert histograms
    uneven = CandidateEvaluator(Original(file, graph, engine, 1), calibration, lambda: batches, batches[:2])
    config = QuantConfig({str(n.name): LayerPlan("int8") for n in linear_layers(graph)})
    even = config
    for node in linear_layers(graph)[1:3]:
        even = even.with_precision(str(node.name), "float32", "")
    assert uneven.accuracy(even).agreement > 95
    assert uneven.kl_divergence(even) < 0.1


def test_four_bits_cost_more_than_eight(
    evaluators: Callable[..., CandidateEvaluator], original: Original
) -> None:
    config = every(original, "float32")
    name = next(str(n.name) for n in linear_layers(original.model) if n.op_type == "Gemm")
    evaluator = evaluators()
    assert (
        0
        < evaluator.kl_divergence(config.with_precision(name, "int8", ""))
        < evaluator.kl_divergence(config.with_precision(name, "int4", ""))
    )


def test_integers_are_smaller(evaluators: Callable[..., CandidateEvaluator], original: Original) -> None:
    stats = evaluators().graph_stats(every(original))
    assert 0.2 * original.size_bytes < stats.size_bytes < 0.4 * original.size_bytes
    assert stats.unsupported == ()
    nothing = evaluators().graph_stats(every(original, "float32"))
    assert nothing.conversions == 0
    assert nothing.size_bytes == pytest.approx(original.size_bytes, rel=0.02)


def test_a_layer_that_integers_cannot_compute_is_reported(
    evaluators: Callable[..., CandidateEvaluator], original: Original
) -> None:
    """A convolution has no kernel in 4 bits."""
    name = str(linear_layers(original.model)[1].name)
    assert evaluators().graph_stats(every(original).with_precision(name, "int4", "")).unsupported == (name,)


def test_candidates_are_timed_against_the_original(
    evaluators: Callable[..., CandidateEvaluator], original: Original
) -> None:
    calls: list[tuple[QuantConfig, dict[str, np.ndarray], dict[str, np.ndarray]]] = []

    def compare_calls(
        config: QuantConfig, first: Callable[[], object], second: Callable[[], object]
    ) -> Comparison:
        calls.append((config, first(), second()))  # type: ignore[arg-type]
        return Comparison(1.5, 1.4, 1.6, 3.0, 2.0, 60)

    evaluator, config = evaluators(), every(original)
    evaluator._compare_calls = compare_calls
    assert evaluator.speed(config).ratio == 1.5
    ((timed, before, after),) = calls
    assert timed == config
    assert before["logits"].shape == after["logits"].shape == (1, 10)
    assert not np.array_equal(before["logits"], after["logits"])
    plain = original.engine.run(evaluator._inputs)
    np.testing.assert_array_equal(before["logits"], plain["logits"])


def test_what_was_measured_is_not_measured_again(
    evaluators: Callable[..., CandidateEvaluator], original: Original, tmp_path: Path
) -> None:
    config, file = every(original), tmp_path / "measurements.json"
    first = evaluators(MeasurementStore(file))
    results = (
        first.accuracy(config),
        first.speed(config),
        first.kl_divergence(config),
        first.graph_stats(config),
    )
    counts: list[int] = []
    again = evaluators(MeasurementStore(file), on_images=counts.append)
    assert (
        again.accuracy(config),
        again.speed(config),
        again.kl_divergence(config),
        again.graph_stats(config),
    ) == results
    assert counts == []
    assert again._loaded == {}


def test_the_step_of_the_logits(evaluators: Callable[..., CandidateEvaluator]) -> None:
    assert 0.01 < evaluators().logit_step() < 0.5


CONFIG = QuantConfig({"a": LayerPlan("int8", "why not"), "b": LayerPlan("float32")})
CONTEXT = {"model": "abc", "threads": 2}


def fail() -> float:
    raise AssertionError("measured again")


def test_a_measurement_is_read_by_the_next_store(tmp_path: Path) -> None:
    file = tmp_path / "measurements.json"
    assert MeasurementStore(file, CONTEXT).get_or_measure(CONFIG, "kl_divergence", float, lambda: 2.0) == 2.0
    again = MeasurementStore(file, CONTEXT)
    assert again.get_or_measure(CONFIG, "kl_divergence", float, fail) == 2.0
    with pytest.raises(AssertionError, match="measured again"):
        again.get_or_measure(CONFIG, "logit_step", float, fail)
    with pytest.raises(AssertionError, match="measured again"):
        again.get_or_measure(CONFIG.with_precision("b", "int8", ""), "kl_divergence", float, fail)


def test_a_store_without_a_file_keeps_measurements_in_memory() -> None:
    store = MeasurementStore()
    assert store.get_or_measure(CONFIG, "kl_divergence", float, lambda: 0.5) == 0.5
    assert store.get_or_measure(CONFIG, "kl_divergence", float, fail) == 0.5


def test_the_key_of_a_config_ignores_reasons() -> None:
    assert config_key(CONFIG) == config_key(CONFIG.with_precision("a", "int8", "because"))
    assert config_key(CONFIG) != config_key(CONFIG.with_precision("a", "int4", ""))
    assert config_key(CONFIG) != config_key(QuantConfig(CONFIG.layers, "vnni"))


def test_another_context_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "measurements.json"
    MeasurementStore(file, CONTEXT)
    with pytest.raises(UsageError, match="was started with threads 2, now it is 1"):
        MeasurementStore(file, {**CONTEXT, "threads": 1})


@pytest.mark.parametrize("text", ["{", "[]", '{"version": 1}'])
def test_a_damaged_file_is_refused(tmp_path: Path, text: str) -> None:
    file = tmp_path / "measurements.json"
    file.write_text(text)
    with pytest.raises(DataError, match="not valid measurements"):
        MeasurementStore(file, CONTEXT)


def test_another_version_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "measurements.json"
    file.write_text(json.dumps({"version": 99, "context": CONTEXT, "results": {}}))
    with pytest.raises(UsageError, match="another version"):
        MeasurementStore(file, CONTEXT)


def test_a_damaged_measurement_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "measurements.json"
    MeasurementStore(file, CONTEXT).get_or_measure(CONFIG, "kl_divergence", float, lambda: 2.0)
    file.write_text(file.read_text().replace("2.0", '"two"'))
    with pytest.raises(DataError, match="not valid measurements"):
        MeasurementStore(file, CONTEXT).get_or_measure(CONFIG, "kl_divergence", float, fail)
