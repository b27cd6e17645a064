"""From a file or its bytes to a label: where the time goes, step by step, with the steps of `Classifier`.

Each image goes two ways in turn: through `Classifier` as an app calls it, and through its steps with a clock
between them. What the whole call takes more than the sum of its steps is told.
"""

from __future__ import annotations

import io
import os
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from itertools import cycle, pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from cnntk.benchmark.interleaved import Interleaver
from cnntk.benchmark.patience import runs_at_least
from cnntk.benchmark.statistics.findings import interference
from cnntk.benchmark.statistics.intervals import median_interval
from cnntk.benchmark.statistics.system_load import read_counters
from cnntk.inference.finding import expand
from cnntk.inference.result import ImageResult
from cnntk.runtime.artifact.spec import IMAGE_INPUT, Preprocessing
from cnntk.runtime.classifier import Classifier, Prediction, Predictions
from cnntk.runtime.engine import Engine
from cnntk.runtime.errors import ImageError, NonFiniteOutput, UnsupportedArtifact, UsageError
from cnntk.runtime.files import readable_file
from cnntk.runtime.images.headers import HEAD_BYTES, file_format
from cnntk.runtime.images.reading import Pixels
from cnntk.runtime.preprocessing.preprocess import normalize, resize_and_crop

__all__ = [
    "STAGES",
    "FormatStages",
    "Stage",
    "Stages",
    "check_images",
    "classifier_of",
    "image_files",
    "prepared",
    "staged",
    "stages",
]

STAGES = ("read", "decode", "preprocess", "run", "postprocess")
"""In the order of the data."""

_WARM_UP, _AT_LEAST = 3, 20
"""Runs of each format: not counted, and counted."""

ImageFile = str | os.PathLike[str] | bytes


@dataclass(frozen=True)
class Stage:
    """One step.

    Attributes:
        name: of `STAGES`.
        ms: median over the runs.
        low_ms: lower end of its 95 % confidence interval.
        high_ms: upper end.
        share: of `FormatStages.sum_ms`, 0 to 1.
    """

    name: str
    ms: float
    low_ms: float
    high_ms: float
    share: float


@dataclass(frozen=True)
class FormatStages:
    """The way of the images of one format; decoding differs most between formats.

    Attributes:
        format: as ``PNG``.
        images: that were measured.
        runs: of each way.
        stages: in the order of the data.
        sum_ms: of the steps' medians, of which `Stage.share` is a share.
        whole_ms: median of `Classifier`'s own call.
        unaccounted_ms: what the whole call takes more than the steps: median over the pairs, which have one
            image and come one after the other; so it need not be ``whole_ms - sum_ms``, which the machine's
            noise moves more.
        unaccounted_low_ms: lower end of its 95 % confidence interval.
        unaccounted_high_ms: upper end.
    """

    format: str
    images: int
    runs: int
    stages: tuple[Stage, ...]
    sum_ms: float
    whole_ms: float
    unaccounted_ms: float
    unaccounted_low_ms: float
    unaccounted_high_ms: float


@dataclass(frozen=True)
class Stages:
    """What the way from image to label takes.

    Attributes:
        formats: a row each, by name.
        device: that ran the model.
        threads: of the model.
        notes: what to know about the figures.
    """

    formats: tuple[FormatStages, ...]
    device: str
    threads: int
    notes: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        """As JSON data."""
        return asdict(self)


