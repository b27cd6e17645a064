"""`check_preprocessing`: does a network score better with other preprocessing than the one in its file?

Variants for the common mistakes are tried on labeled images. A variant is reported only if it is better than
the spec on the same images, significantly after correction for the number of variants.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from cnntk.benchmark.statistics.paired_tests import (
    calibrated,
    holm,
    images_to_tell,
    log_likelihoods,
    mcnemar,
    sign_flips,
)
from cnntk.data.labeled import labeled_files
from cnntk.evaluation.graph_pixels import GraphPixels, PixelComparison, joined
from cnntk.evaluation.network_input import NetworkInput, NoNetwork
from cnntk.evaluation.preprocessing_variants import Variant, variants_of
from cnntk.inference.model import open_classifier
from cnntk.runtime.classifier import Classifier
from cnntk.runtime.engine import Engine
from cnntk.runtime.errors import DataError, ImageError, MissingDependency, UnsupportedArtifact
from cnntk.runtime.files import model_file
from cnntk.runtime.images.reading import read_image
from cnntk.runtime.preprocessing.choice import PreprocessingChoice
from cnntk.runtime.sections import Column, Section, Table, Tone
from cnntk.runtime.session.cores import usable_cores

__all__ = ["ALPHA", "MAX_IMAGES", "PreprocessingCheck", "VariantScore", "check_preprocessing"]

MAX_IMAGES = 300
"""Default number of images to use at most."""

ALPHA = 0.05
"""Largest probability of reporting a mistake where there is none."""

_BATCH = 16

Array = NDArray[Any]


@dataclass(frozen=True)
class VariantScore:
    """Scores of a network with one variant of the preprocessing.

    Attributes:
        name: Name of the variant; ``spec`` for the preprocessing in the spec.
        change: What the network was trained on if the variant is right, in words.
        options: Values of ``--preprocessing`` that give the variant; empty where none do.
        images: Number of images that were scored.
        differing: Number of images whose network input differs from that of the spec.
        accuracy: Share of images classified correctly, 0 to 1.
        log_likelihood: Mean log-likelihood of the true labels in nats, without calibration.
        gained: Number of images that are right with the variant and wrong with the spec.
        lost: Number of images that are wrong with the variant and right with the spec.
        p_accuracy: p-value of `paired_tests.mcnemar`, uncorrected.
        p_likelihood: p-value of `paired_tests.sign_flips` on calibrated log-likelihoods, uncorrected.
        p: Twice the smaller of both, by Holm for all variants whose inputs differ; at least `p_accuracy`, so
            that no variant is better by its likelihood alone.
        better: Whether `p` is below `ALPHA`.
    """

    name: str
    change: str
    options: tuple[str, ...]
    images: int
    differing: int
    accuracy: float
    log_likelihood: float
    gained: int = 0
    lost: int = 0
    p_accuracy: float = 1.0
    p_likelihood: float = 1.0
    p: float = 1.0
    better: bool = False


@dataclass(frozen=True)
class PreprocessingCheck:
    """Result of trying variants of the preprocessing.

    Attributes:
        model: Path of the model.
        folder: Folder of the images.
        spec: Scores with the preprocessing in the spec.
        variants: Scores with each variant, best first.
        untested: Names of the variants that could not be tried; `notes` say why.
        unreadable: Errors of the images that can't be read, a line each.
        notes: Remarks on the result.
        pixels: Pixels of the graph compared with the host's; None where the host prepares images, or `notes`
            say why.
    """

    JSON_PROPERTIES: ClassVar[tuple[str, ...]] = ("holds", "verdict")

    model: str
    folder: str
    spec: VariantScore
    variants: tuple[VariantScore, ...]
    untested: tuple[str, ...] = ()
    unreadable: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    pixels: PixelComparison | None = None

    @property
    def best(self) -> VariantScore | None:
        """Best variant that is better than the spec; None where none is."""
        return next((c for c in self.variants if c.better), None)

    @property
    def holds(self) -> bool:
        """Whether no variant is better than the spec, and the graph's pixels are those of the spec."""
        return self.best is None and (self.pixels is None or self.pixels.holds)

    @property
    def verdict(self) -> str:
        """Result in one line, with what to do."""
        best, spec = self.best, self.spec
        if self.pixels is not None and not self.pixels.holds:
            return f"mismatch: {self.pixels.verdict}; export again"
        if best is None:
            tried = [c for c in self.variants if c.differing]
            likely = max(tried, key=lambda c: c.accuracy, default=spec)
            number = images_to_tell(likely.gained, likely.lost, spec.images, ALPHA / (2 * max(len(tried), 1)))
            if number is None:
                return (
                    f"no mismatch: none of {len(tried)} variants scores better than the spec's "
                    f"{_percent(spec)} on {spec.images} images"
                )
            number = max(number, spec.images + 1)
            return (
                f"no mismatch shown: nothing is surely better than the spec's {_percent(spec)} on "
                f"{spec.images} images; {likely.name} has {_percent(likely)}, and "
                f"{number:,} images would tell, if that is its accuracy"
            )
        options = " ".join(f"--preprocessing {option}" for option in best.options)
        fix = (
            f"export again with {options}"
            if options
            else "change the images before cnntk reads them: no --preprocessing option does"
        )
        return (
            f"mismatch: {best.name} scores {_percent(best)} instead of {_percent(spec)} on {spec.images} "
            f"images (p = {best.p:.1g}), as if the network was trained on {best.change}; {fix}"
        )

    def sections(self) -> tuple[Section, ...]:
        """The verdict, and how each variant scores, for text and pages."""
        titles = ("accuracy", "log-lik.", "gained", "lost", "p")
        columns = (Column("variant"), *(Column(title, "right") for title in titles), Column(""))
        rows = tuple(_row(score) for score in (self.spec, *self.variants))
        tone: Tone = "good" if self.holds else "bad"
        lines = (("pixels", self.pixels.verdict),) if self.pixels is not None and self.pixels.holds else ()
        return (Section("", self.verdict, lines=lines, tables=(Table(columns, rows),), tone=tone),)


