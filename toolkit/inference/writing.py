"""`infer_to_file`: a file of results, written whole or not at all; what is long can be resumed."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from cnntk.inference.journal import Journal
from cnntk.inference.rows import Format, format_of, row_writer
from cnntk.inference.running import File, Model, default_batch, infer, opened
from cnntk.runtime.artifact.spec import ModelSpec
from cnntk.runtime.classifier import Classifier
from cnntk.runtime.errors import UsageError
from cnntk.runtime.files import atomic_write, check_writable
from cnntk.runtime.images.reading import MAX_MEGAPIXELS
from cnntk.runtime.session.cores import usable_cores

__all__ = ["InferenceSummary", "infer_to_file", "part_of"]

Progress = Callable[[int], object]


@dataclass(frozen=True)
class InferenceSummary:
    """What was written.

    Attributes:
        path: of the file.
        images: rows in it.
        failed: those of them that hold an error.
        resumed: those of them that an earlier run had done.
    """

    path: str
    images: int
    failed: int
    resumed: int

    def to_json(self) -> dict[str, Any]:
        """Its fields."""
        return asdict(self)


def infer_to_file(
    model: Model,
    files: Iterable[File],
    output: str | os.PathLike[str],
    *,
    form: str | None = None,
    top: int = 3,
    device: str = "cpu",
    threads: int | None = None,
    batch: int | None = None,
    max_megapixels: float = MAX_MEGAPIXELS,
    resume: bool = False,
    force: bool = False,
    progress: Progress = lambda done: None,
) -> InferenceSummary:
    """Classifies image files and writes a row for each to ``output``, which appears when all are done.

    Args:
        model: as `infer` takes it.
        files: as `infer` takes them.
        output: the file.
        form: ``json``, an object a line; ``csv``; ``parquet``; by default what the file's suffix says.
        top: how many classes a row tells.
        device: as `Engine` takes it.
        threads: how many to use; by default one for each core that this process may use.
        batch: images that go through the network together; by default 8, on a GPU 32.
        max_megapixels: larger images are refused.
        resume: keep the rows in ``output`` + ``.part`` until all are done, and go on with those that are
            there. Files are known by their names: whether one has changed in between is not looked at.
        force: replace an existing file.
        progress: is told after each image how many are done.

    Raises:
        UsageError: the file exists, or can't be written; what is there to resume is of another model, other
            options or other files.
        MissingDependency: pyarrow is not installed, and it is needed.
        CnntkError: the model can't be used, or fails.
    """
    target = Path(output)
    part = part_of(target)
    if target.exists() and not force:
        raise UsageError(f"{target}: exists already; --force replaces it, --output names another file")
    if part.exists() and not resume and not force:
        raise UsageError(f"{part}: is of an unfinished run; --resume goes on, --force starts again")
    check_writable(target)
    kind = format_of(target, form)
    cores = threads or usable_cores()
    classifier = opened(model, device, cores, many=True)
    batch = batch or default_batch(classifier)
    run = _Run(classifier, files, target, kind, top, cores, batch, max_megapixels, progress)
    return run.resumed(part) if resume else run.at_once(part)


def part_of(output: str | os.PathLike[str]) -> Path:
    """Where the rows are until all are done."""
    path = Path(output)
    return path.with_name(f"{path.name}.part")


@dataclass(frozen=True, eq=False)
class _Run:
    """The arguments of `infer_to_file`, checked."""

    classifier: Classifier
    files: Iterable[File]
    target: Path
    form: Format
    top: int
    cores: int
    batch: int
    max_megapixels: float
    progress: Progress

    def at_once(self, part: Path) -> InferenceSummary:
        """Straight to the file, under a temporary name."""
        images = failed = 0
        with atomic_write(self.target) as temporary, row_writer(temporary, self.form, self.top) as writer:
            for row in self._rows(self.files):
                writer.write(row)
                images += 1
                failed += "error" in row
                self.progress(images)
        part.unlink(missing_ok=True)
        return InferenceSummary(str(self.target), images, failed, 0)

    def resumed(self, part: Path) -> InferenceSummary:
        """By way of a journal."""
        with Journal(part, self._origin(), self.batch) as journal:
            files = journal.skip_done(iter(self.files))
            before = journal.done
            self.progress(before)
            for row in self._rows(files):
                journal.append(row)
                self.progress(journal.done)
            journal.flush()
            images = failed = 0
            with atomic_write(self.target) as temporary, row_writer(temporary, self.form, self.top) as writer:
                for row in journal.rows():
                    writer.write(row)
                    images += 1
                    failed += "error" in row
            journal.remove()
        return InferenceSummary(str(self.target), images, failed, before)

    def _rows(self, files: Iterable[File]) -> Iterable[dict[str, Any]]:
        results = infer(
            self.classifier,
            files,
            threads=self.cores,
            batch=self.batch,
            max_megapixels=self.max_megapixels,
        )
        return (result.to_json(self.top) for result in results)

    def _origin(self) -> dict[str, object]:
        """What rows depend on."""
        engine = self.classifier.engine
        return {
            "model": _identity(engine.spec),
            "device": engine.device,
            "top": self.top,
            "batch": self.batch,
            "max_megapixels": self.max_megapixels,
        }


def _identity(spec: ModelSpec | None) -> str:
    """Name and digest; a spec that does not know its file's digest stands for the file."""
    if spec is None:  # which no Classifier takes
        return "unknown"
    digest = spec.digest or hashlib.sha256(spec.to_json().encode()).hexdigest()
    return f"{spec.name} {digest[:16]}"
