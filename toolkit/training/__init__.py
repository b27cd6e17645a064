"""Training: from labeled images to a checkpoint. `train` needs torch."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cnntk.runtime.lazy import lazy_names

if TYPE_CHECKING:
    from cnntk.training.loop import TrainingDiverged
    from cnntk.training.options import TrainOptions
    from cnntk.training.progress import TrainProgress
    from cnntk.training.report import EpochResult, TrainReport
    from cnntk.training.run import train

__all__ = ["EpochResult", "TrainOptions", "TrainProgress", "TrainReport", "TrainingDiverged", "train"]

__getattr__, __dir__ = lazy_names(
    __name__,
    __all__,
    {
        "cnntk.training.loop": ("TrainingDiverged",),
        "cnntk.training.options": ("TrainOptions",),
        "cnntk.training.progress": ("TrainProgress",),
        "cnntk.training.report": ("EpochResult", "TrainReport"),
        "cnntk.training.run": ("train",),
    },
)
