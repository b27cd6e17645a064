"""The model that a command uses when the user names none."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from cnntk.runtime.errors import UsageError
from cnntk.shipped import shipped_model

__all__ = ["ModelChoice", "choose_model"]


@dataclass(frozen=True)
class ModelChoice:
    """The model of a command.

    Attributes:
        path: Path of the file.
        reason: Reason for the choice; None where the user named the model.
    """

    path: Path
    reason: str | None


def choose_model(model: str | None, folder: Path | None = None) -> ModelChoice:
    """``model``, else ``$CNNTK_MODEL``, else the only ``.onnx`` in ``folder``, else the shipped LeNet.

    Raises:
        UsageError: The folder contains several ``.onnx`` files.
    """
    if model:
        return ModelChoice(Path(model), None)
    if variable := os.environ.get("CNNTK_MODEL"):
        return ModelChoice(Path(variable), "$CNNTK_MODEL")
    files = sorted((folder or Path()).glob("*.onnx"))
    if len(files) > 1:
        raise UsageError(f"{len(files)} .onnx files here ({', '.join(f.name for f in files[:4])}): name one")
    if files:
        return ModelChoice(files[0], "the only .onnx here")
    return ModelChoice(shipped_model(), "the LeNet that ships with cnntk")
