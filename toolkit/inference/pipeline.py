"""`infer`: files in, results out, in order, on all cores, in memory that does not grow with their number.

Each worker takes some files, decodes and resizes them one by one, and runs the network on them as one batch,
on a single core. This measured faster than one network on all cores with separate decoding threads, as
workers never wait for each other and a convolution is most efficient on one core. Where the network uses
more than a core (a GPU, or an engine with several threads), its calls take turns while other workers decode.
"""

from __future__ import annotations

import os
import sys
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from itertools import chain, islice
from typing import Any, cast

from cnntk.inference.model import ModelLike, load_model
from cnntk.inference.names import STANDARD_INPUT
from cnntk.inference.result import ImageResult
from cnntk.runtime.classifier import Classifier
from cnntk.runtime.errors import ImageError
from cnntk.runtime.image_engine import ImageEngine
from cnntk.runtime.images.reading import MAX_MEGAPIXELS, DecodedImage, ImageSource, Pixels
from cnntk.runtime.preprocessing.choice import PreprocessingChoice
from cnntk.runtime.session.cores import usable_cores

__all__ = ["BATCH", "DEVICE_BATCH", "InputFile", "NamedImage", "default_batch", "infer"]


@dataclass(frozen=True, eq=False)
class NamedImage:
    """An image that is decoded when it is classified.

    Attributes:
        file: Name in the result.
        source: Path of a file, pixels as `decode_image` takes them, or a decoded image.
    """

    file: str
    source: ImageSource | DecodedImage


InputFile = str | os.PathLike[str] | ImageResult

BATCH = 8
"""Default number of images in a batch on the CPU."""

DEVICE_BATCH = 32
"""Default number of images in a batch on another device."""

_THREADS = "cnntk-infer"
_AHEAD = 6
"""Number of batches per worker that are started ahead, so that a slow image does not block the others."""

_BATCH_BYTES = 1 << 26
"""Size of the pixels at which a batch runs before it is full."""


