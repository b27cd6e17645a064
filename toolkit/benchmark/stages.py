"""Time of each step from an image file or its bytes to a label: the steps of `Classifier`.

Each image is classified twice, interleaved: by `Classifier` in one call, as an app does, and step by step
with a clock between the steps. The difference of the two is reported.

A graph that resizes images is run with each image once more, resized already: how much longer a run takes
with the image itself is the time of preprocessing, the rest is that of the network.
"""

from __future__ import annotations

import io
import math
import os
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
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
from cnntk.runtime.artifact.spec import Preprocessing
from cnntk.runtime.classifier import Classifier, Prediction, Predictions
from cnntk.runtime.engine import Engine
from cnntk.runtime.errors import ImageError, NonFiniteOutput, UnsupportedArtifact, UsageError
from cnntk.runtime.files import readable_file
from cnntk.runtime.images.reading import Pixels
from cnntk.runtime.images.signatures import HEAD_BYTES, file_format
from cnntk.runtime.preprocessing.choice import PreprocessingChoice
from cnntk.runtime.preprocessing.preprocess import fit
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
    "PHOTOGRAPH_SIZES",
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

PHOTOGRAPH_SIZES = ((375, 500), (1080, 1920))
"""Heights and widths of typical photographs, to measure without images of the user's."""

_PREPROCESS, _RUN = STAGES.index("preprocess"), STAGES.index("run")

ImageFile = str | os.PathLike[str] | bytes


@dataclass(frozen=True)
class Stage:
    """One step from image file to label.

    Attributes:
        name: Name of the step: read, decode, preprocess, run or postprocess.
        time_ms: Median time of the step. Where the graph resizes images, that is part of preprocess and not
            of run.
        share: Share of `FormatStages.sum_ms`, 0 to 1.
    """

    name: str
    time_ms: Estimate
    share: float


@dataclass(frozen=True)
class FormatStages:
    """Steps of the images of one file format, and of one size where bench made them.

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
        size: Height and width of images made in memory; None for those of the user.
    """

    format: str
    images: int
    runs: int
    stages: tuple[Stage, ...]
    sum_ms: float
    call_ms: float
    unaccounted_ms: Estimate
    size: tuple[int, int] | None = None

    @property
    def name(self) -> str:
        """Format and size: ``JPEG 500x375``."""
        return self.format if self.size is None else f"{self.format} {self.size[1]}x{self.size[0]}"


