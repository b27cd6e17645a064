"""`TrainReport`: what a training came to."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Literal

from cnntk.runtime.sections import Section

__all__ = ["EpochResult", "Status", "TrainReport"]

Status = Literal["trained", "resumed", "finished before"]


@dataclass(frozen=True)
class EpochResult:
    """One epoch.

    Attributes:
        epoch: from 1.
        loss: mean cross-entropy over the training images, as they were seen.
        train_accuracy: share of the training images that were answered right as they were seen, 0 to 1.
        accuracy: share of the test images that are answered right after the epoch, 0 to 1.
        seconds: of training and test.
    """

    epoch: int
    loss: float
    train_accuracy: float
    accuracy: float
    seconds: float


@dataclass(frozen=True)
class TrainReport:
    """What a training came to.

    Attributes:
        network: its name.
        data: its name.
        status: ``resumed`` where it went on from an earlier run, ``finished before`` where there was
            nothing left to do.
        accuracy: share of the test images that are answered right, 0 to 1, with the last epoch's weights:
            choosing the best epoch by the test images would flatter it.
        history: of the epochs, the earlier run's included.
        seconds: over all epochs.
        checkpoint: the folder.
        parameters: how many weights the network has.
        trainable_parameters: how many of them were trained.
        classes: how many.
        train_images: how many.
        test_images: how many.
        device: it was trained on.
        settings: all that was chosen, by the user or by the recipe.
    """

    network: str
    data: str
    status: Status
    accuracy: float
    history: tuple[EpochResult, ...]
    seconds: float
    checkpoint: str
    parameters: int
    trainable_parameters: int
    classes: int
    train_images: int
    test_images: int
    device: str
    settings: dict[str, Any]

    def to_json(self) -> dict[str, Any]:
        """As JSON data."""
        return asdict(self)

    def sections(self) -> tuple[Section, ...]:
        """The accuracy, what it was reached with, and the next command, for text and pages."""
        weights = f"{self.parameters:,} parameters, {self.trainable_parameters:,} trained"
        images = f"{self.train_images:,} images to train on, {self.test_images:,} held out"
        lines = (
            ("network", f"{self.network}: {weights}"),
            ("data", f"{self.data}: {images}"),
            ("accuracy", f"{self.accuracy:.2%} on the held-out images"),
            ("time", f"{self.seconds:.1f} s, {len(self.history)} epochs on {self.device} ({self.status})"),
            ("wrote", self.checkpoint),
            ("next", f"cnntk export {self.checkpoint}"),
        )
        return (Section("", lines=lines),)

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> TrainReport:
        """From what `to_json` gave; TypeError or KeyError where it is something else."""
        history = tuple(EpochResult(**epoch) for epoch in data["history"])
        return cls(**{**data, "history": history})
