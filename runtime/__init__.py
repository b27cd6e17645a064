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
    OutOfMemory,
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
    from cnntk.runtime.image_engine import ImageEngine
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
    "ImageEngine",
    "ImageError",
    "ImageSource",
    "InferenceError",
    "InferenceTimeout",
    "InputError",
    "ModelSpec",
    "NonFiniteOutput",
    "OutOfMemory",
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
        "cnntk.runtime.artifact.spec": ("ModelSpec", "Preprocessing"),
        "cnntk.runtime.batching.batching": ("BatchingEngine", "BatchingStats"),
        "cnntk.runtime.classifier": ("Classifier", "Prediction", "Predictions"),
        "cnntk.runtime.engine": ("Engine",),
        "cnntk.runtime.image_engine": ("ImageEngine",),
        "cnntk.runtime.images._pixels": ("Pixels",),
        "cnntk.runtime.images.reading": ("ImageSource",),
        "cnntk.runtime.session.binding": ("Binding",),
        "cnntk.runtime.session.placement": ("Placement", "ProviderShare"),
    },
)
