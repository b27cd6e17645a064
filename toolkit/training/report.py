"""`TrainReport`: the result of a training."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from cnntk.models.trust import body_of
from cnntk.runtime.artifact.spec import Network
from cnntk.runtime.sections import Section

__all__ = ["EpochResult", "Status", "TrainReport"]

Status = Literal["trained", "resumed", "finished before"]


@dataclass(frozen=True)
class EpochResult:
    """Result of one epoch.

    Attributes:
        epoch: Number of the epoch, from 1.
        loss: Mean cross-entropy over the training images, each scored when it was used.
        train_accuracy: Share of the training images classified correctly when they were used, 0 to 1.
        accuracy: Share of the test images classified correctly after the epoch, 0 to 1.
        seconds: Duration of training and test in seconds.
    """

    epoch: int
    loss: float
    train_accuracy: float
    accuracy: float
    seconds: float


@dataclass(frozen=True)
class TrainReport:
    """Result of a training.

    Attributes:
        network: Name of the network.
        data: Name of the data set.
        status: ``resumed`` where an earlier run was continued, ``finished before`` where there was nothing
            left to do.
        accuracy: Share of the test images classified correctly with the weights of the last epoch, 0 to 1.
            Selecting the best epoch by the test images would bias it upwards.
        history: Results of all epochs, including those of an earlier run.
        seconds: Duration of all epochs in seconds.
        checkpoint: Path of the checkpoint folder.
        parameters: Number of parameters of the network.
        trainable_parameters: Number of parameters that were trained.
        classes: Number of classes.
        train_images: Number of training images.
        test_images: Number of test images.
        device: Device of the training.
        settings: Settings of the training, chosen by the user or by the recipe.
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

    def sections(self) -> tuple[Section, ...]:
        """Network, data, accuracy, time and the next command, for text and pages."""
        weights = f"{self.parameters:,} parameters, {self.trainable_parameters:,} trained"
        images = f"{self.train_images:,} images to train on, {self.test_images:,} held out"
        epochs = f"{len(self.history)} epoch{'s' * (len(self.history) != 1)}"
        lines = (
            ("network", f"{self.network}: {weights}"),
            ("data", f"{self.data}: {images}"),
            ("accuracy", f"{self.accuracy:.2%} on the held-out images"),
            ("time", f"{self.seconds:.1f} s, {epochs} on {self.device} ({self.status})"),
            ("wrote", self.checkpoint),
            ("next", f"cnntk export {self.checkpoint}{' --trust' if self._runs_code else ''}"),
        )
        return (Section("", lines=lines),)

    @property
    def _runs_code(self) -> bool:
        """Whether the checkpoint names code outside cnntk to build its network."""
        network = Network(str(self.settings.get("network")), self.settings.get("network_arguments") or {})
        return ":" in body_of(network).factory
