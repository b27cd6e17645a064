"""cnntk: brings a PyTorch image model to the device it will run on, and checks that it is still the same.

numpy, torch, onnx and onnxruntime are loaded only when a name that needs them is used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from cnntk.runtime.errors import CnntkError
from cnntk.runtime.lazy import lazy_names
from cnntk.version import __version__

if TYPE_CHECKING:
    from cnntk.benchmark.options import BenchOptions
    from cnntk.benchmark.result import BenchResult
    from cnntk.benchmark.run import bench
    from cnntk.doctor import Diagnosis, diagnose
    from cnntk.evaluation.options import EvaluateOptions
    from cnntk.evaluation.preprocessing_check import PreprocessingCheck, check_preprocessing
    from cnntk.evaluation.report import Evaluation
    from cnntk.evaluation.run import evaluate
    from cnntk.exporters import ExportOptions, ExportReport, export
    from cnntk.inference import ImageResult, infer, infer_to_file
    from cnntk.quantization.options import QuantizeOptions
    from cnntk.quantization.pipeline import preview_quantize, quantize
    from cnntk.quantization.report import QuantizePreview, QuantizeReport
    from cnntk.runtime import Classifier, Engine, ModelSpec, Prediction
    from cnntk.training import TrainOptions, TrainReport, train
    from cnntk.verification.artifact import Verification, verify
    from cnntk.verification.inspection import Inspection, inspect

__all__ = [
    "BenchOptions",
    "BenchResult",
    "Classifier",
    "CnntkError",
    "Diagnosis",
    "Engine",
    "EvaluateOptions",
    "Evaluation",
    "ExportOptions",
    "ExportReport",
    "ImageResult",
    "Inspection",
    "ModelSpec",
    "Prediction",
    "PreprocessingCheck",
    "QuantizeOptions",
    "QuantizePreview",
    "QuantizeReport",
    "TrainOptions",
    "TrainReport",
    "Verification",
    "__version__",
    "bench",
    "check_preprocessing",
    "diagnose",
    "evaluate",
    "export",
    "infer",
    "infer_to_file",
    "inspect",
    "preview_quantize",
    "quantize",
    "train",
    "verify",
]

__getattr__, __dir__ = lazy_names(
    __name__,
    __all__,
    {
        "cnntk.benchmark.options": ("BenchOptions",),
        "cnntk.benchmark.result": ("BenchResult",),
        "cnntk.benchmark.run": ("bench",),
        "cnntk.doctor": ("Diagnosis", "diagnose"),
        "cnntk.evaluation.options": ("EvaluateOptions",),
        "cnntk.evaluation.report": ("Evaluation",),
        "cnntk.evaluation.run": ("evaluate",),
        "cnntk.exporters": ("ExportOptions", "ExportReport", "export"),
        "cnntk.inference": ("ImageResult", "infer", "infer_to_file"),
        "cnntk.quantization.options": ("QuantizeOptions",),
        "cnntk.quantization.pipeline": ("preview_quantize", "quantize"),
        "cnntk.quantization.report": ("QuantizePreview", "QuantizeReport"),
        "cnntk.runtime": ("Classifier", "Engine", "ModelSpec", "Prediction"),
        "cnntk.training": ("TrainOptions", "TrainReport", "train"),
        "cnntk.verification.artifact": ("Verification", "verify"),
        "cnntk.verification.inspection": ("Inspection", "inspect"),
        "cnntk.evaluation.preprocessing_check": ("PreprocessingCheck", "check_preprocessing"),
    },
)
