"""The folder that a training leaves: what may be done with the one that is there."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path

from cnntk.models.checkpoint import SPEC_FILE, WEIGHTS_FILE
from cnntk.runtime.errors import UsageError
from cnntk.runtime.files import write_bytes
from cnntk.training.report import TrainReport
from cnntk.training.state import TrainingState

__all__ = ["RunFolder"]

_STATE_FILE = "training.safetensors"
_OF_SAFETENSORS = ".tmp" + 6 * "[a-zA-Z0-9]"  # what it writes to before a file takes its name
_REPORT_FILE = "report.json"
_OURS = (_STATE_FILE, _REPORT_FILE, SPEC_FILE, WEIGHTS_FILE)


@dataclass(frozen=True)
class RunFolder:
    """Weights, spec and, while it trains, the state; when it is finished, the report.

    Attributes:
        path: of the folder.
    """

    path: Path

    @classmethod
    def open(cls, path: str | os.PathLike[str], *, resume: bool, force: bool) -> RunFolder:
        """The folder, if it may be written to; nothing is changed yet.

        Raises:
            UsageError: it is there without ``resume`` or ``force``, there is nothing to resume, or it
                can't be written to.
        """
        folder = cls(Path(path))
        if resume and force:
            raise UsageError("--resume goes on, --force starts again: choose one of them")
        folder._check_writable()
        if resume:
            folder._check_resumable()
        elif not force and not folder._untouched():
            raise UsageError(
                f"{path}: exists; --resume goes on, --force starts again, -o names another folder"
            )
        return folder

    @property
    def state_file(self) -> Path:
        """Where the state of the training is while it isn't finished."""
        return self.path / _STATE_FILE

    def state(self) -> TrainingState | None:
        """Where an earlier run got to; None where it did not get anywhere.

        Raises:
            CheckpointError: it is damaged.
        """
        return TrainingState.load(self.state_file) if self.state_file.exists() else None

    def finished(self) -> TrainReport | None:
        """The report of an earlier run that came to its end."""
        file = self.path / _REPORT_FILE
        if self.state_file.exists() or not file.exists():
            return None
        try:
            return TrainReport.from_json(json.loads(file.read_bytes()))
        except (OSError, ValueError, TypeError, KeyError) as error:
            raise UsageError(f"{file}: is no report of a training; start again with --force") from error

    def start(self) -> None:
        """Makes the folder, or empties it of what an earlier training left."""
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            for name in _OURS:
                (self.path / name).unlink(missing_ok=True)
        except OSError as error:
            raise UsageError(f"{self.path}: can't be written: {error.strerror or error}") from error
        self.sweep()

    def sweep(self) -> None:
        """Removes the temporary files that a killed run left."""
        for pattern in (*(f".{name}.*.tmp" for name in _OURS), _OF_SAFETENSORS):
            for file in self.path.glob(pattern):
                file.unlink(missing_ok=True)

    def finish(self, report: TrainReport) -> None:
        """Leaves the report in the place of the state."""
        write_bytes(self.path / _REPORT_FILE, json.dumps(report.to_json(), indent=2).encode())
        self.state_file.unlink(missing_ok=True)

    def _untouched(self) -> bool:
        """Whether there is nothing in it, but for what a run that was killed at once may leave."""
        return not self.path.exists() or all(
            f.match(".*.tmp") or f.match(_OF_SAFETENSORS) for f in self.path.iterdir()
        )

    def _check_resumable(self) -> None:
        if not self.path.exists():
            raise UsageError(f"{self.path}: no such folder, nothing to resume; train without --resume")
        if not (self.state_file.exists() or (self.path / _REPORT_FILE).exists() or self._untouched()):
            raise UsageError(
                f"{self.path}: no training was begun in it, nothing to resume; train without --resume"
            )

    def _check_writable(self) -> None:
        if self.path.exists() and not self.path.is_dir():
            raise UsageError(f"{self.path}: is a file; name a folder for the checkpoint")
        there = next(p for p in (self.path, *self.path.absolute().parents) if p.exists())
        if not there.is_dir() or not os.access(there, os.W_OK | os.X_OK):
            raise UsageError(f"{self.path}: {there} is no writable folder; choose another folder with -o")
