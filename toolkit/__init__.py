"""cnntk: brings a PyTorch image model to the device it will run on, and proves that it is still the same.

Nothing heavy is loaded until it is used: neither numpy nor torch, onnx or onnxruntime.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from cnntk.runtime.errors import CnntkError
from cnntk.runtime.lazy import lazy_names
from cnntk.version import __version__

if TYPE_CHECKING:
    from cnntk.benched import BenchResult
    from cnntk.benching import bench
    from cnntk.diagnosis import Diagnosis, diagnose
    from cnntk.exporters import ExportReport, export
    from cnntk.inference import ImageResult, infer, infer_to_file
    from cnntk.inspection import Inspection, inspect
    from cnntk.mismatch import MismatchReport, find_mismatch
    from cnntk.quantised import QuantizePreview, QuantizeReport
    from cnntk.quantising import preview_quantize, quantize
    from cnntk.runtime import Classifier, Engine, ModelSpec, Prediction
    from cnntk.training import TrainReport, train
    from cnntk.verification import Verification, verify_against, verify_self

__all__ = [
    "BenchResult",
    "Classifier",
    "CnntkError",
    "Diagnosis",
    "Engine",
    "ExportReport",
    "ImageResult",
    "Inspection",
    "MismatchReport",
    "ModelSpec",
    "Prediction",
    "QuantizePreview",
    "QuantizeReport",
    "TrainReport",
    "Verification",
    "__version__",
    "bench",
    "diagnose",
    "export",
    "find_mismatch",
    "infer",
    "infer_to_file",
    "inspect",
    "preview_quantize",
    "quantize",
    "train",
    "verify_against",
    "verify_self",
]

__getattr__, __dir__ = lazy_names(
    __name__,
    __all__,
    {
        "bench": "cnntk.benching",
        "BenchResult": "cnntk.benched",
        "Classifier": "cnntk.runtime",
        "diagnose": "cnntk.diagnosis",
        "Diagnosis": "cnntk.diagnosis",
        "Engine": "cnntk.runtime",
        "export": "cnntk.exporters",
        "ExportReport": "cnntk.exporters",
        "find_mismatch": "cnntk.mismatch",
        "ImageResult": "cnntk.inference",
        "infer": "cnntk.inference",
        "infer_to_file": "cnntk.inference",
        "inspect": "cnntk.inspection",
        "Inspection": "cnntk.inspection",
        "MismatchReport": "cnntk.mismatch",
        "ModelSpec": "cnntk.runtime",
        "Prediction": "cnntk.runtime",
        "preview_quantize": "cnntk.quantising",
        "quantize": "cnntk.quantising",
        "QuantizePreview": "cnntk.quantised",
        "QuantizeReport": "cnntk.quantised",
        "train": "cnntk.training",
        "TrainReport": "cnntk.training",
        "Verification": "cnntk.verification",
        "verify_against": "cnntk.verification",
        "verify_self": "cnntk.verification",
    },
)
