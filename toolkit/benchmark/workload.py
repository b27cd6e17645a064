"""`Workload`: a model, and how it is run while it is measured."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from cnntk.runtime.errors import UsageError

if TYPE_CHECKING:  # a process that measures its imports unpickles a workload before them
    from cnntk.runtime.engine import Engine

__all__ = ["Workload"]


@dataclass(frozen=True)
class Workload:
    """A model, and how it is run while it is measured.

    Attributes:
        model: Path of an ``.onnx`` file.
        device: Device, as `Engine` takes it.
        threads: Number of CPU threads, as `Engine` takes it.
        batch: Images per run; None for 1, or the model's fixed batch size.
        seconds: Time to measure for.
        sizes: Sizes of open dimensions of the inputs by name, without the batch.

    Raises:
        UsageError: The batch size or the time is not a positive number.
    """

    model: str | os.PathLike[str]
    device: str = "cpu"
    threads: int | None = None
    batch: int | None = None
    seconds: float = 3.0
    sizes: Mapping[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.batch is not None and self.batch < 1:
            raise UsageError(f"batch {self.batch} must be a positive number")
        if not 0 < self.seconds < math.inf:
            raise UsageError(f"seconds {self.seconds:g} must be a positive number")

    def engine(self, *, allow_nonfinite: bool = False) -> Engine:
        """A new engine of the model.

        Raises:
            CnntkError: The model can't be loaded on the device.
        """
        from cnntk.runtime.engine import Engine

        return Engine(self.model, self.device, threads=self.threads, allow_nonfinite=allow_nonfinite)
