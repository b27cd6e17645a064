"""The runtime that apps embed to run artifacts. It imports numpy, onnxruntime and Pillow on first use."""

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
    NonFiniteOutput,
    QueueFull,
    SelfTestFailed,
    UnsupportedArtifact,
)
from cnntk.runtime.lazy import lazy_names

if TYPE_CHECKING:
    from cnntk.runtime.artifact.spec import ModelSpec, Preprocessing
    from cnntk.runtime.batching.batching import BatchingEngine, BatchingStats
    from cnntk.runtime.classifier import Classifier, Prediction, Predictions
    from cnntk.runtime.engine import Engine
    from cnntk.runtime.images._pixels import Pixels
    from cnntk.runtime.images.reading import ImageSource
    from cnntk.runtime.session.binding import Binding
    from cnntk.runtime.session.placement import Placement, ProviderShare

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
    "ImageSource",
    "InferenceError",
    "InferenceTimeout",
    "InputError",
    "ModelSpec",
    "NonFiniteOutput",
    "Pixels",
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
        "BatchingEngine": "cnntk.runtime.batching.batching",
        "BatchingStats": "cnntk.runtime.batching.batching",
        "Binding": "cnntk.runtime.session.binding",
        "Classifier": "cnntk.runtime.classifier",
        "Prediction": "cnntk.runtime.classifier",
        "Predictions": "cnntk.runtime.classifier",
        "Engine": "cnntk.runtime.engine",
        "Placement": "cnntk.runtime.session.placement",
        "ProviderShare": "cnntk.runtime.session.placement",
        "ImageSource": "cnntk.runtime.images.reading",
        "Pixels": "cnntk.runtime.images._pixels",
        "ModelSpec": "cnntk.runtime.artifact.spec",
        "Preprocessing": "cnntk.runtime.artifact.spec",
    },
)
