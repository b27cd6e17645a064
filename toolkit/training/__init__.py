"""Training: from labeled images to a checkpoint. Needs torch."""

from __future__ import annotations

from cnntk.runtime.errors import MissingDependency

try:
    import safetensors  # noqa: F401
    import torch  # noqa: F401
except ImportError as error:
    raise MissingDependency(
        'training needs torch and safetensors; run: pip install "cnntk[train]"'
    ) from error

from cnntk.training.errors import TrainingDiverged
from cnntk.training.progress import TrainProgress
from cnntk.training.report import EpochResult, TrainReport
from cnntk.training.run import train

__all__ = ["EpochResult", "TrainProgress", "TrainReport", "TrainingDiverged", "train"]
