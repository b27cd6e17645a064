"""`infer_to_file`: a file of results, written whole or not at all; an interrupted run can be resumed."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from pathlib import Path

from cnntk.inference.journal import Journal
from cnntk.inference.pipeline import InputFile, ModelLike, default_batch, infer, load_classifier
from cnntk.inference.rows import Format, Row, format_of, row_writer
from cnntk.runtime.artifact.spec import ModelSpec
from cnntk.runtime.classifier import Classifier
from cnntk.runtime.errors import UsageError
from cnntk.runtime.files import atomic_write, check_output, follow_links, is_device, output_mode
from cnntk.runtime.images.reading import MAX_MEGAPIXELS
from cnntk.runtime.session.cores import usable_cores

__all__ = ["InferenceSummary", "infer_to_file", "part_file"]

Progress = Callable[[int], object]


@dataclass(frozen=True)
class InferenceSummary:
    """Summary of a file of results.

    Attributes:
        path: Path of the file.
        images: Number of images, which are its rows.
        failed: Number of rows with an error.
        resumed: Number of rows from an earlier run.
    """

    path: str
    images: int
    failed: int
    resumed: int


def infer_to_file(
    model: ModelLike,
    files: Iterable[InputFile],
    output: str | os.PathLike[str],
    *,
    form: str | None = None,
    top: int = 3,
    device: str = "cpu",
    threads: int | None = None,
    batch: int | None = None,
    max_megapixels: float = MAX_MEGAPIXELS,
    limit_name: str = "max_megapixels",
    resume: bool = False,
    force: bool = False,
    keep_formulas: bool = False,
    progress: Progress = lambda done: None,
) -> InferenceSummary:
    """Classifies image files and writes a row for each to ``output``, which appears when all are finished.

    Args:
        model: Model, as `infer` takes it.
        files: Files, as `infer` takes them.
        output: Path of the file.
        form: Format: ``json``, an object per line; ``csv``; ``parquet``. Default: that of the file's suffix.
        top: Number of classes in a row.
        device: Device, as `Engine` takes it.
        threads: Number of threads. Default: one for each core available to this process.
        batch: Number of images in a batch. Default: 8, on a GPU 32.
        max_megapixels: Size in megapixels above which an image is refused.
        limit_name: Name of ``max_megapixels`` in messages: the caller's option.
        resume: Whether to write the rows to ``output`` + ``.part`` first, after those of an interrupted run.
            Files are identified by their names, not by their content.
        force: Whether to replace an existing file.
        keep_formulas: Whether CSV cells that begin with =, +, - or @ get no ' before them, by which a
            spreadsheet takes them as text.
        progress: Function that is called after each image with the number of finished ones.

    Raises:
        UsageError: The file exists, or can't be written; the run to resume has another model, other options
            or other files.
        MissingDependency: The format needs pyarrow, which is not installed.
        CnntkError: The model is not usable, or fails.
    """
    target = Path(output)
    check_output(target, force=force)
    part = part_file(target)
    if resume and is_device(target):
        raise UsageError(f"{target}: is a device or a pipe, so that --resume can't continue it; name a file")
    if part.exists() and not resume and not force:
        raise UsageError(f"{part}: belongs to an unfinished run; --resume continues it, --force starts again")
    kind = format_of(target, form)
    cores = threads or usable_cores()
    classifier = load_classifier(model, device, cores, many=True)
    batch = batch or default_batch(classifier)
    limits = max_megapixels, limit_name
    run = _Run(classifier, files, target, kind, top, keep_formulas, cores, batch, *limits, progress)
    return run.write_resumable(part) if resume else run.write(part)


def part_file(output: str | os.PathLike[str]) -> Path:
    """Path of the journal of an unfinished ``output``; of a link, beside the file behind it."""
    path = follow_links(Path(output))
    return path.with_name(f"{path.name}.part")


@dataclass(frozen=True, eq=False)
class _Run:
    """Checked arguments of `infer_to_file`."""

    classifier: Classifier
    files: Iterable[InputFile]
    target: Path
    form: Format
    top: int
    keep_formulas: bool
    cores: int
    batch: int
    max_megapixels: float
    limit_name: str
    progress: Progress

    def write(self, part: Path) -> InferenceSummary:
        """Writes the file directly, under a temporary name."""
        summary = self._write_rows(self._rows(self.files), self.progress)
        if not is_device(self.target):
            part.unlink(missing_ok=True)
        return summary

    def write_resumable(self, part: Path) -> InferenceSummary:
        """Writes the file from a journal."""
        with Journal(part, self._origin(), self.batch, output_mode(self.target)) as journal:
            files = journal.skip_done(iter(self.files))
            before = journal.done
            self.progress(before)
            for row in self._rows(files):
                journal.append(row)
                self.progress(journal.done)
            journal.flush()
            summary = self._write_rows(journal.rows(), lambda done: None)
            journal.remove()
        return replace(summary, resumed=before)

    def _write_rows(self, rows: Iterable[Row], progress: Progress) -> InferenceSummary:
        images = failed = 0
        with (
            atomic_write(self.target) as temporary,
            row_writer(temporary, self.form, self.top, keep_formulas=self.keep_formulas) as writer,
        ):
            for row in rows:
                writer.write(row)
                images += 1
                failed += "error" in row
                progress(images)
        return InferenceSummary(str(self.target), images, failed, 0)

    def _rows(self, files: Iterable[InputFile]) -> Iterable[Row]:
        results = infer(
            self.classifier,
            files,
            threads=self.cores,
            batch=self.batch,
            max_megapixels=self.max_megapixels,
            limit_name=self.limit_name,
        )
        return (result.row(self.top) for result in results)

    def _origin(self) -> dict[str, object]:
        """Everything that the rows depend on."""
        engine = self.classifier.engine
        return {
            "model": _identity(engine.spec),
            "device": engine.device,
            "top": self.top,
            "batch": self.batch,
            "max_megapixels": self.max_megapixels,
        }


def _identity(spec: ModelSpec | None) -> str:
    """Name and digest of the model; the digest of its spec where the file has none."""
    if spec is None:  # not with a Classifier
        return "unknown"
    digest = spec.digest or hashlib.sha256(spec.to_json().encode()).hexdigest()
    return f"{spec.name} {digest[:16]}"