def infer(
    model: ModelLike,
    files: Iterable[InputFile | NamedImage],
    *,
    device: str = "cpu",
    threads: int | None = None,
    batch: int | None = None,
    max_megapixels: float = MAX_MEGAPIXELS,
    limit_name: str = "max_megapixels",
    preprocessing: PreprocessingChoice | None = None,
    labels: Sequence[str] | None = None,
    arrays: bool = False,
    notify: Callable[[str], object] = lambda text: None,
) -> Iterator[ImageResult]:
    """Runs a model on image files, in order; files that can't be read give a result with an error.

    Results are yielded while later files are processed. A bounded number of names is read ahead, so ``files``
    may be infinite.

    Args:
        model: An ``.onnx`` file, or a `Classifier` or `ImageEngine`, which is used as it is; for many images
            create it with ``threads=1``, as is done for a file.
        files: Paths, ``-`` for standard input, named images, and finished results, which are passed on;
            `expand` yields them for folders and patterns.
        device: Device, as `Engine` takes it.
        threads: Number of threads. Default: one for each core available to this process.
        batch: Number of images in a batch. Default: 8, on a GPU 32, less where there are too few files to use
            all cores.
        max_megapixels: Size in megapixels above which an image is refused.
        limit_name: Name of ``max_megapixels`` in messages: the caller's option.
        preprocessing: Preprocessing of a model that states none.
        labels: Names of the classes of a model that states none.
        arrays: Whether results hold a classifier's arrays instead of predictions.
        notify: Function that receives remarks about the model.

    Raises:
        CnntkError: The model is not usable, or fails.
    """
    if isinstance(files, str | bytes | os.PathLike):
        raise TypeError(f"files: expected a list of names, got one, {files!r}; expand([...]) lists a folder")
    if (batch is not None and batch < 1) or (threads is not None and threads < 1):
        raise ValueError(f"batch and threads must be at least 1, got {batch} and {threads}")
    cores = threads or usable_cores()
    files = iter(files)
    full = cores * BATCH
    head = list(islice(files, 2 if batch else full))
    loaded = load_model(
        model,
        device,
        cores,
        many=len(head) > 1,
        preprocessing=preprocessing,
        labels=labels,
        arrays=arrays,
        notify=notify,
    )
    if batch is None:
        batch = default_batch(loaded) if len(head) == full else max(1, -(-len(head) // cores))
    work = _Work(loaded, arrays, max_megapixels, limit_name, _gate(loaded, cores))
    return _results(work, chain(head, files), cores, batch)


def default_batch(model: ImageEngine) -> int:
    """Number of images in a batch, where there are enough."""
    return BATCH if model.engine.device == "cpu" else DEVICE_BATCH


def _gate(model: ImageEngine, cores: int) -> threading.BoundedSemaphore:
    """Semaphore that admits as many calls of the network as there are cores for them."""
    engine = model.engine
    return threading.BoundedSemaphore(max(1, cores // engine.threads) if engine.device == "cpu" else 1)


class _StandardInput:
    """Bytes of standard input, with a name for messages."""

    name = "standard input"

    def read(self, size: int) -> bytes:
        """Reads up to ``size`` bytes."""
        if sys.stdin is None:
            raise ImageError(f"{self.name}: is closed; name a file")
        return sys.stdin.buffer.read(size)


@dataclass(frozen=True, eq=False)
class _Work:
    """Work on a batch of files, which is shared by all workers.

    Attributes:
        model: Model, a `Classifier` or another.
        arrays: Whether results hold a classifier's arrays.
        max_megapixels: Size in megapixels above which an image is refused.
        limit_name: Name of that limit in messages.
        gate: Semaphore that is held while the network runs.
        stopped: Event that is set when no more results are needed.
    """

    model: ImageEngine
    arrays: bool
    max_megapixels: float
    limit_name: str
    gate: AbstractContextManager[object]
    stopped: threading.Event = field(default_factory=threading.Event)

    def __call__(self, files: Sequence[NamedImage | ImageResult]) -> list[ImageResult]:
        """Returns a result for each file."""
        results: list[ImageResult] = []
        waiting: list[tuple[int, Pixels]] = []
        for file in files:
            if self.stopped.is_set():
                return []
            if isinstance(file, ImageResult):
                results.append(file)
                continue
            try:
                decoded = self.decode(file.source)
            except ImageError as error:
                results.append(self.refused(file.file, error))
                continue
            waiting.append((len(results), self.model.prepare(decoded.pixels)))
            results.append(ImageResult(file.file, None, notes=decoded.notes))
            if sum(pixels.nbytes for _, pixels in waiting) > _BATCH_BYTES:
                self._run(waiting, results)
        self._run(waiting, results)
        return results

    def decode(self, source: ImageSource | _StandardInput | DecodedImage) -> DecodedImage:
        """Decodes the pixels."""
        if isinstance(source, DecodedImage):
            return source
        return self.model.decode(cast(ImageSource, source), max_megapixels=self.max_megapixels)

    def refused(self, file: str, error: ImageError) -> ImageResult:
        """The result of an image that can't be read."""
        return ImageResult(file, None, error.for_option(self.limit_name))

    def _run(self, waiting: list[tuple[int, Pixels]], results: list[ImageResult]) -> None:
        """Runs the model on the waiting pixels and fills in the results at their indices."""
        if not waiting or self.stopped.is_set():
            return
        images = [pixels for _, pixels in waiting]
        with self.gate:
            if isinstance(self.model, Classifier) and not self.arrays:
                predictions = self.model.classify_prepared(images)
                fields: list[dict[str, Any]] = [{"predictions": each} for each in predictions]
            else:  # one by one: outputs of other models need no axis for the batch
                fields = [{"outputs": self.model.run_prepared(image)} for image in images]
        for (index, _), values in zip(waiting, fields, strict=True):
            results[index] = replace(results[index], **values)
        waiting.clear()


def _results(
    work: _Work, files: Iterator[InputFile | NamedImage], cores: int, batch: int
) -> Iterator[ImageResult]:
    on_cpu = work.model.engine.device == "cpu"
    workers = cores if on_cpu else cores + 1  # one of them waits for the device
    batches = _batches(work, files, batch)
    pending: deque[Future[list[ImageResult]]] = deque()
    pool = ThreadPoolExecutor(workers, thread_name_prefix=_THREADS)
    try:
        for names in batches:
            pending.append(pool.submit(work, names))
            if len(pending) > _AHEAD * workers or pending[0].done():
                yield from pending.popleft().result()
        while pending:
            yield from pending.popleft().result()
    finally:
        work.stopped.set()
        # The garbage collector ends abandoned results in any thread, and none can wait for itself.
        in_worker = threading.current_thread().name.startswith(_THREADS)
        pool.shutdown(wait=not in_worker, cancel_futures=True)


def _batches(
    work: _Work, files: Iterator[InputFile | NamedImage], size: int
) -> Iterator[list[NamedImage | ImageResult]]:
    while batch := [_prepare_input(work, file) for file in islice(files, size)]:
        yield batch


def _prepare_input(work: _Work, file: InputFile | NamedImage) -> NamedImage | ImageResult:
    if isinstance(file, ImageResult | NamedImage):
        return file
    name = os.fspath(file)
    if name != STANDARD_INPUT:
        return NamedImage(name, name)
    try:  # not in a worker, which Ctrl-C could not interrupt
        return NamedImage(name, work.decode(_StandardInput()))
    except ImageError as error:
        return work.refused(name, error)
