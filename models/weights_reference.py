"""The text that names weights, ``FILE`` or ``FILE#KEY``. Imports no torch."""

from __future__ import annotations

import os
from pathlib import Path

__all__ = ["INDEX_SUFFIX", "SUFFIXES", "is_weights_file", "split_reference"]

SUFFIXES = (".safetensors", ".pt", ".pth", ".ckpt", ".bin")
INDEX_SUFFIX = ".index.json"
"""End of the name of an index of shards, such as ``model.safetensors.index.json``."""


def split_reference(reference: str | os.PathLike[str]) -> tuple[Path, str]:
    """Returns the file and the key of ``FILE#KEY``; the key is empty for ``FILE``.

    KEY names one of several state dicts in the file, like ``ema``.
    """
    text = os.fspath(reference)
    file, hash_mark, key = text.rpartition("#")
    return (Path(text), "") if not hash_mark or Path(text).exists() else (Path(file), key)


def is_weights_file(text: str) -> bool:
    """Whether a text names a file of weights, by its suffix."""
    return text.endswith((*SUFFIXES, INDEX_SUFFIX))
