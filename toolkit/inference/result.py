"""`ImageResult`: what one image gave."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from cnntk.runtime.classifier import Predictions

__all__ = ["ImageResult"]


@dataclass(frozen=True)
class ImageResult:
    """What one image gave: predictions, or the reason why there are none.

    Attributes:
        file: as it was named, or as its folder lists it.
        predictions: None where it could not be read.
        error: why not.
        notes: what of the image is not in the pixels that were classified, as `decode_image` tells it.
    """

    file: str
    predictions: Predictions | None
    error: str | None = None
    notes: tuple[str, ...] = ()

    def to_json(self, top: int) -> dict[str, Any]:
        """``{"file", "predictions": [{"label", "probability"}]}`` best first, or ``{"file", "error"}``."""
        if self.predictions is None:
            return {"file": self.file, "error": self.error}
        best = [{"label": p.label, "probability": p.probability} for p in self.predictions.top(top)]
        return {"file": self.file, "predictions": best}
