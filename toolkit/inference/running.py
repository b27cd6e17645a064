"""`infer`: files in, results out, in order, on all cores, in memory that does not grow with their number.

Each worker takes some files and does all there is to do with them: decodes them one by one, makes them small,
and runs the network on them as one batch, on the one core that it has. Measured against one network on all
cores that is fed by decoding threads, that was the faster: nothing waits for anything else, and a convolution
on one core costs least. Where the network itself takes more than a core (a GPU, or an engine of several
threads) its calls take turns, and the workers decode meanwhile.
"""

from __future__ import annotations

import os
import sys
import threading
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from itertools import chain, islice
from typing import cast

from cnntk.inference.finding import STANDARD_INPUT
from cnntk.inference.result import ImageResult
from cnntk.runtime.classifier import Classifier
from cnntk.runtime.errors import ImageError
from cnntk.runtime.images.reading import MAX_MEGAPIXELS, DecodedImage, ImageSource, Pixels
from cnntk.runtime.session.cores import usable_cores

__all__ = ["BATCH", "BATCH_ELSEWHERE", "File", "Model", "default_batch", "infer", "opened"]

Model = Classifier | str | os.PathLike[str] | bytes
File = str | os.PathLike[str] | ImageResult

BATCH = 8
"""Images that go through the network together on the CPU."""

BATCH_ELSEWHERE = 32
"""And on another device."""

_AHEAD = 6
"""Batches for each worker that are begun while the first is waited for: what one slow image may hold up."""

_BATCH_BYTES = 1 << 26
"""Of pixels that wait for their batch to be full: beyond, it goes as it is."""


