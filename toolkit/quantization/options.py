"""Options of `quantize`: its function, its command and its report share them."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal, get_args

from cnntk.exporters.options import PREPROCESSING_OPTION, InputShape, parse_input
from cnntk.runtime.errors import UsageError
from cnntk.runtime.preprocessing.choice import PreprocessingChoice

__all__ = ["Format", "Prefer", "Progress", "QuantizeOptions", "RangeMethod", "Target"]

Target = Literal["any", "vnni"]
Format = Literal["onnxruntime", "portable"]
Prefer = Literal["speed", "size"]
RangeMethod = Literal["mse"]

Progress = Callable[[str, int, int], None]
"""Callback that receives the stage, the number of completed items, and the total; 0 if that is unknown."""


@dataclass(frozen=True)
class QuantizeOptions:
    """Options of `quantize` and `preview_quantize`.

    Attributes:
        calibration: Images to calibrate with: digits, mnist:DIR, fashion-mnist:DIR, cifar10:DIR, folder:DIR,
            or a bare folder. Activation ranges are measured on the training images, and candidates are judged
            by the test images; a bare folder is split in halves, and has no labels.
        calibration_images: Maximum number of calibration images.
        evaluation: Other images to judge candidates by, in the same forms (default: the test images of the
            calibration data).
        preprocessing: Preprocessing of a MODEL that states none: imagenet, clip, unit ..., or fields like
            scale=1/255, as for export.
        input_shape: Shape (C, H, W) of the input of a MODEL that is not an artifact and leaves sizes open.
        max_drop: Maximum top-1 accuracy drop in percentage points; without labels, the expected drop from
            changed predictions.
        target: CPUs to quantize for: any for the same outputs on every CPU, vnni for more precise weights
            that only CPUs with VNNI multiply correctly.
        prefer: Goal of the search: speed for the fastest model, never slower than MODEL, or size for the
            smallest at any speed.
        format: Operators of the file: onnxruntime for its own integer operators, or portable for standard
            ONNX operators between DequantizeLinear and QuantizeLinear, which OpenVINO and tract read, too.
        range_method: Method that chooses the range of each activation from its histogram: mse for the least
            squared error.
        threads: Number of threads that all models are timed with (default: as many as MODEL uses).
        output: File to write (default: the name of MODEL with -int8, in the current folder).
        copy: Write a copy of MODEL where no candidate is accepted; without it no file is written then.
        force: Replace an existing file.
        work_folder: Folder for the measurements, from which an interrupted search resumes.
        time_layers: Time each layer of the quantized model, and compare it with the limits of the machine.
    """

    calibration: str = field(metadata={"metavar": "DATA", "group": "Images"})
    calibration_images: int = field(default=512, metadata={"min": 1, "group": "Images"})
    evaluation: str | None = field(default=None, metadata={"metavar": "DATA", "group": "Images"})
    preprocessing: PreprocessingChoice | None = field(
        default=None, metadata={**PREPROCESSING_OPTION, "group": "Images"}
    )
    input_shape: InputShape | None = field(
        default=None,
        metadata={"flag": "--input", "metavar": "CxHxW", "parse": parse_input, "group": "Images"},
    )
    max_drop: float = field(
        default=0.5, metadata={"min": 0, "max": 100, "metavar": "POINTS", "group": "Search"}
    )
    target: Target = field(default="any", metadata={"group": "Search"})
    prefer: Prefer = field(default="speed", metadata={"group": "Search"})
    format: Format = field(default="onnxruntime", metadata={"group": "Output"})
    range_method: RangeMethod = field(default="mse", metadata={"flag": None})
    threads: int | None = field(default=None, metadata={"min": 1, "max": 1024, "group": "Search"})
    output: str | os.PathLike[str] | None = field(
        default=None, metadata={"flag": "-o --output", "metavar": "FILE", "group": "Output"}
    )
    copy: bool = field(default=False, metadata={"group": "Output"})
    force: bool = field(default=False, metadata={"group": "Output"})
    work_folder: str | os.PathLike[str] | None = field(
        default=None, metadata={"flag": "--resume", "metavar": "FOLDER", "group": "Output"}
    )
    time_layers: bool = field(default=False, metadata={"flag": None})

    def __post_init__(self) -> None:
        if not 0 <= self.max_drop <= 100:
            raise UsageError(f"max_drop: expected 0 to 100 percentage points, got {self.max_drop}")
        if self.calibration_images < 1:
            raise UsageError(f"calibration_images: expected at least 1, got {self.calibration_images}")
        for name, choices in (
            ("target", Target),
            ("prefer", Prefer),
            ("format", Format),
            ("range_method", RangeMethod),
        ):
            if getattr(self, name) not in get_args(choices):
                expected = ", ".join(get_args(choices))
                raise UsageError(f"{name}: expected one of {expected}, got {getattr(self, name)!r}")
