"""`evaluate`: classifies labeled images with one or several models, and scores them."""

from __future__ import annotations

import io
import os
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from cnntk.benchmark.statistics.classification import measure_calibration
from cnntk.benchmark.statistics.intervals import (
    Estimate,
    independent_mean,
    paired_interval,
    share_estimate,
)
from cnntk.benchmark.statistics.paired_tests import holm, mcnemar_two_sided
from cnntk.data.labeled import LabeledImages, numbering_note, open_labeled
from cnntk.evaluation.arguments import check_arguments
from cnntk.evaluation.classify import Outcomes, classify_images
from cnntk.evaluation.options import EvaluateOptions
from cnntk.evaluation.report import Evaluation
from cnntk.evaluation.result import (
    THUMBNAIL_SIDE,
    ClassScore,
    ConfusedPair,
    Mistake,
    ModelScore,
    PairedComparison,
)
from cnntk.evaluation.temperature import calibrate_model
from cnntk.exporters.options import ExportOptions
from cnntk.inference.model import open_classifier
from cnntk.runtime.artifact.digest import sha256_of
from cnntk.runtime.classifier import Classifier
from cnntk.runtime.engine import Engine
from cnntk.runtime.errors import DataError, MissingDependency
from cnntk.runtime.files import model_file

__all__ = ["Progress", "evaluate"]

ALPHA = 0.05
"""Largest probability of calling two models different that are not."""

MISTAKES = 24
"""Number of mistakes that are listed."""

_TOP = 5

Progress = Callable[[str, int, int], None]
"""Callback that receives the stage, the number of finished images, and of all."""


def evaluate(
    models: str | os.PathLike[str] | Sequence[str | os.PathLike[str]],
    options: EvaluateOptions | None = None,
    *,
    progress: Progress | None = None,
    **fields: Any,
) -> Evaluation:
    """Scores classifiers on labeled images: accuracy, loss, confusion, calibration.

    Several models classify the same images, and each is compared with the first. Intervals take images for
    independent; frames of one video are not. Classes of the data are matched with each model's labels by
    name, in whatever order they are.

    Args:
        models: ``.onnx`` files of classifiers, one or several; for those that state no preprocessing, the
            option ``preprocessing`` does.
        options: Options; ``fields`` replace some of them.
        progress: Callback that receives the stage, the number of finished images, and of all.
        **fields: Fields of `EvaluateOptions`, like ``data="digits"``.

    Raises:
        UsageError: An option or a model is not valid; the file exists.
        UnsupportedArtifact: A model is not a classifier of images.
        DataError: The data can't be read, or has a class that is none of a model's labels.
        DeviceUnavailable: The device is not available.
        InferenceError: A model fails, or its probabilities are not numbers.
    """
    started, notify = time.monotonic(), progress or (lambda *_: None)
    options = EvaluateOptions(**fields) if options is None else replace(options, **fields)
    paths = [models] if isinstance(models, str | os.PathLike) else list(models)
    target = check_arguments(paths, options)
    images = open_labeled(options.data)
    if options.max_images is not None:
        images = images.sample(options.max_images, options.seed)
    scores, outcomes, temperature = [], [], None
    with ExitStack() as stack:
        opened = [stack.enter_context(_opened(path, options, len(paths) > 1)) for path in paths]
        numbering = partial(numbering_note, images.classes, data=options.data)
        notes = [numbering(labels=each.labels, model=each.engine.name) for _, each in opened]
        for path, (file, classifier) in zip(paths, opened, strict=True):
            stage = "images" if len(paths) == 1 else Path(path).name
            on_images = partial(_notify, notify, stage, len(images))
            result = classify_images(classifier, images, options, on_images, with_logits=target is not None)
            scores.append(_score(os.fspath(path), classifier, images, result))
            outcomes.append(result)
            if target is not None:
                on_images = partial(_notify, notify, "checking the new file", len(images))
                temperature = calibrate_model(classifier, file, images, result, target, options, on_images)
    return Evaluation(
        data=images.name,
        source=options.data,
        images=len(outcomes[0].labels),
        models=tuple(scores),
        comparisons=_comparisons([os.fspath(path) for path in paths], outcomes),
        temperature=temperature,
        unreadable=(*images.unreadable, *outcomes[0].unreadable),
        notes=(*images.notes, *filter(None, dict.fromkeys(notes)), *outcomes[0].notes),
        seconds=round(time.monotonic() - started, 2),
    )


def _notify(progress: Progress, stage: str, total: int, done: int) -> None:
    progress(stage, done, total)


@contextmanager
def _opened(
    path: str | os.PathLike[str], options: EvaluateOptions, several: bool
) -> Iterator[tuple[Path, Classifier]]:
    """Opens a classifier; one that gets a temperature has to be an artifact that states its preprocessing.

    Of several models, preprocessing and labels of the options are for those that state none.
    """
    file = model_file(path)
    engine = Engine(file, options.device, threads=1)
    spec, preprocessing, labels = engine.spec, options.preprocessing, options.labels
    if several and spec is not None:
        preprocessing = preprocessing if spec.preprocessing is None else None
        labels = labels if spec.labels == tuple(map(str, range(len(spec.labels)))) else None
    classifier = open_classifier(engine, preprocessing, labels)
    if not options.calibrate:
        yield file, classifier
        return
    try:
        from cnntk.exporters.completion import complete_artifact
    except ImportError as error:
        raise MissingDependency(
            f"--calibrate needs {error.name}, which is not installed; run: pip install 'cnntk[export]'"
        ) from error
    exporting = ExportOptions(preprocessing=preprocessing or None, labels=labels, head="classifier")
    with complete_artifact(engine, exporting) as artifact:
        yield artifact, Classifier(artifact, options.device, threads=1)