def infer(
    model: Model,
    files: Iterable[File],
    *,
    device: str = "cpu",
    threads: int | None = None,
    batch: int | None = None,
    max_megapixels: float = MAX_MEGAPIXELS,
) -> Iterator[ImageResult]:
    """Classifies image files, in order; one that can't be read does not stop the rest.

    Results come while later files are worked on. A bounded number of names is read ahead, so that there may
    be no end of them.

    Args:
        model: an artifact, or a `Classifier`, which is then used as it is; for many images make it with
            ``threads=1``, which is what is done with an artifact.
        files: paths, ``-`` for standard input, and results that are known already, which are passed on;
            `expand` makes them of folders and patterns.
        device: as `Engine` takes it.
        threads: how many to use; by default one for each core that this process may use.
        batch: images that go through the network together; by default 8, on a GPU 32, fewer where there are
            too few files to keep all cores busy.
        max_megapixels: larger images are refused.

    Raises:
        CnntkError: the model can't be used, or fails.
    """
    if isinstance(files, str | bytes | os.PathLike):
        raise TypeError(f"files: expected a list of names, got one, {files!r}; expand([...]) lists a folder")
    if (batch is not None and batch < 1) or (threads is not None and threads < 1):
        raise ValueError(f"batch and threads must be at least 1, got {batch} and {threads}")
    cores = threads or usable_cores()
    files = iter(files)
    enough = cores * BATCH
    begun = list(islice(files, 2 if batch else enough))
    classifier = opened(model, device, cores, many=len(begun) > 1)
    if batch is None:
        batch = default_batch(classifier) if len(begun) == enough else max(1, -(-len(begun) // cores))
    work = _Work(classifier, max_megapixels, _gate(classifier, cores))
    return _results(work, chain(begun, files), cores, batch)


def opened(model: Model, device: str, cores: int, *, many: bool) -> Classifier:
    """The model to be called on each core for itself where there are ``many`` images, else on all at once."""
    if isinstance(model, Classifier):
        return model
    return Classifier(model, device, threads=1 if many else cores)


def default_batch(classifier: Classifier) -> int:
    """Images that go through the network together where there are enough."""
    return BATCH if classifier.engine.device == "cpu" else BATCH_ELSEWHERE


def _gate(classifier: Classifier, cores: int) -> threading.BoundedSemaphore:
    """Lets as many callers to the network as there are cores for them."""
    engine = classifier.engine
    return threading.BoundedSemaphore(max(1, cores // engine.threads) if engine.device == "cpu" else 1)


@dataclass(frozen=True, eq=False)
class _InputFile:
    """A file, and where its pixels come from."""

    file: str
    source: str | DecodedImage


class _StandardInput:
    """Its bytes, under the name that messages use."""

    name = "standard input"

    def read(self, size: int) -> bytes:
        """Up to ``size`` bytes."""
        if sys.stdin is None:
            raise ImageError(f"{self.name}: is closed; name a file")
        return sys.stdin.buffer.read(size)


@dataclass(frozen=True, eq=False)
class _Work:
    """What a worker does with some files.

    Attributes:
        classifier: of all workers.
        max_megapixels: larger images are refused.
        gate: held while the network runs.
        over: set when nobody waits for results any more.
    """

    classifier: Classifier
    max_megapixels: float
    gate: AbstractContextManager[object]
    over: threading.Event = field(default_factory=threading.Event)

    def __call__(self, files: Sequence[_InputFile | ImageResult]) -> list[ImageResult]:
        """A result for each file."""
        results: list[ImageResult] = []
        waiting: list[tuple[int, Pixels]] = []
        for file in files:
            if self.over.is_set():
                return []
            if isinstance(file, ImageResult):
                results.append(file)
                continue
            try:
                decoded = self.decode(file.source)
            except ImageError as error:
                results.append(ImageResult(file.file, None, str(error)))
                continue
            waiting.append((len(results), self.classifier.prepare(decoded.pixels)))
            results.append(ImageResult(file.file, None, notes=decoded.notes))
            if sum(pixels.nbytes for _, pixels in waiting) > _BATCH_BYTES:
                self._classify(waiting, results)
        self._classify(waiting, results)
        return results

    def decode(self, source: str | _StandardInput | DecodedImage) -> DecodedImage:
        """The pixels, as the network sees them."""
        if isinstance(source, DecodedImage):
            return source
        return self.classifier.decode(cast(ImageSource, source), max_megapixels=self.max_megapixels)

    def _classify(self, waiting: list[tuple[int, Pixels]], results: list[ImageResult]) -> None:
        """Completes the results at the places of what waits; then nothing waits."""
        if not waiting or self.over.is_set():
            return
        with self.gate:
            found = self.classifier.classify_prepared([pixels for _, pixels in waiting])
        for (place, _), predictions in zip(waiting, found, strict=True):
            done = results[place]
            results[place] = ImageResult(done.file, predictions, notes=done.notes)
        waiting.clear()


def _results(work: _Work, files: Iterator[File], cores: int, batch: int) -> Iterator[ImageResult]:
    own_core = work.classifier.engine.device == "cpu"
    workers = cores if own_core else cores + 1  # one of them waits for the device
    batches = _batches(work, files, batch)
    pending: deque[Future[list[ImageResult]]] = deque()
    pool = ThreadPoolExecutor(workers, thread_name_prefix="cnntk-infer")
    try:
        for files_of_one in batches:
            pending.append(pool.submit(work, files_of_one))
            if len(pending) > _AHEAD * workers or pending[0].done():
                yield from pending.popleft().result()
        while pending:
            yield from pending.popleft().result()
    finally:
        work.over.set()
        pool.shutdown(cancel_futures=True)


def _batches(work: _Work, files: Iterator[File], batch: int) -> Iterator[list[_InputFile | ImageResult]]:
    while taken := [_input_file(work, file) for file in islice(files, batch)]:
        yield taken


def _input_file(work: _Work, file: File) -> _InputFile | ImageResult:
    if isinstance(file, ImageResult):
        return file
    name = os.fspath(file)
    if name != STANDARD_INPUT:
        return _InputFile(name, name)
    try:  # here, and not by a worker, which Ctrl-C could not wake
        return _InputFile(name, work.decode(_StandardInput()))
    except ImageError as error:
        return ImageResult(name, None, str(error))
