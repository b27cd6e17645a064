"""`ImageResult`: the result of one image."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cnntk.runtime.classifier import Predictions

__all__ = ["STATISTICS", "ImageResult", "output_statistics"]

STATISTICS = ("shape", "dtype", "min", "mean", "max")
"""What a row says of each output of a model that is not a classifier."""


@dataclass(frozen=True)
class ImageResult:
    """Result of one image: predictions or arrays, or the reason why there are none.

    Attributes:
        file: Name of the file, as the user or its folder has it.
        predictions: Predictions of a classifier; None where the image can't be read, or for arrays.
        error: Reason why it can't be read.
        outputs: Arrays by output for a batch of this image, of a model that is not a classifier, or where
            arrays were asked for; else None.
        notes: Parts of the image that were not classified, like further frames, by `decode_image`.
    """

    file: str
    predictions: Predictions | None
    error: str | None = None
    outputs: Mapping[str, NDArray[Any]] | None = None
    notes: tuple[str, ...] = ()

    def row(self, top: int) -> dict[str, Any]:
        """``{"file", "predictions": [{"label", "probability"}]}`` best first, or ``{"file", "error"}``.

        Of arrays ``{"file", "outputs": {name: {"shape", "dtype", "min", "mean", "max"}}}``.
        """
        if self.outputs is not None:
            return {"file": self.file, "outputs": {k: output_statistics(v) for k, v in self.outputs.items()}}
        if self.predictions is None:
            return {"file": self.file, "error": self.error}
        best = [{"label": p.label, "probability": p.probability} for p in self.predictions.top(top)]
        return {"file": self.file, "predictions": best}

    def arrays_row(self) -> dict[str, Any]:
        """``{"file", "arrays": {name: array}}``, or ``{"file", "error"}``."""
        if self.outputs is None:
            return {"file": self.file, "error": self.error}
        return {"file": self.file, "arrays": self.outputs}


def output_statistics(array: NDArray[Any]) -> dict[str, Any]:
    """Shape, dtype and smallest, mean and largest value of an array; None for those of no numbers."""
    numbers = array.astype(np.float64) if array.dtype.kind in "fiub" and array.size else None
    values = (None,) * 3 if numbers is None else tuple(float(f(numbers)) for f in (np.min, np.mean, np.max))
    return dict(zip(STATISTICS, (list(array.shape), array.dtype.name, *values), strict=True))
