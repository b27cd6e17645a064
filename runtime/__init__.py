"""Run an artifact: what an app embeds. Needs numpy, onnxruntime and Pillow; loads each on first use."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cnntk.runtime.errors import (
    ArtifactCorrupt,
    CnntkError,
    DeviceUnavailable,
    EngineClosed,
    ImageError,
    InferenceError,
    InferenceTimeout,
    InputError,
    NonFiniteAnswer,
    QueueFull,
    SelfTestFailed,
    UnsupportedArtifact,
)
from cnntk.runtime.lazy import lazy_names

if TYPE_CHECKING:
    from cnntk.runtime.batching import BatchingEngine, BatchingStats
    from cnntk.runtime.binding import Binding
    from cnntk.runtime.classifier import Classifier, Prediction, Predictions
    from cnntk.runtime.engine import Engine
    from cnntk.runtime.placement import Placement, ProviderShare
    from cnntk.runtime.spec import ModelSpec, Preprocessing

__all__ = [
    "ArtifactCorrupt",
    "BatchingEngine",
    "BatchingStats",
    "Binding",
    "Classifier",
    "CnntkError",
    "DeviceUnavailable",
    "Engine",
    "EngineClosed",
    "ImageError",
    "InferenceError",
    "InferenceTimeout",
    "InputError",
    "ModelSpec",
    "NonFiniteAnswer",
    "Placement",
    "Prediction",
    "Predictions",
    "Preprocessing",
    "ProviderShare",
    "QueueFull",
    "SelfTestFailed",
    "UnsupportedArtifact",
]

__getattr__, __dir__ = lazy_names(
    __name__,
    __all__,
    {
        "BatchingEngine": "cnntk.runtime.batching",
        "BatchingStats": "cnntk.runtime.batching",
        "Binding": "cnntk.runtime.binding",
        "Classifier": "cnntk.runtime.classifier",
        "Prediction": "cnntk.runtime.classifier",
        "Predictions": "cnntk.runtime.classifier",
        "Engine": "cnntk.runtime.engine",
        "Placement": "cnntk.runtime.placement",
        "ProviderShare": "cnntk.runtime.placement",
        "ModelSpec": "cnntk.runtime.spec",
        "Preprocessing": "cnntk.runtime.spec",
    },
)