def stages(
    model: str | os.PathLike[str],
    images: Sequence[ImageFile] = (),
    *,
    device: str = "cpu",
    threads: int | None = None,
    seconds: float = 3.0,
    checked: bool = False,
) -> Stages:
    """Measures the way from image to label, an image at a time.

    Args:
        model: an artifact that classifies images.
        images: files, or the bytes of files; by default one made in memory, of the size that the model takes,
            as PNG and as JPEG.
        device: as `Engine` takes it.
        threads: as `Engine` takes it.
        seconds: for all of it; at least 20 runs of each format, or 3 of those that take over a second, which
            may take longer.
        checked: whether `check_images` was called for these images already.

    Raises:
        UsageError: there is no time to measure in, or no such model or device.
        UnsupportedArtifact: the model does not say how an image becomes its input, or is no classifier.
        ImageError: an image can't be read.
    """
    if not 0 < seconds < float("inf"):
        raise UsageError(f"seconds {seconds:g} must be a positive number")
    classifier = classifier_of(Engine(model, device, threads=threads))
    if not checked:
        check_images(classifier, images)
    given = list(images) or list(_made(_preprocessing(classifier)))
    finite = _answers_finite(classifier, given[0])
    if not finite:
        classifier = classifier_of(Engine(model, device, threads=threads, allow_nonfinite=True))
    groups: dict[str, list[ImageFile]] = {}
    for image in given:
        groups.setdefault(_format(image), []).append(image)
    before = read_counters()
    rows = tuple(_measured(classifier, name, groups[name], seconds / len(groups)) for name in sorted(groups))
    disturbed = interference(before, read_counters())
    engine = classifier.engine
    let_through = () if finite else ("answers that are not finite were let through, which Engine refuses",)
    notes = (*_notes(classifier, images, rows), *let_through, *disturbed)
    return Stages(rows, engine.device, engine.threads, notes)


def classifier_of(engine: Engine) -> Classifier:
    """The same model, from image to label.

    Raises:
        UnsupportedArtifact: it does not say how an image becomes its input, or is no classifier.
    """
    try:
        return Classifier(engine)
    except UnsupportedArtifact as error:
        raise UnsupportedArtifact(
            f"{engine.name}: can't be measured end to end: its file must say how an image becomes its input "
            "and what its classes are, as cnntk export writes it for a classifier; leave out --end-to-end "
            "and --image (images)"
        ) from error


def check_images(classifier: Classifier, images: Sequence[ImageFile]) -> None:
    """Decodes each image once, so that none is found to be unreadable after long measuring.

    Raises:
        ImageError: one can't be read; it is named.
    """
    for number, image in enumerate(images, 1):
        try:
            classifier.read(image)
        except ImageError as error:
            if not isinstance(image, bytes):
                raise  # names the file
            raise ImageError(f"image {number} of {len(images)}: {error}") from error


def image_files(names: Iterable[str]) -> tuple[str, ...]:
    """The image files behind files, folders and patterns.

    Raises:
        UsageError: one is missing or may not be read, or a folder or pattern holds none.
    """
    found = []
    for entry in expand(names):
        if isinstance(entry, ImageResult):
            raise UsageError(str(entry.error))
        found.append(str(readable_file(entry, "an image")))
    return tuple(found)


def staged(classifier: Classifier, image: ImageFile) -> tuple[Prediction, list[int]]:
    """One image step by step: the best class, and the nanoseconds of each of `STAGES`."""
    clock, engine = time.perf_counter_ns, classifier.engine
    marks = [clock()]
    data = image if isinstance(image, bytes) else Path(image).read_bytes()
    marks.append(clock())
    pixels = classifier.read(data)
    marks.append(clock())
    batch = prepared(classifier, pixels)
    marks.append(clock())
    answers = engine.run({engine.inputs[0].name: batch})
    marks.append(clock())
    best = Predictions(classifier.labels, answers["probabilities"][0]).best
    marks.append(clock())
    return best, [after - before for before, after in pairwise(marks)]


def prepared(classifier: Classifier, pixels: Pixels) -> NDArray[Any]:
    """The network's input, (1, ...), as `Classifier` makes it of a single image."""
    given = classifier.engine.inputs[0]
    if given.name == IMAGE_INPUT and given.dtype == "uint8":
        return pixels[None]
    p = _preprocessing(classifier)
    return normalize(resize_and_crop(pixels, p)[None], p).astype(given.dtype, copy=False)


def _preprocessing(classifier: Classifier) -> Preprocessing:
    spec = classifier.engine.spec
    if spec is None or spec.preprocessing is None:
        raise ValueError(f"{classifier.engine.name}: has no preprocessing, so it is no classifier's")
    return spec.preprocessing


def _answers_finite(classifier: Classifier, image: ImageFile) -> bool:
    try:
        classifier(image)
    except NonFiniteOutput:
        return False
    return True


