"""`infer_to_file`: a file of results, written whole or not at all; an interrupted run can be resumed."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import zip_longest
from pathlib import Path
from typing import Any

from cnntk.inference.journal import Journal, is_finished
from cnntk.inference.model import ModelLike, load_model
from cnntk.inference.pipeline import InputFile, default_batch, infer
from cnntk.inference.result import ImageResult
from cnntk.inference.rows import Format, Row, format_of, row_writer, spellings, written_rows
from cnntk.runtime.artifact.digest import sha256_of
from cnntk.runtime.classifier import Classifier
from cnntk.runtime.codec import as_json
from cnntk.runtime.engine import Engine
from cnntk.runtime.errors import UsageError
from cnntk.runtime.files import atomic_write, check_output, follow_links, is_device, output_mode
from cnntk.runtime.image_engine import ImageEngine
from cnntk.runtime.images.reading import MAX_MEGAPIXELS
from cnntk.runtime.preprocessing.choice import PreprocessingChoice
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
        finished_before: Whether an earlier run had written the file, and nothing was done.
    """

    path: str
    images: int
    failed: int
    resumed: int
    finished_before: bool = False


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
    preprocessing: PreprocessingChoice | None = None,
    labels: Sequence[str] | None = None,
    notify: Callable[[str], object] = lambda text: None,
    progress: Progress = lambda done: None,
) -> InferenceSummary:
    """Runs a model on image files and writes a row each to ``output``, which appears when all are finished.

    Args:
        model: Model, as `infer` takes it.
        files: Files, as `infer` takes them.
        output: Path of the file.
        form: Format: ``json`` (an array), ``jsonl``, ``csv``, ``parquet``, ``npz`` (arrays). Default: suffix.
        top: Number of classes in a row.
        device: Device, as `Engine` takes it.
        threads: Number of threads. Default: one for each core available to this process.
        batch: Number of images in a batch. Default: 8, on a GPU 32.
        max_megapixels: Size in megapixels above which an image is refused.
        limit_name: Name of ``max_megapixels`` in messages: the caller's option.
        resume: Whether to write the rows to ``output`` + ``.part`` first, after those of an interrupted run.
            Files are identified by their names. A finished ``output`` stays as it is.
        force: Whether to replace an existing file.
        keep_formulas: Whether CSV cells that a spreadsheet would compute get no ' before them.
        preprocessing: Preprocessing of a model that states none.
        labels: Names of the classes of a model that states none.
        notify: Function that receives remarks about the model.
        progress: Function that is called after each image with the number of finished ones.

    Raises:
        UsageError: The file can't be written, or the run to resume has another model, options or files.
        MissingDependency: The format needs pyarrow, which is not installed.
        CnntkError: The model is not usable, or fails.
    """
    target, part = Path(output), part_file(output)
    kind = format_of(target, form)
    if resume and kind == "npz":
        raise UsageError(f"{target}: a run that writes npz can't be resumed; leave out --resume")
    if resume and not force and target.is_file() and (not part.exists() or is_finished(part, target)):
        return _finished(target, part, kind, files)
    _check_target(target, part, resume=resume, force=force)
    cores = threads or usable_cores()
    how: dict[str, Any] = {"preprocessing": preprocessing, "labels": labels, "arrays": kind == "npz"}
    loaded = load_model(model, device, cores, many=True, notify=notify, **how)
    work = cores, batch or default_batch(loaded), max_megapixels, limit_name
    run = _Run(loaded, files, target, kind, top, keep_formulas, *work, progress)
    return run.write_resumable(part) if resume else run.write(part)


def _check_target(target: Path, part: Path, *, resume: bool, force: bool) -> None:
    check_output(target, force=force)
    if resume and is_device(target):
        raise UsageError(f"{target}: is a device or a pipe, so that --resume can't continue it; name a file")
    if part.exists() and not resume and not force:
        raise UsageError(f"{part}: belongs to an unfinished run; --resume continues it, --force starts again")


def _finished(target: Path, part: Path, form: Format, files: Iterable[InputFile]) -> InferenceSummary:
    """Summary of a file that an earlier run finished; removes what that run could not.

    Raises:
        UsageError: Its rows are of other images.
    """
    names = (file.file if isinstance(file, ImageResult) else os.fspath(file) for file in files)
    images = failed = 0
    for row, name in zip_longest(written_rows(target, form), names):
        if row is None or name is None or row.file not in spellings(name):
            raise UsageError(
                f"{target}: an earlier run has finished it, with a row for {row.file if row else 'no image'} "
                f"where {name or 'no image'} is now; --force replaces it"
            )
        images, failed = images + 1, failed + row.failed
    part.unlink(missing_ok=True)
    return InferenceSummary(str(target), images, failed, images, finished_before=True)


def part_file(output: str | os.PathLike[str]) -> Path:
    """Path of the journal of an unfinished ``output``; of a link, beside the file behind it."""
    path = follow_links(Path(output))
    return path.with_name(f"{path.name}.part")


@dataclass(frozen=True, eq=False)
class _Run:
    """Checked arguments of `infer_to_file`."""

    model: ImageEngine
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
        summary = self._write_rows(self._rows(self.files), self.progress, lambda file: None)
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
            summary = self._write_rows(journal.rows(), lambda done: None, journal.note_output)
            journal.remove()
        return replace(summary, resumed=before)

    def _write_rows(
        self, rows: Iterable[Row], progress: Progress, on_written: Callable[[Path], None]
    ) -> InferenceSummary:
        images = failed = 0
        options: dict[str, Any] = {"outputs": self._outputs(), "keep_formulas": self.keep_formulas}
        with atomic_write(self.target) as temporary:
            with row_writer(temporary, self.form, self.top, **options) as writer:
                for row in rows:
                    writer.write(row)
                    images += 1
                    failed += "error" in row
                    progress(images)
            on_written(temporary)
        return InferenceSummary(str(self.target), images, failed, 0)

    def _rows(self, files: Iterable[InputFile]) -> Iterable[Row]:
        results = infer(
            self.model,
            files,
            threads=self.cores,
            batch=self.batch,
            max_megapixels=self.max_megapixels,
            limit_name=self.limit_name,
            arrays=self.form == "npz",
        )
        return (result.arrays_row() if self.form == "npz" else result.row(self.top) for result in results)

    def _outputs(self) -> tuple[str, ...]:
        """Names of the outputs whose statistics are in the rows; none of a classifier."""
        return () if isinstance(self.model, Classifier) else tuple(o.name for o in self.model.engine.outputs)

    def _origin(self) -> dict[str, object]:
        """Everything that the rows depend on."""
        engine = self.model.engine
        spec = engine.spec
        is_stated = spec is None or spec.preprocessing is None
        labels = self.model.labels if isinstance(self.model, Classifier) else ()
        return {
            "model": _identity(engine),
            **({"preprocessing": as_json(self.model.preprocessing)} if is_stated else {}),
            **({"labels": list(labels)} if labels != (spec.labels if spec is not None else ()) else {}),
            "device": engine.device,
            "top": self.top,
            "batch": self.batch,
            "max_megapixels": self.max_megapixels,
        }


def _identity(engine: Engine) -> str:
    """Name and digest of the model; the digest of its spec, or its file, where there is no embedded one."""
    spec = engine.spec
    if spec is None:
        return f"{Path(engine.name).stem} {sha256_of(Path(engine.name))[:16]}"
    digest = spec.digest or hashlib.sha256(spec.to_json().encode()).hexdigest()
    return f"{spec.name} {digest[:16]}"