def _row(score: VariantScore) -> tuple[str, ...]:
    """Images that the variant alone gets right are gained, those that the spec alone gets right are lost."""
    scores = f"{100 * score.accuracy:.1f} %", f"{score.log_likelihood:.3f}"
    if not score.differing:
        return score.name, *scores, "", "", "", "" if score.name == "spec" else "same input"
    changes = f"{score.gained:+}" if score.gained else "0", str(-score.lost)
    return score.name, *scores, *changes, f"{score.p:.1g}", "better" if score.better else ""


def check_preprocessing(
    model: str | os.PathLike[str],
    folder: str | os.PathLike[str],
    *,
    max_images: int = MAX_IMAGES,
    seed: int = 0,
    device: str = "cpu",
    preprocessing: PreprocessingChoice | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> PreprocessingCheck:
    """Tries variants of the preprocessing for the common mistakes on labeled images.

    Images are prepared on the host for the spec and the variants alike, so that they differ in nothing else.
    What a graph makes of them is compared with that, pixel by pixel. The images must be independent of each
    other: frames of one video are not.

    Args:
        model: File of a classifier.
        folder: Folder with a folder per class, named by the model's label or its number from 0; or with a
            ``labels.csv`` of the columns ``file`` and ``label``.
        max_images: Number of images to use at most.
        seed: Seed of the choice of images, where there are more.
        device: Device, as `Engine` takes it.
        preprocessing: Preprocessing of a model that states none.
        progress: Function that is called with the number of finished images and of all images.

    Raises:
        UsageError: There is no such file or device.
        UnsupportedArtifact: The model is not an image classifier.
        DataError: No image is usable.
        MissingDependency: The preprocessing in the spec can't be tried without onnx.
    """
    if max_images < 1:
        raise ValueError(f"max_images must be at least 1, got {max_images}")
    path = model_file(model)
    classifier = _classifier(Engine(path, device), preprocessing)
    files = labeled_files(Path(folder), classifier.labels).sample(max_images, seed)
    scores = _Scores(path, classifier)
    errors = _score(scores, files.paths, files.labels, progress or (lambda *_: None))
    unreadable = (*files.unreadable, *errors)
    if not scores.truth:
        raise DataError(f"{folder}: none of its images can be read; the first: {unreadable[0]}")
    if scores.variants[0].name in scores.untested:
        raise MissingDependency(f"{path}: {'; '.join(scores.notes)}")
    spec_score, rest = _compare(scores)
    equal = _no_worse(scores, [c.name for c in rest if c.better])
    return PreprocessingCheck(
        os.fspath(path),
        os.fspath(folder),
        spec_score,
        rest,
        tuple(v.name for v in scores.variants if v.name in scores.untested),
        unreadable,
        (*files.notes, *scores.notes, *_caveats(spec_score, rest, equal, set(scores.truth))),
        joined(scores.comparisons),
    )


def _classifier(engine: Engine, preprocessing: PreprocessingChoice | None) -> Classifier:
    try:
        return open_classifier(engine, preprocessing)
    except UnsupportedArtifact as error:
        text = str(error).removesuffix("; use Engine")
        raise UnsupportedArtifact(f"{text}; labeled images can't score it") from error


def _graph_pixels(path: Path, classifier: Classifier) -> tuple[GraphPixels | None, tuple[str, ...]]:
    """The graph's preprocessing, or the note why it can't be compared with the host's."""
    if not classifier.takes_images:
        return None, ()
    try:
        return GraphPixels(path, classifier.preprocessing, classifier.engine.device), ()
    except ImportError:
        reason = "that needs onnx; run: pip install 'cnntk[export]'"
    except NoNetwork as error:
        reason = str(error)
    return None, (f"the graph's pixels are not compared: {reason}",)


class _Scores:
    """Logits of all variants, collected in batches."""

    def __init__(self, path: Path, classifier: Classifier) -> None:
        self.variants = variants = variants_of(classifier.preprocessing)
        self._graph, self._graph_note = _graph_pixels(path, classifier)
        self.comparisons: list[PixelComparison] = []
        self.truth: list[int] = []
        self.untested: set[str] = set()
        self.differing = dict.fromkeys((variant.name for variant in variants), 0)
        self._network_input = NetworkInput(path, classifier)
        self._logits: dict[str, list[Array]] = {variant.name: [] for variant in variants}
        self._by_pixels = {variant.pixels_key: variant for variant in variants}

    @property
    def notes(self) -> tuple[str, ...]:
        """What was not tried and compared, with the reason."""
        untested = [variant.name for variant in self.variants if variant.name in self.untested]
        cause = self._network_input.note or "no uint8 image can express them"
        return *([f"not tried: {', '.join(untested)}; {cause}"] if untested else []), *self._graph_note

    def pixel_values(self, path: str) -> dict[Any, Array] | str:
        """Pixel values of an image by the key of each variant; the error where it can't be read."""
        try:
            image = read_image(path, background=self.variants[0].preprocessing.background)
        except ImageError as error:
            return error.for_option("")
        if self._graph is not None:
            self.comparisons.append(self._graph.compare(image, path))
        return {key: variant.pixel_values(image) for key, variant in self._by_pixels.items()}

    def add(self, batch: Sequence[dict[Any, Array]], truth: Iterable[int]) -> None:
        """Runs the network on a batch of results of `pixel_values`."""
        self.truth += truth
        spec = self.variants[0]
        for variant in self.variants:
            if variant.name in self.untested:
                continue
            logits = self._network_input.logits(
                np.stack([each[variant.pixels_key] for each in batch]), variant.preprocessing
            )
            if logits is None:
                self.untested.add(variant.name)
                continue
            self._logits[variant.name].append(logits)
            same = variant.pixels_key == spec.pixels_key
            pairs = ((each[variant.pixels_key], each[spec.pixels_key]) for each in batch)
            self.differing[variant.name] += sum(same or not np.array_equal(a, b) for a, b in pairs)

    def logits(self, variant: Variant) -> Array:
        """Logits (N, K) of a variant."""
        return np.concatenate(self._logits[variant.name])


def _score(
    scores: _Scores, paths: Sequence[str], labels: Sequence[int], progress: Callable[[int, int], None]
) -> list[str]:
    """Runs all variants on the images, and returns the errors of those that can't be read."""
    errors = []
    with ThreadPoolExecutor(usable_cores()) as pool:
        for start in range(0, len(paths), _BATCH):
            batch = list(pool.map(scores.pixel_values, paths[start : start + _BATCH]))
            errors += [image for image in batch if isinstance(image, str)]
            pairs = [
                (image, label)
                for image, label in zip(batch, labels[start : start + _BATCH], strict=True)
                if not isinstance(image, str)
            ]
            if pairs:
                scores.add([image for image, _ in pairs], [label for _, label in pairs])
            progress(start + len(batch), len(paths))
    return errors


def _compare(scores: _Scores) -> tuple[VariantScore, tuple[VariantScore, ...]]:
    truth, spec = np.array(scores.truth, dtype=np.int64), scores.variants[0]
    base = scores.logits(spec)
    right, likely = _right(base, truth), calibrated(base, truth)
    results = []
    for variant in scores.variants[1:]:
        if variant.name in scores.untested:
            continue
        logits = scores.logits(variant)
        now, differing = _right(logits, truth), scores.differing[variant.name]
        gained, lost = int((now & ~right).sum()), int((right & ~now).sum())
        score = _score_of(variant, spec, logits, truth, differing)
        if differing:
            score = replace(
                score,
                gained=gained,
                lost=lost,
                p_accuracy=mcnemar(gained, lost),
                p_likelihood=sign_flips(calibrated(logits, truth) - likely),
            )
        results.append(score)
    ranked = sorted(_corrected(results), key=lambda c: (-c.accuracy, -c.log_likelihood))
    return _score_of(spec, spec, base, truth, 0), tuple(ranked)


def _score_of(
    variant: Variant,
    spec: Variant,
    logits: Array,
    truth: NDArray[np.int64],
    differing: int,
) -> VariantScore:
    return VariantScore(
        variant.name,
        variant.change,
        variant.options(spec.preprocessing),
        len(truth),
        differing,
        float(_right(logits, truth).mean()),
        float(log_likelihoods(logits, truth).mean()),
    )


def _corrected(scores: Sequence[VariantScore]) -> list[VariantScore]:
    tested = [c for c in scores if c.differing]
    adjusted = holm([min(1.0, 2 * min(c.p_accuracy, c.p_likelihood)) for c in tested])
    highest = [max(p, c.p_accuracy) for p, c in zip(adjusted, tested, strict=True)]
    by_name = {c.name: replace(c, p=p, better=p < ALPHA) for c, p in zip(tested, highest, strict=True)}
    return [by_name.get(c.name, c) for c in scores]


def _no_worse(scores: _Scores, better: Sequence[str]) -> tuple[str, ...]:
    """Variants in ``better``, best first, that are not significantly worse than the best."""
    truth = np.array(scores.truth, dtype=np.int64)
    right = {v.name: _right(scores.logits(v), truth) for v in scores.variants if v.name in better}
    return tuple(
        name
        for name in better[1:]
        if mcnemar(int((right[better[0]] & ~right[name]).sum()), int((right[name] & ~right[better[0]]).sum()))
        >= ALPHA
    )


def _right(logits: Array, truth: NDArray[np.int64]) -> NDArray[np.bool_]:
    return np.asarray((logits.argmax(axis=1) == truth) & np.isfinite(logits).all(axis=1))


def _caveats(
    spec: VariantScore, variants: Sequence[VariantScore], equal: Sequence[str], classes: set[int]
) -> tuple[str, ...]:
    """Limits of what the result shows."""
    notes = []
    if equal:
        notes.append(f"as good on these images: {', '.join(equal)}")
    same = [c.name for c in variants if not c.differing]
    if same:
        notes.append(f"make no difference to these images: {', '.join(same)}")
    tried = len(variants) - len(same)
    least = next(n for n in range(1, 99) if 2 * tried * 0.5**n < ALPHA)
    if spec.images < least:
        notes.append(f"{spec.images} images are too few for {tried} variants; use at least {least}")
    chance = 1 / len(classes)
    spread = 2 * (chance * (1 - chance) / spec.images) ** 0.5
    if (
        len(classes) > 1
        and max([spec.accuracy, *(c.accuracy for c in variants if c.better)]) <= chance + spread
    ):
        notes.append(
            f"{_percent(spec)} is no better than guessing among {len(classes)} classes; check the labels"
        )
    better = [c.name for c in variants if c.better]
    if len(better) > 1:
        notes.append(
            f"{len(better)} variants are better; there may be several mistakes, so verify again after the fix"
        )
    return tuple(notes)


def _percent(score: VariantScore) -> str:
    return f"{100 * score.accuracy:.1f} %"
