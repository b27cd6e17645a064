"""Time of each step from an image file or its bytes to a label: the steps of `Classifier`.

Each image is classified twice, interleaved: by `Classifier` in one call, as an app does, and step by step
with a clock between the steps. The difference of the two is reported.
"""

from __future__ import annotations

import io
import os
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import cycle, pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from cnntk.benchmark._inputs import min_runs
from cnntk.benchmark.interleaved import Interleaver
from cnntk.benchmark.statistics.findings import interference
from cnntk.benchmark.statistics.intervals import Estimate, median_estimate
from cnntk.benchmark.statistics.system_load import read_counters
from cnntk.benchmark.workload import Workload
from cnntk.inference.input_files import expand
from cnntk.inference.model import open_classifier
from cnntk.inference.result import ImageResult
from cnntk.runtime.artifact.spec import IMAGE_INPUT, Preprocessing
from cnntk.runtime.classifier import Classifier, Prediction, Predictions
from cnntk.runtime.engine import Engine
from cnntk.runtime.errors import ImageError, NonFiniteOutput, UnsupportedArtifact, UsageError
from cnntk.runtime.files import readable_file
from cnntk.runtime.images.reading import Pixels
from cnntk.runtime.images.signatures import HEAD_BYTES, file_format
from cnntk.runtime.preprocessing.choice import PreprocessingChoice
from cnntk.runtime.sections import (
    Bar,
    Bars,
    Chart,
    Column,
    Part,
    Section,
    Table,
    TableCell,
    interval,
    number,
    percent,
)  # fmt: skip

__all__ = [
    "STAGES",
    "FormatStages",
    "ImageFile",
    "Stage",
    "Stages",
    "check_images",
    "classifier_of",
    "classify_in_stages",
    "expand_images",
    "measure_stages",
]

STAGES = ("read", "decode", "preprocess", "run", "postprocess")
"""Names of the steps, in their order."""

_WARM_UP_RUNS, _MIN_RUNS = 3, 20

ImageFile = str | os.PathLike[str] | bytes


@dataclass(frozen=True)
class Stage:
    """One step from image file to label.

    Attributes:
        name: Name of the step: read, decode, preprocess, run or postprocess.
        time_ms: Median time of the step.
        share: Share of `FormatStages.sum_ms`, 0 to 1.
    """

    name: str
    time_ms: Estimate
    share: float


@dataclass(frozen=True)
class FormatStages:
    """Steps of the images of one file format; decoding differs most between formats.

    Attributes:
        format: File format, like ``PNG``.
        images: Number of images that were measured.
        runs: Number of times that an image was classified, step by step and in one call each.
        stages: Steps, in their order.
        sum_ms: Sum of the medians of the steps.
        call_ms: Median time of one call of `Classifier`.
        unaccounted_ms: Time that the one call takes more than the steps: the median over pairs of one image,
            one right after the other. It need not be ``call_ms - sum_ms``, which varies more with the load of
            the machine.
    """

    format: str
    images: int
    runs: int
    stages: tuple[Stage, ...]
    sum_ms: float
    call_ms: float
    unaccounted_ms: Estimate


@dataclass(frozen=True)
class Stages:
    """Time of each step from image file to label.

    Attributes:
        formats: Steps of each file format, ordered by name.
        device: Device that ran the model.
        threads: Number of CPU threads of the model.
        notes: Remarks about the figures, a sentence each.
    """

    formats: tuple[FormatStages, ...]
    device: str
    threads: int
    notes: tuple[str, ...]

    def sections(self) -> tuple[Section, ...]:
        """The steps of each format, for text and pages."""
        if not self.formats:
            return (Section("End to end", notes=self.notes),)
        headline = "; ".join(_longest_step(row) for row in self.formats)
        columns = (
            Column("format, ms"),
            *(Column(stage.name, "right") for stage in self.formats[0].stages),
            Column("sum", "right"),
            Column("images", "right", optional=True),
            Column("runs", "right", optional=True),
        )
        rows: tuple[tuple[str | TableCell, ...], ...] = tuple(
            (
                row.format,
                *(_stage_cell(stage) for stage in row.stages),
                number(row.sum_ms),
                f"{row.images:,}",
                f"{row.runs:,}",
            )
            for row in self.formats
        )
        method = (
            "One image at a time, step by step and in one call, interleaved; medians. How much longer the "
            "one call takes is the median over pairs of successive calls, which interference affects less "
            "than the difference of the two medians."
        )
        bars = Bars("ms an image", tuple(_bar(row) for row in self.formats))
        return (
            Section(
                "End to end",
                headline,
                method,
                tuple((f"{row.format} in one call", _one_call(row)) for row in self.formats),
                (Table(columns, rows),),
                (Chart("stages", "bars", headline, bars),),
                self.notes,
            ),
        )


