"""`BenchOptions`: everything that a user can choose for ``cnntk bench``."""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeAlias

from cnntk.exporters.options import PREPROCESSING_OPTION, InputShape, parse_input
from cnntk.runtime.errors import UsageError
from cnntk.runtime.preprocessing.choice import PreprocessingChoice

if TYPE_CHECKING:
    from cnntk.benchmark.baseline import Baseline

    BaselineSource: TypeAlias = str | os.PathLike[str] | Baseline
else:  # the command line evaluates the annotations, without importing numpy
    BaselineSource = str | os.PathLike

__all__ = ["BenchOptions", "parse_numbers", "parse_percentage"]


def parse_numbers(text: str) -> tuple[int, ...]:
    """Different numbers of 1 or more, like ``1,8,32``.

    Raises:
        ValueError: The text is something else.
    """
    try:
        values = tuple(int(item) for item in text.split(","))
    except ValueError as error:
        raise ValueError(f"{text!r}: expected numbers with commas between, like 1,8,32") from error
    if min(values) < 1 or len(set(values)) < len(values):
        raise ValueError(f"{text!r}: expected different numbers of 1 or more")
    return values


def parse_percentage(text: str) -> float:
    """A percentage of 0 or more, like ``5%`` or ``5``.

    Raises:
        ValueError: The text is something else.
    """
    try:
        value = float(text.removesuffix("%"))
    except ValueError as error:
        raise ValueError(f"{text!r}: expected a percentage, like 5%") from error
    if not 0 <= value < math.inf:
        raise ValueError(f"{text!r}: expected 0 % or more")
    return value