def _score(path: str, classifier: Classifier, images: LabeledImages, outcomes: Outcomes) -> ModelScore:
    labels, count = _unique(classifier.labels), len(outcomes.labels)
    correct = outcomes.correct
    top5 = share_estimate(int((outcomes.ranks < _TOP).sum()), count) if len(labels) > _TOP else None
    loss = independent_mean(outcomes.losses)
    spec = classifier.engine.spec
    return ModelScore(
        model=path,
        name=Path(path).stem if spec is None else spec.name,
        digest=(spec.digest if spec is not None else "") or sha256_of(path),
        images=count,
        correct=int(correct.sum()),
        top1=share_estimate(int(correct.sum()), count),
        top5=top5,
        loss=replace(loss, low=max(loss.low, 0.0)),
        calibration=measure_calibration(outcomes.confidence, correct),
        classes=_class_scores(labels, outcomes),
        confusion=_confusion(labels, outcomes),
        mistakes=_mistakes(classifier, labels, images, outcomes),
    )


def _unique(labels: Sequence[str]) -> tuple[str, ...]:
    """The labels, with the number behind those that several classes have."""
    counts = Counter(labels)
    return tuple(f"{label} ({i})" if counts[label] > 1 else label for i, label in enumerate(labels))


def _class_scores(labels: Sequence[str], outcomes: Outcomes) -> tuple[ClassScore, ...]:
    sizes, predicted, correct = (
        np.bincount(classes, minlength=len(labels)).tolist()
        for classes in (outcomes.labels, outcomes.predicted, outcomes.labels[outcomes.correct])
    )
    return tuple(
        ClassScore(
            label,
            sizes[i],
            predicted[i],
            correct[i],
            share_estimate(correct[i], sizes[i]) if sizes[i] else None,
            share_estimate(correct[i], predicted[i]) if predicted[i] else None,
        )
        for i, label in enumerate(labels)
        if sizes[i] or predicted[i]
    )


def _confusion(labels: Sequence[str], outcomes: Outcomes) -> tuple[ConfusedPair, ...]:
    cells, counts = np.unique(outcomes.labels * len(labels) + outcomes.predicted, return_counts=True)
    return tuple(
        ConfusedPair(labels[cell // len(labels)], labels[cell % len(labels)], count)
        for cell, count in zip(cells.tolist(), counts.tolist(), strict=True)
    )


def _mistakes(
    classifier: Classifier, labels: Sequence[str], images: LabeledImages, outcomes: Outcomes
) -> tuple[Mistake, ...]:
    wrong = np.flatnonzero(~outcomes.correct)
    worst = wrong[np.argsort(outcomes.label_probability[wrong], kind="stable")][:MISTAKES]
    mistakes = []
    for i in worst.tolist():
        position = int(outcomes.indices[i])
        picture, size = _thumbnail(classifier.read(images.source(position)))
        mistakes.append(
            Mistake(
                images.image(position).file,
                labels[outcomes.labels[i]],
                labels[outcomes.predicted[i]],
                float(outcomes.confidence[i]),
                float(outcomes.label_probability[i]),
                picture,
                size,
            )
        )
    return tuple(mistakes)


def _thumbnail(pixels: NDArray[np.uint8]) -> tuple[bytes, tuple[int, int]]:
    """A PNG of the image, or of a large one a smaller JPEG file, and its width and height."""
    image = Image.fromarray(pixels[:, :, 0] if pixels.shape[2] == 1 else pixels)
    is_large = max(image.size) > THUMBNAIL_SIDE
    image.thumbnail((THUMBNAIL_SIDE, THUMBNAIL_SIDE))
    stream = io.BytesIO()
    image.save(stream, "JPEG" if is_large else "PNG", **({"quality": 85} if is_large else {}))
    return stream.getvalue(), image.size


def _comparisons(paths: Sequence[str], outcomes: Sequence[Outcomes]) -> tuple[PairedComparison, ...]:
    first = outcomes[0]
    results = []
    for path, other in zip(paths[1:], outcomes[1:], strict=True):
        if not np.array_equal(first.indices, other.indices):
            raise DataError(f"{path}: other images can be read than with {paths[0]}; they changed meanwhile")
        gained = int((other.correct & ~first.correct).sum())
        lost = int((first.correct & ~other.correct).sum())
        count = len(first.indices)
        low, high = paired_interval(gained, lost, count)
        estimate = Estimate((gained - lost) / count, low, high)
        p = mcnemar_two_sided(gained, lost)
        results.append(PairedComparison(path, paths[0], gained, lost, estimate, p, "no difference"))
    adjusted = holm([one.p for one in results])
    return tuple(
        replace(one, p=p, verdict="no difference" if p >= ALPHA else _verdict(one))
        for one, p in zip(results, adjusted, strict=True)
    )


def _verdict(comparison: PairedComparison) -> Any:
    return "better" if comparison.gained > comparison.lost else "worse"
