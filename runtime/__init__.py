"""Run an artifact: what an app embeds. Needs numpy, onnxruntime and Pillow; loads each on first use."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cnntk.runtime.errors import (
    ArtifactCorrupt,
    CnntkError,
    DeviceUnavailable,
    ImageError,
    InferenceError,
    InputError,
    UnsupportedArtifact,
)
from cnntk.runtime.lazy import lazy_names

if TYPE_CHECKING:
    from cnntk.runtime.classifier import Classifier, Prediction, Predictions
    from cnntk.runtime.engine import Engine
    from cnntk.runtime.spec import ModelSpec, Preprocessing

__all__ = [
    "ArtifactCorrupt",
    "Classifier",
    "CnntkError",
    "DeviceUnavailable",
    "Engine",
    "ImageError",
    "InferenceError",
    "InputError",
    "ModelSpec",
    "Prediction",
    "Predictions",
    "Preprocessing",
    "UnsupportedArtifact",
]

__getattr__, __dir__ = lazy_names(
    __name__,
    __all__,
    {
        "Classifier": "cnntk.runtime.classifier",
        "Prediction": "cnntk.runtime.classifier",
        "Predictions": "cnntk.runtime.classifier",
        "Engine": "cnntk.runtime.engine",
        "ModelSpec": "cnntk.runtime.spec",
        "Preprocessing": "cnntk.runtime.spec",
    },
)
