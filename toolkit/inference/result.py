"""`ImageResult`: the result of one image."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from cnntk.runtime.classifier import Predictions

__all__ = ["ImageResult"]


@dataclass(frozen=True)
class ImageResult:
    """Result of one image: predictions, or the reason why there are none.

    Attributes:
        file: Name of the file, as the user or its folder has it.
        predictions: Predictions; None where the image can't be read.
        error: Reason why it can't be read.
        notes: Parts of the image that were not classified, like further frames, by `decode_image`.
    """

    file: str
    predictions: Predictions | None
    error: str | None = None
    notes: tuple[str, ...] = ()

    def row(self, top: int) -> dict[str, Any]:
        """``{"file", "predictions": [{"label", "probability"}]}`` best first, or ``{"file", "error"}``."""
        if self.predictions is None:
            return {"file": self.file, "error": self.error}
        best = [{"label": p.label, "probability": p.probability} for p in self.predictions.top(top)]
        return {"file": self.file, "predictions": best}
