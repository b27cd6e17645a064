"""The model that a command uses when the user names none."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cnntk.runtime.artifact.protobuf import file_bytes, parse_model
from cnntk.runtime.artifact.spec import METADATA_KEY
from cnntk.runtime.artifact.validation import parse_document
from cnntk.runtime.errors import CnntkError, UsageError
from cnntk.runtime.files import model_file
from cnntk.shipped import shipped_model

__all__ = ["ModelChoice", "choose_model", "model_candidates"]


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
    """``model``, else ``$CNNTK_MODEL``, else the file in ``folder``, else the shipped LeNet.

    The file is the only artifact that is not quantized; one that cnntk did not write has to be the only
    ``.onnx`` in the folder.

    Raises:
        UsageError: The folder contains ``.onnx`` files, but not one to choose.
    """
    if model:
        return ModelChoice(Path(model), None)
    if variable := os.environ.get("CNNTK_MODEL"):
        return ModelChoice(Path(variable), "$CNNTK_MODEL")
    files = sorted((folder or Path()).glob("*.onnx"))
    if not files:
        return ModelChoice(shipped_model(), "the LeNet that ships with cnntk")
    specs = {file: _spec_of(file) for file in files}
    floats = _floats(specs)
    if len(floats) == 1:
        return ModelChoice(floats[0], "the only float artifact here")
    if len(files) == 1 and specs[files[0]] is None:
        return ModelChoice(files[0], "the only .onnx here")
    names = ", ".join(file.name for file in files[:4])
    raise UsageError(
        f"found {len(floats)} float artifacts in {len(files)} .onnx files here ({names}), "
        "expected exactly one; name the model"
    )


def model_candidates(folder: Path | None = None) -> tuple[Path, ...]:
    """Files of a folder to choose a model from: float artifacts, the newest first, then others by name."""
    specs = {file: _spec_of(file) for file in sorted((folder or Path()).glob("*.onnx"))}
    floats = sorted(_floats(specs), key=lambda file: file.stat().st_mtime, reverse=True)
    return (*floats, *(file for file in specs if file not in floats))


def _floats(specs: Mapping[Path, Mapping[str, Any] | None]) -> list[Path]:
    return [file for file, spec in specs.items() if spec is not None and not spec.get("quantization")]


def _spec_of(file: Path) -> dict[str, Any] | None:
    """The spec in an artifact, unchecked; None in other files, damaged ones among them."""
    try:
        text = parse_model(file_bytes(model_file(file)), file.name).metadata.get(METADATA_KEY)
        return None if text is None else dict(parse_document(text))
    except (CnntkError, OSError, TypeError, ValueError):
        return None