@dataclass(frozen=True)
class Stages:
    """Time of each step from image file to label.

    Attributes:
        formats: Steps of each file format, ordered by name and size.
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
            Column("image, ms"),
            *(Column(stage.name, "right") for stage in self.formats[0].stages),
            Column("sum", "right"),
            Column("images", "right", optional=True),
            Column("runs", "right", optional=True),
        )
        rows: tuple[tuple[str | TableCell, ...], ...] = tuple(
            (
                row.name,
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
                tuple((f"{row.name} in one call", _one_call(row)) for row in self.formats),
                (Table(columns, rows),),
                (Chart("stages", "bars", headline, bars),),
                self.notes,
            ),
        )


def _longest_step(row: FormatStages) -> str:
    longest = max(row.stages, key=lambda stage: stage.time_ms.value)
    return f"{row.name} takes {number(row.sum_ms)} ms, {percent(longest.share)} of it to {longest.name}"


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
    return Bar(f"{row.name}: {number(row.sum_ms)} ms", parts, one_call)


def measure_stages(
    workload: Workload, images: Sequence[ImageFile] = (), preprocessing: PreprocessingChoice | None = None
) -> Stages:
    """Measures the steps from image to label, one image at a time.

    Args:
        workload: Artifact that classifies images. Its time is for all formats together; at least 20 runs of
            each format are made, or 3 if a run takes over a second, which may take longer.
        images: Image files, or their bytes, that `check_images` accepts; by default images made in memory: of
            the size that needs no resize, as PNG and as JPEG, and of the sizes of photographs, as JPEG.
        preprocessing: Preprocessing of a model that states none.

    Raises:
        UsageError: There is no such model or device.
        UnsupportedArtifact: The model is not a classifier, or its file has no preprocessing.
        ImageError: An image can't be read.
    """
    classifier = classifier_of(workload.engine(), preprocessing)
    groups: dict[tuple[str, tuple[int, ...]], list[ImageFile]] = {}
    for image in images:
        groups.setdefault((_format(image), ()), []).append(image)
    groups = groups or {key: [image] for key, image in _example_images(classifier.preprocessing).items()}
    finite = _has_finite_outputs(classifier, next(iter(groups.values()))[0])
    if not finite:
        classifier = classifier_of(workload.engine(allow_nonfinite=True), preprocessing)
    before = read_counters()
    seconds = workload.seconds / len(groups)
    rows = tuple(
        replace(
            _measure_format(classifier, name, groups[name, size], seconds),
            size=(size[0], size[1]) if size else None,
        )
        for name, size in sorted(groups)
    )
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


def _resizes(classifier: Classifier) -> bool:
    """Whether the graph resizes images."""
    return classifier.takes_images and not classifier.takes_one_size


def _time_without_resize(classifier: Classifier, image: ImageFile) -> float:
    """Nanoseconds of a run with the image resized already; NaN if it needs no resize."""
    pixels, p = classifier.read(image), classifier.preprocessing
    if pixels.shape[:2] == p.fitted_size:
        return math.nan
    batch = classifier.batch([fit(pixels, replace(p, levels="uint8"))])
    start = time.perf_counter_ns()
    classifier.engine.run({classifier.engine.inputs[0].name: batch})
    return time.perf_counter_ns() - start


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
        for_steps, for_call, for_network = cycle(images), cycle(images), cycle(images)
        turns: dict[str, Callable[[], list[float]]] = {
            "steps": lambda: [*classify_in_stages(classifier, next(for_steps))[1]],
            "call": lambda: [_time_call(classifier, next(for_call))],
        }
        if _resizes(classifier):
            turns["network"] = lambda: [_time_without_resize(classifier, next(for_network))]
        times = {
            name: np.array(rows) / 1e6 for name, rows in Interleaver(seconds, min_rounds).run(turns).items()
        }
        if "network" in times:
            resize = np.nan_to_num(times["steps"][:, _RUN] - times["network"][:, 0])
            times["steps"][:, _PREPROCESS] += resize
            times["steps"][:, _RUN] -= resize
        return np.hstack([times["steps"], times["call"]])

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
    estimates = [_not_negative(median_estimate(column)) for column in steps.T]
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


def _not_negative(estimate: Estimate) -> Estimate:
    """A difference of two times may come out below 0."""
    low, value, high = (max(0.0, x) for x in (estimate.low, estimate.value, estimate.high))
    return replace(estimate, low=low, value=value, high=high)


def _format(image: ImageFile) -> str:
    if isinstance(image, bytes):
        return file_format(image[:HEAD_BYTES]) or "unknown"
    try:
        with open(image, "rb") as file:
            return file_format(file.read(HEAD_BYTES)) or "unknown"
    except OSError as error:
        raise ImageError(f"{os.fspath(image)}: can't be opened ({error.strerror})") from None


def _example_images(p: Preprocessing) -> dict[tuple[str, tuple[int, int]], bytes]:
    """Images by format and size: one that needs no resize as PNG and as JPEG, photographs as JPEG."""
    keys = [("PNG", p.fitted_size), *(("JPEG", size) for size in (p.fitted_size, *PHOTOGRAPH_SIZES))]
    return {(name, size): _example_image(name, size, p.channels) for name, size in keys}


def _example_image(file_type: str, size: tuple[int, int], channels: int) -> bytes:
    """Waves and noise that compress about as a photo does."""
    rows, columns = np.indices(size)
    waves = 127.5 + 90 * np.sin(rows / 9)[..., None] * np.cos(columns / 7)[..., None] * np.ones(channels)
    noisy = waves + np.random.default_rng(0).normal(0, 6, waves.shape)
    pixels = noisy.clip(0, 255).astype(np.uint8)
    file = io.BytesIO()
    Image.fromarray(pixels[:, :, 0] if channels == 1 else pixels).save(file, file_type)
    return file.getvalue()


def _notes(
    classifier: Classifier, images: Sequence[ImageFile], rows: Iterable[FormatStages]
) -> Iterator[str]:
    height, width = classifier.preprocessing.fitted_size
    if not images:
        yield (
            f"no images: measured with images made in memory, of {width}x{height} pixels, which need no "
            "resize, and of the sizes of photographs"
        )
    if all(isinstance(image, bytes) for image in images):
        yield "images are bytes in memory: nothing is read"
    else:
        yield "files come from the system's cache, not from the disk, once they were read"
    if _resizes(classifier):
        yield (
            f"the graph resizes images itself: preprocess is how much longer a run takes than with the same "
            f"image resized to {width}x{height} before; its other steps are in run"
        )
    if images and (left := len(images) - sum(row.images for row in rows)):
        yield f"{left} of {len(images)} images were not reached in the time limit"
