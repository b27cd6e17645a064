"""The temperature has the least loss, is judged on other images, and keeps predictions."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest

from cnntk import Classifier, QuantizeOptions, evaluate, inspect, quantize, verify
from cnntk.benchmark.compare import Comparison
from cnntk.benchmark.statistics.classification import log_softmax
from cnntk.cli.output import print_sections
from cnntk.evaluation.classify import Outcomes
from cnntk.evaluation.temperature import _check_same_predictions, fit_temperature
from cnntk.exporters import export
from cnntk.runtime.errors import DataError, ExportCheckError, UnsupportedArtifact, UsageError
from cnntk.shipped import shipped_checkpoint, shipped_model

LENET = shipped_model()


def outcomes(scale: float, count: int = 2000, noise: float = 1.0, seed: int = 0) -> Outcomes:
    """Images whose labels are drawn from softmax(logits), seen through logits times a scale."""
    rng = np.random.default_rng(seed)
    exact = rng.normal(size=(count, 5)) * 2
    probabilities = np.exp(log_softmax(exact))
    labels = np.array([rng.choice(5, p=row) for row in probabilities])
    logits = (exact * scale).astype(np.float32)
    shown = np.exp(log_softmax(logits))
    each, predicted = np.arange(count), shown.argmax(axis=1)
    ranks = (shown > shown[each, labels][:, None]).sum(axis=1)
    likely = shown[each, labels], shown[each, predicted]
    return Outcomes(each, labels, predicted, ranks, likely[1], likely[0], logits, (), ())


@pytest.mark.parametrize("scale", [0.5, 2.0, 3.0])
def test_it_has_the_least_loss(scale: float) -> None:
    data = outcomes(scale)
    fit = fit_temperature(data, 0)
    assert fit.temperature == pytest.approx(scale, rel=0.1)

    def loss(temperature: float) -> float:
        assert data.logits is not None
        return -float(log_softmax(data.logits / temperature)[np.arange(len(data.labels)), data.labels].mean())

    assert all(loss(fit.temperature) < loss(fit.temperature * factor) for factor in (0.98, 1.02))
    assert fit.helps
    assert fit.loss_before == pytest.approx(loss(1.0))
    assert fit.loss_after == pytest.approx(loss(fit.temperature), rel=1e-3)
    assert fit.ece_after < 0.3 * fit.ece_before


def test_it_is_judged_on_the_other_half() -> None:
    data = outcomes(3.0, 300)
    fit = fit_temperature(data, 1)
    assert fit.half_temperatures[0] != fit.half_temperatures[1]
    assert min(fit.half_temperatures) < fit.temperature < max(fit.half_temperatures)
    assert data.logits is not None
    rows = np.arange(len(data.labels))
    in_sample = -float(log_softmax(data.logits / fit.temperature)[rows, data.labels].mean())
    assert fit.loss_after > in_sample
    assert fit_temperature(data, 2).half_temperatures != fit.half_temperatures


def test_what_is_calibrated_already_gains_nothing() -> None:
    best = fit_temperature(outcomes(1.0), 0).temperature
    assert not fit_temperature(outcomes(1.0 / best), 0).helps


def test_what_can_not_be_fitted() -> None:
    data = outcomes(2.0)
    with pytest.raises(UnsupportedArtifact, match="needs the output logits"):
        fit_temperature(replace(data, logits=None), 0)
    few = {name: getattr(data, name)[:60] for name in ("labels", "logits", "ranks", "confidence")}
    with pytest.raises(DataError, match="60 images; a temperature needs at least 100"):
        fit_temperature(replace(data, **few), 0)
    with pytest.raises(DataError, match="2000 of 2000 images are right, so that no temperature"):
        fit_temperature(replace(data, labels=data.predicted), 0)


def test_a_changed_prediction_is_refused() -> None:
    data = outcomes(2.0, 100)
    other = replace(data, predicted=np.where(np.arange(100) == 3, (data.predicted + 1) % 5, data.predicted))
    with pytest.raises(ExportCheckError, match="1 of 100 images are classified otherwise"):
        _check_same_predictions(data, other)
    _check_same_predictions(data, data)


def check_written(model: Path, target: Path) -> None:
    before = evaluate(model, data="digits", calibrate=True, output=target)
    fit = before.temperature
    assert fit is not None
    assert fit.path == str(target)
    assert before.holds
    after = evaluate(target, data="digits").models[0]
    first = before.models[0]
    assert (after.correct, after.confusion) == (first.correct, first.confusion)
    assert after.loss.value < first.loss.value
    assert after.calibration.ece < first.calibration.ece
    assert fit.loss_before == pytest.approx(first.loss.value)
    assert verify(target).holds
    assert inspect(target).spec.provenance["calibration"]["temperature"] == fit.temperature  # type: ignore[union-attr]
    lines = dict(line for section in inspect(target).sections() for line in section.lines)
    assert f"{fit.temperature:.4g}: probabilities are softmax(logits / temperature)" in lines["temperature"]


@pytest.mark.slow
def test_a_file_that_states_nothing(tmp_path: Path) -> None:
    """Another tool's file, and an artifact of arrays: the new file has the stated preprocessing."""
    files = [tmp_path / name for name in ("arrays.onnx", "foreign.onnx")]
    export(shipped_checkpoint(), files[0], preprocess="none")
    model = onnx.load(files[0])
    del model.metadata_props[:]
    onnx.save(model, files[1])
    stated = {"data": "digits", "preprocessing": "mnist,resize=longest,invert=light-background"}
    for file in files:
        target = tmp_path / f"{file.stem}-calibrated.onnx"
        before = evaluate(file, calibrate=True, output=target, labels=tuple("0123456789"), **stated)
        assert before.temperature.path == str(target)
        after = evaluate(target, data="digits").models[0]
        assert after.correct == before.models[0].correct
        assert after.calibration.ece < before.models[0].calibration.ece
        assert verify(target).holds
        with pytest.raises(UnsupportedArtifact, match=rf"{file.name}: does not state how images become"):
            evaluate(file, data="digits", calibrate=True, output=tmp_path / "x.onnx")