def _longest_step(row: FormatStages) -> str:
    longest = max(row.stages, key=lambda stage: stage.time_ms.value)
    return f"{row.format} takes {number(row.sum_ms)} ms, {percent(longest.share)} of it to {longest.name}"


def _stage_cell(stage: Stage) -> TableCell:
    hint = f"{percent(stage.share)}; 95 % interval {interval(stage.time_ms)} ms"
    return TableCell(number(stage.time_ms.value), hint)


def _one_call(row: FormatStages) -> str:
    low, high = row.unaccounted_ms.low, row.unaccounted_ms.high
    pairs = f"{row.unaccounted_ms.value:+#.2g} ms ({low:+#.2g} to {high:+#.2g})"
    return f"{number(row.call_ms)} ms; pair by pair {pairs} compared with the steps"


def _bar(row: FormatStages) -> Bar:
    parts = tuple(
        Part(stage.name, stage.time_ms.value, f"{number(stage.time_ms.value)} ms") for stage in row.stages
    )
    one_call = Part("in one call", row.call_ms, f"{number(row.call_ms)} ms")
    return Bar(f"{row.format}: {number(row.sum_ms)} ms", parts, one_call)


def measure_stages(
    workload: Workload, images: Sequence[ImageFile] = (), preprocessing: PreprocessingChoice | None = None
) -> Stages:
    """Measures the steps from image to label, one image at a time.

    Args:
        workload: Artifact that classifies images. Its time is for all formats together; at least 20 runs of
            each format are made, or 3 if a run takes over a second, which may take longer.
        images: Image files, or their bytes, that `check_images` accepts; by default one made in memory, of
            the model's input size, as PNG and as JPEG.
        preprocessing: Preprocessing of a model that states none.

    Raises:
        UsageError: There is no such model or device.
        UnsupportedArtifact: The model is not a classifier, or its file has no preprocessing.
        ImageError: An image can't be read.
    """
    classifier = classifier_of(workload.engine(), preprocessing)
    files = list(images) or list(_example_images(classifier.preprocessing))
    finite = _has_finite_outputs(classifier, files[0])
    if not finite:
        classifier = classifier_of(workload.engine(allow_nonfinite=True), preprocessing)
    groups: dict[str, list[ImageFile]] = {}
    for image in files:
        groups.setdefault(_format(image), []).append(image)
    before = read_counters()
    seconds = workload.seconds / len(groups)
    rows = tuple(_measure_format(classifier, name, groups[name], seconds) for name in sorted(groups))
    disturbance = interference(before, read_counters())
    engine = classifier.engine
    nonfinite = () if finite else ("outputs are not finite; Engine refuses them by default, bench does not",)
    notes = (*_notes(classifier, images, rows), *nonfinite, *disturbance)
    return Stages(rows, engine.device, engine.threads, notes)


def classifier_of(engine: Engine, preprocessing: PreprocessingChoice | None = None) -> Classifier:
    """A classifier of the engine's model.

    Raises:
        UnsupportedArtifact: The model is not a classifier, or its file has no preprocessing.
    """
    try:
        return open_classifier(engine, preprocessing)
    except UnsupportedArtifact as error:
        raise UnsupportedArtifact(
            f"{str(error).removesuffix('; use Engine')}; it can't be measured end to end: leave out "
            "--end-to-end and --image (end_to_end, images)"
        ) from error


def check_images(classifier: Classifier, images: Sequence[ImageFile]) -> None:
    """Decodes each image once, so that an unreadable one is reported before long measurements.

    Raises:
        ImageError: An image can't be read; the message names it.
    """
    for index, image in enumerate(images, 1):
        try:
            classifier.read(image)
        except ImageError as error:
            if not isinstance(image, bytes):
                raise  # names the file
            raise ImageError(f"image {index} of {len(images)}: {error}") from error


def expand_images(images: Iterable[ImageFile]) -> tuple[ImageFile, ...]:
    """The image files of files, folders and patterns; bytes of files stay as they are.

    Raises:
        UsageError: A file does not exist or is not readable, or a folder or pattern has no images.
    """
    files: list[ImageFile] = []
    for image in images:
        if isinstance(image, bytes):
            files.append(image)
            continue
        for entry in expand([os.fspath(image)]):
            if isinstance(entry, ImageResult):
                raise UsageError(str(entry.error))
            files.append(str(readable_file(entry, "an image")))
    return tuple(files)


def classify_in_stages(classifier: Classifier, image: ImageFile) -> tuple[Prediction, list[int]]:
    """Classifies an image step by step: the best class, and the nanoseconds of each of `STAGES`."""
    clock, engine = time.perf_counter_ns, classifier.engine
    marks = [clock()]
    data = image if isinstance(image, bytes) else Path(image).read_bytes()
    marks.append(clock())
    pixels = classifier.read(data)
    marks.append(clock())
    batch = _network_input(classifier, pixels)
    marks.append(clock())
    outputs = engine.run({engine.inputs[0].name: batch})
    marks.append(clock())
    best = Predictions(classifier.labels, classifier.scores.probabilities(outputs)[0]).best
    marks.append(clock())
    return best, [after - before for before, after in pairwise(marks)]


