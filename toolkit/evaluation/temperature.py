"""`calibrate_model`: fits a temperature to labeled images, and writes the model with it.

Temperature scaling divides all logits by one number, the one with the least cross-entropy (C. Guo et al., On
calibration of modern neural networks, ICML 2017). What it changes is measured on images to which it was not
fitted: each half of the images with the temperature of the other half.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from cnntk.benchmark.statistics.classification import log_softmax, measure_calibration
from cnntk.benchmark.statistics.paired_tests import best_sharpness, log_likelihoods
from cnntk.data.labeled import LabeledImages
from cnntk.evaluation.classify import Outcomes, classify_images
from cnntk.evaluation.options import EvaluateOptions
from cnntk.evaluation.result import TemperatureFit
from cnntk.runtime.classifier import Classifier
from cnntk.runtime.codec import as_json
from cnntk.runtime.errors import DataError, ExportCheckError, MissingDependency, UnsupportedArtifact

__all__ = ["MIN_IMAGES", "calibrate_model", "fit_temperature"]

MIN_IMAGES = 100
"""Least number of images that a temperature is fitted to."""

_LOWEST, _HIGHEST = 0.05, 20.0
"""Temperatures beyond these fit images that are all right, or all wrong, and say nothing about others."""

_PROBABILITY_ERROR = 1e-5
"""Largest difference between a probability and the softmax of the logits, in float32."""


def fit_temperature(outcomes: Outcomes, seed: int) -> TemperatureFit:
    """Fits a temperature, and measures on halves of the images what it changes.

    Args:
        outcomes: Outcomes of a model, with logits.
        seed: Seed of the halves, which have the same number of images of each class, but for one.

    Raises:
        DataError: There are fewer than `MIN_IMAGES`, or almost all are right, or none.
        UnsupportedArtifact: The model has no logits.
    """
    logits, labels = outcomes.logits, outcomes.labels
    if logits is None:
        raise UnsupportedArtifact("a temperature needs the output logits; export the model with this cnntk")
    if len(labels) < MIN_IMAGES:
        raise DataError(f"calibration: {len(labels)} images; a temperature needs at least {MIN_IMAGES}")
    folds = _folds(labels, seed)
    temperature = _best_temperature(logits, labels)
    first, second = (_best_temperature(logits[fold], labels[fold]) for fold in folds)
    losses, confidence = np.empty(len(labels)), np.empty(len(labels))
    for fold, other in zip(folds, (second, first), strict=True):
        losses[fold] = -log_likelihoods(logits[fold], labels[fold], 1 / other)
        confidence[fold] = np.exp(log_softmax(logits[fold] / other).max(axis=1))
    return TemperatureFit(
        temperature=temperature,
        half_temperatures=(first, second),
        images=len(labels),
        ece_before=measure_calibration(outcomes.confidence, outcomes.correct).ece,
        ece_after=measure_calibration(confidence, outcomes.correct).ece,
        loss_before=float(outcomes.losses.mean()),
        loss_after=float(losses.mean()),
    )


def calibrate_model(
    classifier: Classifier,
    model: Path,
    images: LabeledImages,
    outcomes: Outcomes,
    target: Path,
    options: EvaluateOptions,
    on_images: Callable[[int], None],
) -> TemperatureFit:
    """Fits a temperature and writes the model with it, where that lowers the loss.

    The file takes its name only if it predicts the same class for every image.

    Args:
        classifier: Model.
        model: Artifact of the model.
        images: Images that it classified.
        outcomes: Outcomes of the images, with logits.
        target: File to write.
        options: Options of the evaluation.
        on_images: Function that is called with the number of images that the new file has classified.

    Raises:
        DataError: As for `fit_temperature`.
        UnsupportedArtifact: Probabilities are not the softmax of the logits at some temperature.
        ExportCheckError: The new file predicts another class for some image.
        MissingDependency: onnx is not installed.
    """
    try:
        from cnntk.exporters.temperature import write_with_temperature
    except ImportError as error:
        raise MissingDependency(
            f"--calibrate needs {error.name}, which is not installed; run: pip install 'cnntk[export]'"
        ) from error
    fit = fit_temperature(outcomes, options.seed)
    spec = classifier.engine.spec
    before = spec.provenance.get("calibration") if spec is not None else None
    _check_probabilities(outcomes, 1.0 if before is None else float(before["temperature"]))
    if not fit.helps:
        return fit

    def check(file: Path) -> None:
        with_temperature = Classifier(file, options.device, threads=1)
        after = classify_images(with_temperature, images, options, on_images, with_logits=True)
        _check_same_predictions(outcomes, after)
        _check_probabilities(after, fit.temperature)

    record = {**as_json(fit), "data": images.name}
    for name in ("path", "digest", "helps"):
        del record[name]
    final = write_with_temperature(model, target, fit.temperature, record, check)
    return replace(fit, path=str(target), digest=final.digest)


def _best_temperature(logits: NDArray[np.float32], labels: NDArray[np.int64]) -> float:
    temperature = 1 / best_sharpness(logits, labels)
    if not _LOWEST < temperature < _HIGHEST:
        right = int((logits.argmax(axis=1) == labels).sum())
        raise DataError(
            f"calibration: {right} of {len(labels)} images are right, so that no temperature from {_LOWEST} "
            f"to {_HIGHEST:g} is best; use more images, some of which the model gets wrong"
        )
    return temperature


def _folds(labels: NDArray[np.int64], seed: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Indices of two random halves with the same number of images of each class, but for one."""
    order = np.random.default_rng(seed).permutation(len(labels))
    by_class = order[np.argsort(labels[order], kind="stable")]
    return np.sort(by_class[::2]), np.sort(by_class[1::2])


def _check_probabilities(outcomes: Outcomes, temperature: float) -> None:
    """Checks that probabilities are the softmax of the logits at a temperature."""
    if outcomes.logits is None:
        raise UnsupportedArtifact("a temperature needs the output logits")
    likely = np.exp(log_likelihoods(outcomes.logits, outcomes.labels, 1 / temperature))
    difference = float(np.abs(likely - outcomes.label_probability).max())
    if not difference <= _PROBABILITY_ERROR:
        raise UnsupportedArtifact(
            f"probabilities differ by {difference:.2g} from the softmax of the logits at temperature "
            f"{temperature:.4g} (limit {_PROBABILITY_ERROR:.0e}), so that another temperature would replace "
            "what the network computes"
        )


def _check_same_predictions(before: Outcomes, after: Outcomes) -> None:
    same = np.array_equal(before.indices, after.indices)
    changed = int((before.predicted != after.predicted).sum()) if same else len(before.indices)
    if changed:
        raise ExportCheckError(
            f"calibration: {changed} of {len(before.indices)} images are classified otherwise with the "
            "temperature. Nothing was written"
        )
