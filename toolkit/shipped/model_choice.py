"""Which model a command takes when none is named."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from cnntk.runtime.errors import UsageError
from cnntk.shipped import shipped_model

__all__ = ["PickedModel", "pick_model"]


@dataclass(frozen=True)
class PickedModel:
    """A model's file, and why it was taken; None where the user named it."""

    path: Path
    why: str | None


def pick_model(named: str | None, folder: Path | None = None) -> PickedModel:
    """The model ``named``, else ``$CNNTK_MODEL``, else the only ``.onnx`` in ``folder``, else the LeNet.

    Raises:
        UsageError: the folder holds several.
    """
    if named:
        return PickedModel(Path(named), None)
    if chosen := os.environ.get("CNNTK_MODEL"):
        return PickedModel(Path(chosen), "$CNNTK_MODEL")
    found = sorted((folder or Path()).glob("*.onnx"))
    if len(found) > 1:
        raise UsageError(f"{len(found)} .onnx files here ({', '.join(f.name for f in found[:4])}): name one")
    if found:
        return PickedModel(found[0], "the only .onnx here")
    return PickedModel(shipped_model(), "the LeNet that ships with cnntk")
