"""Classifies the images that a user names: files, folders, patterns, standard input."""

from __future__ import annotations

import glob
import os
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from io import BytesIO
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


def expand(names: Iterable[str]) -> list[str | ImageResult]:
    """The images behind files, folders (read through, in order of name) and patterns; ``-`` stays.

    A folder or pattern that holds no image becomes a result that says so, in its place.

    Raises:
        UsageError: none of the names holds an image, or ``-`` is named twice.
    """
    names = list(names)
    if names.count(STANDARD_INPUT) > 1:
        raise UsageError("- is named twice: standard input can be read once")
    found = [entry for name in names for entry in _expand_one(name)]
    errors = [entry.error for entry in found if isinstance(entry, ImageResult)]
    if errors and len(errors) == len(found):
        raise UsageError(str(errors[0]))
    return found


def infer(classifier: Classifier, files: Iterable[str | ImageResult]) -> Iterator[ImageResult]:
    """Classifies each file, in order; one that can't be read does not stop the rest."""
    for file in files:
        if isinstance(file, ImageResult):
            yield file
            continue
        try:
            yield ImageResult(file, classifier(_standard_input() if file == STANDARD_INPUT else file))
        except ImageError as error:
            yield ImageResult(file, None, str(error))


def _standard_input() -> BytesIO:
    """Its bytes, under the name that messages use."""
    if sys.stdin is None:
        raise ImageError("standard input: is closed; name a file")
    stream = BytesIO(sys.stdin.buffer.read())
    stream.name = "standard input"
    return stream


def _expand_one(name: str) -> list[str | ImageResult]:
    if name == STANDARD_INPUT:
        return [name]
    if os.path.isdir(name):
        images = _images_in(name)
        return [*images] or [_nothing(name, f"holds no image ({', '.join(sorted(IMAGE_SUFFIXES))})")]
    if os.path.exists(name) or not glob.has_magic(name):
        return [name]  # a missing file is told where it is read, with the others' answers
    found = [f for f in sorted(glob.glob(name, recursive=True)) if not os.path.isdir(f)]
    return [*found] or [_nothing(name, "no file fits this pattern")]


def _nothing(name: str, why: str) -> ImageResult:
    return ImageResult(name, None, f"{name}: {why}")


def _images_in(folder: str) -> list[str]:
    files = (p for p in sorted(Path(folder).rglob("*")) if p.suffix.lower() in IMAGE_SUFFIXES and p.is_file())
    return [str(p) for p in files if not any(part.startswith(".") for part in p.relative_to(folder).parts)]
