"""Classifies the images that a user names: files, folders, patterns, standard input."""

from __future__ import annotations

import glob
import os
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cnntk.runtime.classifier import Classifier, Predictions
from cnntk.runtime.errors import ImageError, UsageError
from cnntk.runtime.images import IMAGE_SUFFIXES

__all__ = ["STANDARD_INPUT", "ImageResult", "expand", "infer"]

STANDARD_INPUT = "-"


@dataclass(frozen=True)
class ImageResult:
    """What one image gave: predictions, or the reason why there are none."""

    file: str
    predictions: Predictions | None
    error: str | None = None

    def to_json(self, top: int) -> dict[str, Any]:
        """``{"file", "predictions": [{"label", "probability"}]}`` best first, or ``{"file", "error"}``."""
        if self.predictions is None:
            return {"file": self.file, "error": self.error}
        best = [{"label": p.label, "probability": p.probability} for p in self.predictions.top(top)]
        return {"file": self.file, "predictions": best}


def expand(names: Iterable[str]) -> list[str]:
    """The images behind files, folders (read through, in order of name) and patterns; ``-`` stays.

    Raises:
        UsageError: a folder or pattern holds no image.
    """
    return [file for name in names for file in _expand_one(name)]


def infer(classifier: Classifier, files: Iterable[str]) -> Iterator[ImageResult]:
    """Classifies each file, in order; one that can't be read does not stop the rest."""
    for file in files:
        try:
            source = sys.stdin.buffer.read() if file == STANDARD_INPUT else file
            yield ImageResult(file, classifier(source))
        except ImageError as error:
            yield ImageResult(file, None, str(error))


def _expand_one(name: str) -> list[str]:
    if name == STANDARD_INPUT:
        return [name]
    if os.path.isdir(name):
        return _images_in(name)
    if os.path.exists(name) or not glob.has_magic(name):
        return [name]  # a missing file is told where it is read, with the others' answers
    if found := sorted(glob.glob(name, recursive=True)):
        return [f for f in found if not os.path.isdir(f)]
    raise UsageError(f"{name}: no file fits this pattern")


def _images_in(folder: str) -> list[str]:
    files = (p for p in sorted(Path(folder).rglob("*")) if p.suffix.lower() in IMAGE_SUFFIXES and p.is_file())
    visible = [str(p) for p in files if not any(part.startswith(".") for part in p.relative_to(folder).parts)]
    if not visible:
        raise UsageError(f"{folder}: holds no image ({', '.join(sorted(IMAGE_SUFFIXES))})")
    return visible