def _network_input(classifier: Classifier, pixels: Pixels) -> NDArray[Any]:
    """The network's input, (1, ...), as `Classifier` makes it of one image."""
    return classifier.batch([pixels if classifier.takes_images else classifier.prepare(pixels)])


def _has_finite_outputs(classifier: Classifier, image: ImageFile) -> bool:
    try:
        classifier(image)
    except NonFiniteOutput:
        return False
    return True


def _measure_format(
    classifier: Classifier, name: str, images: Sequence[ImageFile], seconds: float
) -> FormatStages:
    """Measures step by step and in one call, interleaved; each is first in every other pair."""

    def measure_ms(seconds: float, min_rounds: int) -> NDArray[np.float64]:
        """Milliseconds of each step and of the one call, (rounds, steps + 1); a round has one image."""
        for_steps, for_call = cycle(images), cycle(images)
        turns = {
            "steps": lambda: classify_in_stages(classifier, next(for_steps))[1],
            "call": lambda: [_time_call(classifier, next(for_call))],
        }
        times = Interleaver(seconds, min_rounds).run(turns)
        rounds = zip(times["steps"], times["call"], strict=True)
        return np.array([[*steps, *call] for steps, call in rounds], np.float64) / 1e6

    run_s = float(measure_ms(0, 1).sum()) / 2e3
    if (warm_up_runs := min_runs(_WARM_UP_RUNS, run_s, slow=1) - 1) > 0:
        measure_ms(0, warm_up_runs)
    times_ms = measure_ms(seconds, min_runs(_MIN_RUNS, run_s))
    return _row(name, min(len(images), len(times_ms)), times_ms)


def _time_call(classifier: Classifier, image: ImageFile) -> int:
    start = time.perf_counter_ns()
    _ = classifier(image).best
    return time.perf_counter_ns() - start


def _row(name: str, images: int, times_ms: NDArray[np.float64]) -> FormatStages:
    """Summary of ``times_ms`` (runs, steps + 1), whose last column is the one call."""
    steps, calls = times_ms[:, :-1], times_ms[:, -1]
    estimates = [median_estimate(column) for column in steps.T]
    sum_ms = sum(estimate.value for estimate in estimates)
    return FormatStages(
        format=name,
        images=images,
        runs=len(calls),
        stages=tuple(
            Stage(stage, estimate, estimate.value / sum_ms)
            for stage, estimate in zip(STAGES, estimates, strict=True)
        ),
        sum_ms=sum_ms,
        call_ms=float(np.median(calls)),
        unaccounted_ms=median_estimate(calls - steps.sum(axis=1)),
    )


def _format(image: ImageFile) -> str:
    if isinstance(image, bytes):
        return file_format(image[:HEAD_BYTES]) or "unknown"
    try:
        with open(image, "rb") as file:
            return file_format(file.read(HEAD_BYTES)) or "unknown"
    except OSError as error:
        raise ImageError(f"{os.fspath(image)}: can't be opened ({error.strerror})") from None


def _example_images(p: Preprocessing) -> Iterator[bytes]:
    """One image as PNG and as JPEG: waves and noise that compress about as a photo does."""
    height, width = p.fitted_size
    rows, columns = np.mgrid[:height, :width]
    waves = 127.5 + 90 * np.sin(rows / 9)[..., None] * np.cos(columns / 7)[..., None] * np.ones(p.channels)
    noisy = waves + np.random.default_rng(0).normal(0, 6, waves.shape)
    pixels = noisy.clip(0, 255).astype(np.uint8)
    image = Image.fromarray(pixels[:, :, 0] if p.channels == 1 else pixels)
    for file_type in ("PNG", "JPEG"):
        file = io.BytesIO()
        image.save(file, file_type)
        yield file.getvalue()


def _notes(
    classifier: Classifier, images: Sequence[ImageFile], rows: Iterable[FormatStages]
) -> Iterator[str]:
    height, width = classifier.preprocessing.fitted_size
    if not images:
        yield f"no images: measured with one of {width}x{height} pixels, made in memory"
    if all(isinstance(image, bytes) for image in images):
        yield "images are bytes in memory: nothing is read"
    else:
        yield "files come from the system's cache, not from the disk, once they were read"
    if classifier.engine.inputs[0].name == IMAGE_INPUT:
        yield "the graph preprocesses images itself: that time is in run, not in preprocess"
    if images and (left := len(images) - sum(row.images for row in rows)):
        yield f"{left} of {len(images)} images were not reached in the time limit"