def _measured(classifier: Classifier, name: str, images: Sequence[ImageFile], seconds: float) -> FormatStages:
    """Both ways in turn, each first in every other pair."""

    def rounds_ns(seconds: float, min_rounds: int) -> NDArray[np.float64]:
        """Nanoseconds of each step and of the whole call, (rounds, steps + 1); a round has one image."""
        first, second = cycle(images), cycle(images)
        turns = {
            "steps": lambda: staged(classifier, next(first))[1],
            "whole": lambda: [_whole(classifier, next(second))],
        }
        times = Interleaver(seconds, min_rounds).run(turns)
        return np.array([[*s, *w] for s, w in zip(times["steps"], times["whole"], strict=True)], np.float64)

    pair_s = float(rounds_ns(0, 1).sum()) / 1e9
    if (more := runs_at_least(_WARM_UP, pair_s / 2, slow=1) - 1) > 0:
        rounds_ns(0, more)
    times_ns = rounds_ns(seconds, runs_at_least(_AT_LEAST, pair_s / 2))
    return _row(name, min(len(images), len(times_ns)), times_ns / 1e6)


def _whole(classifier: Classifier, image: ImageFile) -> int:
    start = time.perf_counter_ns()
    _ = classifier(image).best
    return time.perf_counter_ns() - start


def _row(name: str, images: int, taken_ms: NDArray[np.float64]) -> FormatStages:
    steps, whole = taken_ms[:, :-1], taken_ms[:, -1]
    sums = steps.sum(axis=1)
    medians = np.median(steps, axis=0)
    sum_ms = float(medians.sum())
    low, high = median_interval(whole - sums)
    return FormatStages(
        format=name,
        images=images,
        runs=len(whole),
        stages=tuple(
            Stage(stage, float(medians[i]), *median_interval(steps[:, i]), float(medians[i]) / sum_ms)
            for i, stage in enumerate(STAGES)
        ),
        sum_ms=sum_ms,
        whole_ms=float(np.median(whole)),
        unaccounted_ms=float(np.median(whole - sums)),
        unaccounted_low_ms=low,
        unaccounted_high_ms=high,
    )


def _format(image: ImageFile) -> str:
    if isinstance(image, bytes):
        return file_format(image[:HEAD_BYTES]) or "unknown"
    try:
        with open(image, "rb") as file:
            return file_format(file.read(HEAD_BYTES)) or "unknown"
    except OSError as error:
        raise ImageError(f"{os.fspath(image)}: can't be opened ({error.strerror})") from None


def _made(p: Preprocessing) -> Iterator[bytes]:
    """One image as two files: broad waves and some noise, so that it packs about as a photo does."""
    height, width = p.fitted_size
    rows, columns = np.mgrid[:height, :width]
    waves = 127.5 + 90 * np.sin(rows / 9)[..., None] * np.cos(columns / 7)[..., None] * np.ones(p.channels)
    noisy = waves + np.random.default_rng(0).normal(0, 6, waves.shape)
    levels = noisy.clip(0, 255).astype(np.uint8)
    picture = Image.fromarray(levels[:, :, 0] if p.channels == 1 else levels)
    for kind in ("PNG", "JPEG"):
        file = io.BytesIO()
        picture.save(file, kind)
        yield file.getvalue()


def _notes(
    classifier: Classifier, images: Sequence[ImageFile], rows: Iterable[FormatStages]
) -> Iterator[str]:
    p, given = _preprocessing(classifier), classifier.engine.inputs[0]
    height, width = p.fitted_size
    if not images:
        yield f"no images were given: one of {width}x{height} pixels, made in memory, stands for them"
    if all(isinstance(image, bytes) for image in images):
        yield "images are bytes in memory: nothing is read"
    else:
        yield "files come from the system's cache, not from the disk, once they were read"
    if given.name == IMAGE_INPUT:
        yield "the graph prepares images itself: that is in run, not in preprocess"
    if images and (left := len(images) - sum(row.images for row in rows)):
        yield f"{left} of {len(images)} images were not reached in the time given"
