"""The folder of a training: checkpoint, state while it runs, report when it is finished."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, cast

from cnntk.runtime.codec import as_json, decode
from cnntk.runtime.errors import UsageError
from cnntk.runtime.files import is_temporary, temporary_folder, write_bytes
from cnntk.training.report import TrainReport

if TYPE_CHECKING:
    from cnntk.training.state import TrainingState

__all__ = ["RunFolder"]

_STATE_FILE = "training.safetensors"
_REPORT_FILE = "report.json"


@dataclass(frozen=True)
class RunFolder:
    """Folder with weights and spec; with the state during the training, with the report afterwards.

    Attributes:
        path: Path of the folder.
    """

    path: Path

    @classmethod
    def open(cls, path: str | os.PathLike[str], *, resume: bool, force: bool) -> RunFolder:
        """Checks that the folder may be written to; nothing is changed yet.

        Raises:
            UsageError: The folder exists without ``resume`` or ``force``, there is nothing to resume, or it
                can't be written to.
        """
        folder = cls(Path(path))
        folder._check_writable()
        if resume:
            folder._check_resumable()
        elif not force and not folder._is_empty():
            raise UsageError(
                f"{path}: exists; --resume continues its training, --force replaces it, -o names another"
            )
        return folder

    @property
    def state_file(self) -> Path:
        """File with the state of the training until it is finished."""
        return self.path / _STATE_FILE

    def state(self) -> TrainingState | None:
        """State that an earlier run reached; None where there is none.

        Raises:
            CheckpointError: The file is damaged.
        """
        if not self.state_file.exists():
            return None
        from cnntk.training.state import TrainingState  # only now, because it needs torch

        return TrainingState.load(self.state_file)

    def finished(self) -> TrainReport | None:
        """Report of an earlier run; None where it is not finished."""
        file = self.path / _REPORT_FILE
        if self.state_file.exists() or not file.exists():
            return None
        try:
            return cast(TrainReport, decode(TrainReport, json.loads(file.read_bytes()), "report"))
        except (OSError, ValueError) as error:
            raise UsageError(
                f"{file}: not a valid training report ({error}); start again with --force"
            ) from error

    def start(self) -> None:
        """Creates the folder, or removes the files of an earlier training from it."""
        from cnntk.models.checkpoint import SPEC_FILE, WEIGHTS_FILE

        try:
            self.path.mkdir(parents=True, exist_ok=True)
            for name in (_STATE_FILE, _REPORT_FILE, SPEC_FILE, WEIGHTS_FILE):
                (self.path / name).unlink(missing_ok=True)
        except OSError as error:
            raise UsageError(f"{self.path}: can't be written: {error.strerror or error}") from error

    def finish(self, report: TrainReport) -> None:
        """Replaces the state by the report."""
        write_bytes(self.path / _REPORT_FILE, json.dumps(as_json(report), indent=2).encode())
        self.state_file.unlink(missing_ok=True)

    def _is_empty(self) -> bool:
        """Whether there is nothing in the folder but temporary files of a killed run."""
        return not self.path.exists() or all(is_temporary(file.name) for file in self.path.iterdir())

    def _check_resumable(self) -> None:
        if not self.path.exists():
            raise UsageError(f"{self.path}: no such folder, nothing to resume; train without --resume")
        if not (self.state_file.exists() or (self.path / _REPORT_FILE).exists() or self._is_empty()):
            raise UsageError(
                f"{self.path}: no training was started in it, nothing to resume; train without --resume"
            )

    def _check_writable(self) -> None:
        if self.path.exists() and not self.path.is_dir():
            raise UsageError(f"{self.path}: is a file; name a folder for the checkpoint")
        parent = next(p for p in (self.path, *self.path.absolute().parents) if p.exists())
        if not parent.is_dir() or not os.access(parent, os.W_OK | os.X_OK):
            raise UsageError(f"{self.path}: {parent} is not a writable folder; choose another folder with -o")
        try:  # access rights do not tell of /proc and full disks
            with temporary_folder(parent / "probe"):
                pass
        except OSError as error:
            reason = error.strerror or error
            raise UsageError(
                f"{self.path}: can't create files in {parent} ({reason}); choose another folder with -o"
            ) from error
