"""Options of `evaluate`: its function and its command share them."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, field

from cnntk.exporters.options import LABELS_OPTION, PREPROCESSING_OPTION
from cnntk.runtime.errors import UsageError
from cnntk.runtime.preprocessing.choice import PreprocessingChoice

__all__ = ["EvaluateOptions"]

_IMAGES, _EXECUTION = {"group": "Images"}, {"group": "Execution"}
_CALIBRATION = {"group": "Calibration"}


@dataclass(frozen=True)
class EvaluateOptions:
    """Options of `evaluate`.

    Attributes:
        data: Labeled images: digits, mnist:DIR, fashion-mnist:DIR, cifar10:DIR (their test images), or a
            folder with a folder per class, whose test (or val) is used where it is split. Folders are named
            by the model's labels or by their numbers; a ``labels.csv`` with the columns file and label serves
            as well.
        max_images: Maximum number of images, a seeded sample with balanced classes (default: all).
        seed: Seed of that sample, and of the halves that a temperature is judged on.
        preprocessing: Preprocessing of a MODEL that states none: imagenet, clip, unit ..., or fields like
            scale=1/255, as for export.
        labels: Names of the classes of a MODEL that has only numbers, in the order of its outputs; on the
            command line a text file with one a line.
        device: Device: cpu, cuda, cuda:1 or auto.
        threads: Number of threads on the CPU (default: all available cores).
        batch: Number of images per run (default: 8, on a GPU 32).
        calibrate: Fit a temperature to the images, and write the model with it: ``probabilities`` become
            softmax(logits / temperature).
        output: File that --calibrate writes (default: the name of MODEL with -calibrated, in the current
            folder).
        force: Replace an existing file.
    """

    data: str = field(metadata={"metavar": "DATA", **_IMAGES})
    max_images: int | None = field(default=None, metadata={"min": 1, **_IMAGES})
    seed: int = field(default=0, metadata={"min": 0, "max": 2**32 - 1, **_IMAGES})
    preprocessing: PreprocessingChoice | None = field(
        default=None, metadata={**PREPROCESSING_OPTION, **_IMAGES}
    )
    labels: Sequence[str] | None = field(default=None, metadata={**LABELS_OPTION, **_IMAGES})
    device: str = field(default="cpu", metadata=_EXECUTION)
    threads: int | None = field(default=None, metadata={"min": 1, "max": 1024, **_EXECUTION})
    batch: int | None = field(default=None, metadata={"min": 1, "max": 65536, **_EXECUTION})
    calibrate: bool = field(default=False, metadata=_CALIBRATION)
    output: str | os.PathLike[str] | None = field(
        default=None, metadata={"flag": "-o --output", "metavar": "FILE", "group": "Output"}
    )
    force: bool = field(default=False, metadata={"group": "Output"})

    def __post_init__(self) -> None:
        for name, least in (("max_images", 1), ("seed", 0), ("threads", 1), ("batch", 1)):
            if (value := getattr(self, name)) is not None and value < least:
                raise UsageError(f"{name}: expected at least {least}, got {value}")
        if self.output is not None and not self.calibrate:
            raise UsageError("output: belongs to --calibrate, which alone writes a model")