def test_a_float_model(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    check_written(LENET, tmp_path / "calibrated.onnx")
    again = evaluate(tmp_path / "calibrated.onnx", data="digits", calibrate=True, output=tmp_path / "x.onnx")
    assert again.temperature is not None
    assert not again.holds
    assert again.temperature.path is None
    assert not (tmp_path / "x.onnx").exists()
    print_sections(again.sections())
    assert "so nothing was written" in capsys.readouterr().out


def test_a_quantized_model(tmp_path: Path) -> None:
    options = QuantizeOptions(
        "digits", calibration_images=40, prefer="size", max_drop=20, output=tmp_path / "q.onnx"
    )
    faster = lambda *_: Comparison(2, 1.9, 2.1, 2, 1, 60)  # noqa: E731
    assert quantize(LENET, options, compare_calls=faster).changed
    check_written(tmp_path / "q.onnx", tmp_path / "qc.onnx")


def test_options_that_do_not_fit(tmp_path: Path, digit_folders: Callable[..., Path]) -> None:
    with pytest.raises(UsageError, match="--calibrate takes one model, got 2"):
        evaluate([LENET, shutil.copy(LENET, tmp_path)], data="digits", calibrate=True)
    with pytest.raises(UsageError, match="is the model itself"):
        evaluate(LENET, data="digits", calibrate=True, output=LENET, force=True)
    (tmp_path / "there.onnx").write_bytes(b"")
    with pytest.raises(UsageError, match="--force"):
        evaluate(LENET, data="digits", calibrate=True, output=tmp_path / "there.onnx")
    with pytest.raises(DataError, match="at least 100"):
        evaluate(LENET, data=str(digit_folders(50)), calibrate=True, output=tmp_path / "few.onnx")
    assert not (tmp_path / "few.onnx").exists()
    assert Classifier(LENET)