@dataclass(frozen=True)
class BenchOptions:
    """Options of `cnntk.bench`.

    Attributes:
        device: Device to measure on: cpu, cuda, cuda:1 or auto.
        threads: Number of CPU threads; by default what suits the model. Several numbers are swept over, and
            the first one is used for everything else.
        batch: Images per run; by default 1, or the model's fixed batch size. Several numbers are swept over,
            and the first one is used for everything else.
        input_shape: Shape of the input without the batch, like 3x224x224, or of each by name, where the
            model leaves sizes open.
        seconds: Seconds to measure for, for each kind of measurement.
        cold_start: Measure the cold start and the memory too, in processes of their own.
        layers: Measure the time of each layer, and how far each one is from the limits of the machine.
        end_to_end: Measure from image file to label too: read, decode, preprocess, run. Without --image,
            images are made: one that needs no resize, and two of the sizes of photographs.
        images: Image file, folder or pattern to measure end to end with; may be repeated.
        preprocessing: Preprocessing of a MODEL that states none, for measurements from image file to label,
            as for export.
        against: Also time OTHER, interleaved: an .onnx file, torch, torch:SOURCE or openvino; may be
            repeated.
        weights: Weights file of an --against torch:SOURCE that has no weights of its own.
        random: Use seeded random weights for an --against torch:SOURCE.
        trust: Run the code that the file of an --against torch names or holds, see export --trust.
        baseline: Compare with a baseline written by --save.
        fail_above: Exit with status 1 if runs take longer than in the baseline by more than this percentage,
            shown by two measurements with 95 % confidence.
        save: File to save the latency to, as a baseline to compare with later. The compared baseline itself
            is not replaced by a run that regressed.
        allow_other_machine: Compare with a baseline of another machine.
        force: Replace existing files.
        sessions: Number of processes that the latency of a baseline is measured in.
    """

    device: str = "cpu"
    threads: int | Sequence[int] | None = field(
        default=None, metadata={"metavar": "N[,N...]", "parse": parse_numbers}
    )
    batch: int | Sequence[int] | None = field(
        default=None, metadata={"metavar": "N[,N...]", "parse": parse_numbers}
    )
    input_shape: InputShape | None = field(
        default=None, metadata={"flag": "--input", "metavar": "CxHxW", "parse": parse_input}
    )
    seconds: float = 3.0
    cold_start: bool = field(default=True, metadata={"flag": None})
    layers: bool = False
    end_to_end: bool = False
    images: tuple[str | os.PathLike[str] | bytes, ...] = field(
        default=(), metadata={"flag": "--image", "metavar": "IMAGE"}
    )
    preprocessing: PreprocessingChoice | None = field(default=None, metadata=PREPROCESSING_OPTION)
    against: tuple[str, ...] = field(default=(), metadata={"metavar": "OTHER", "group": "Comparison"})
    weights: str | None = field(default=None, metadata={"metavar": "FILE", "group": "Comparison"})
    random: bool = field(default=False, metadata={"group": "Comparison"})
    trust: bool = field(default=False, metadata={"group": "Comparison"})
    baseline: BaselineSource | None = field(
        default=None, metadata={"flag": "--compare", "metavar": "FILE", "group": "Baseline"}
    )
    fail_above: float | None = field(
        default=None, metadata={"metavar": "PERCENT", "parse": parse_percentage, "group": "Baseline"}
    )
    save: str | os.PathLike[str] | None = field(
        default=None, metadata={"metavar": "FILE", "group": "Baseline"}
    )
    allow_other_machine: bool = field(default=False, metadata={"group": "Baseline"})
    force: bool = field(default=False, metadata={"group": "Output"})
    sessions: int = field(default=10, metadata={"flag": None})  # of fewer, too few would remain undisturbed

    def __post_init__(self) -> None:
        for name in ("images", "against"):
            object.__setattr__(self, name, tuple(getattr(self, name)))
        for name, numbers in (("threads", self.all_threads), ("batch", self.all_batches)):
            if any(number < 1 for number in numbers) or len(set(numbers)) < len(numbers):
                values = ", ".join(map(str, numbers))
                raise UsageError(f"{name} {values}: expected different numbers of 1 or more")
        if not 0 < self.seconds < math.inf:
            raise UsageError(f"seconds {self.seconds}: expected a positive number of seconds (--seconds)")
        if self.fail_above is not None and not 0 <= self.fail_above < math.inf:
            raise UsageError(f"fail_above {self.fail_above}: expected a percentage of 0 or more")
        if self.preprocessing and not self.is_end_to_end:
            raise UsageError("--preprocessing (preprocessing) belongs to --end-to-end and --image")
        if self.fail_above is not None and self.baseline is None:
            raise UsageError("--fail-above (fail_above) needs a baseline: --compare FILE (baseline)")
        if (self.weights is not None or self.random) and not any(
            name.startswith("torch:") for name in self.against
        ):
            raise UsageError("--weights and --random (weights, random) need --against torch:SOURCE (against)")
        if self.trust and not any(name.partition(":")[0] == "torch" for name in self.against):
            raise UsageError("--trust (trust) needs --against torch or torch:SOURCE (against)")

    @property
    def all_threads(self) -> tuple[int, ...]:
        """Numbers of threads as a tuple; empty for the default."""
        return _as_tuple(self.threads)

    @property
    def all_batches(self) -> tuple[int, ...]:
        """Batch sizes as a tuple; empty for the default."""
        return _as_tuple(self.batch)

    @property
    def is_sweep(self) -> bool:
        """Whether there are several numbers of threads or batch sizes."""
        return len(self.all_threads) > 1 or len(self.all_batches) > 1

    @property
    def is_end_to_end(self) -> bool:
        """Whether the steps from image file to label are measured."""
        return self.end_to_end or bool(self.images)

    @property
    def needs_sessions(self) -> bool:
        """Whether the latency is measured in several processes, for a baseline."""
        return self.save is not None or self.baseline is not None


def _as_tuple(value: int | Sequence[int] | None) -> tuple[int, ...]:
    if value is None:
        return ()
    return (value,) if isinstance(value, int) else tuple(value)
