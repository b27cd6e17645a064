"""The LeNet that ships with cnntk: trained on MNIST, runs without torch."""

from __future__ import annotations

import os
from pathlib import Path

from cnntk.runtime.files import check_output, write_bytes

__all__ = ["copy_shipped_model", "shipped_checkpoint", "shipped_model"]

_HERE = Path(__file__).parent


def shipped_model() -> Path:
    """Path of the artifact."""
    return _HERE / "lenet.onnx"


def shipped_checkpoint() -> Path:
    """Path of the checkpoint folder that the artifact was exported from."""
    return _HERE / "lenet"


def copy_shipped_model(output: str | os.PathLike[str] | None = None, *, force: bool = False) -> Path:
    """Writes the artifact to ``output``, by default ``lenet.onnx`` in the current folder.

    Raises:
        UsageError: The file exists and ``force`` is False, or it can't be written.
    """
    target = Path(output) if output is not None else Path("lenet.onnx")
    check_output(target, force=force)
    write_bytes(target, shipped_model().read_bytes())
    return target
