"""`TrainOptions`: choices of the user, and the settings that they give together with the network's recipe."""

from __future__ import annotations

import math
import os
import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal, TypeVar, get_args

from cnntk.runtime.errors import UsageError

if TYPE_CHECKING:
    from cnntk.data import Split
    from cnntk.models.zoo import Recipe

__all__ = [
    "MAX_EPOCHS",
    "MIN_STEPS",
    "Augmentation",
    "Schedule",
    "Settings",
    "TrainOptions",
    "device_index",
    "settings_for",
]

T = TypeVar("T")

Augmentation = Literal["shift", "zoom", "flip", "none"]
Initialization = Literal["xavier", "normal"]
OptimizerName = Literal["adamw", "sgd"]
Schedule = Literal["one-cycle", "cosine", "constant"]

MIN_STEPS = 1000
"""By default, small data sets get more epochs than the recipe says, until there are so many steps..."""

MAX_EPOCHS = 100
"""... but never more epochs than this."""

_DEVICE = re.compile(r"cpu|auto|cuda(?::(\d+))?")

_NETWORK, _TRAINING, _OUTPUT = {"group": "Network"}, {"group": "Training"}, {"group": "Output"}


@dataclass(frozen=True)
class TrainOptions:
    """Options of `train`. None leaves the choice to the network's recipe, or to the training that is resumed.

    Attributes:
        epochs: Number of times each training image is seen (default: the recipe's, more on small data).
            On small data it is raised to make 1,000 steps, but to no more than 100 epochs.
        batch_size: Number of images in a training step.
        optimizer: Optimizer of the weights.
        learning_rate: Learning rate at its peak.
        weight_decay: L2 penalty on the weights; decoupled from the gradient with adamw.
        schedule: Course of the learning rate over the training.
        augment: Random change of the training images, may be repeated; none for no change.
        image_size: Height and width of the network's input, in pixels.
        init: Distribution of the initial weights: xavier, or normal with standard deviation 0.01.
        dropout: Share of activations to drop, 0 to 1, in networks that have dropout.
        max_images: Number of training images to use at most, balanced by class, for a quick try; as many test
            images at most.
        seed: Seed of initial weights, image order, augmentation and dropout (default: 0).
        device: Device to train on: cpu (default), cuda, cuda:1 or auto. CUDA computes in bfloat16 where the
            GPU supports it.
        body: Checkpoint whose network, with a new head, is trained.
        freeze: Keep the weights of the body unchanged.
        trust: Run code outside the zoo that the checkpoint of --body or the training that is resumed names.
            It runs with your rights, like a program that you start.
        resume: Continue the training in the output folder with the options it was started with.
        force: Replace a training that exists in the output folder.
    """

    epochs: int | None = field(default=None, metadata=_TRAINING | {"min": 1})
    batch_size: int | None = field(default=None, metadata=_TRAINING | {"min": 1})
    optimizer: OptimizerName | None = field(default=None, metadata=_TRAINING)
    learning_rate: float | None = field(
        default=None, metadata=_TRAINING | {"flag": "--learning-rate --lr", "min": 0}
    )
    weight_decay: float | None = field(default=None, metadata=_TRAINING | {"min": 0})
    schedule: Schedule | None = field(default=None, metadata=_TRAINING)
    augment: tuple[Augmentation, ...] | None = field(default=None, metadata=_TRAINING)
    image_size: int | None = field(default=None, metadata=_NETWORK | {"min": 1})
    init: Initialization | None = field(default=None, metadata=_NETWORK)
    dropout: float | None = field(default=None, metadata=_NETWORK | {"min": 0, "max": 1})
    max_images: int | None = field(default=None, metadata={"min": 1, "group": "Data"})
    seed: int | None = field(default=None, metadata=_TRAINING | {"min": 0})
    device: str | None = field(default=None, metadata=_TRAINING)
    body: str | os.PathLike[str] | None = field(default=None, metadata=_NETWORK | {"metavar": "CHECKPOINT"})
    freeze: bool | None = field(default=None, metadata=_NETWORK)
    trust: bool = field(default=False, metadata=_NETWORK)
    resume: bool = field(default=False, metadata=_OUTPUT)
    force: bool = field(default=False, metadata=_OUTPUT)

    def __post_init__(self) -> None:
        for name in ("epochs", "batch_size", "image_size", "max_images"):
            _check_number(name, getattr(self, name), lowest=1)
        for name in ("learning_rate", "weight_decay", "seed"):
            _check_number(name, getattr(self, name), lowest=0)
        _check_number("dropout", self.dropout, lowest=0, highest=1)
        _check_choice("optimizer", self.optimizer, get_args(OptimizerName))
        _check_choice("schedule", self.schedule, get_args(Schedule))
        _check_choice("init", self.init, get_args(Initialization))
        device_index(self.device or "cpu")
        if self.freeze and self.body is None and not self.resume:
            raise UsageError("--freeze keeps the weights of a body: name its checkpoint with --body")
        for name in self.augment or ():
            _check_choice("augment", name, get_args(Augmentation))
        if "none" in (self.augment or ()) and len(set(self.augment or ())) > 1:
            raise UsageError("augment = 'none' excludes all others; leave it or the others out")
        if self.resume and self.force:
            raise UsageError("--resume and --force exclude each other: continue the training, or replace it")

    @property
    def augmentations(self) -> tuple[str, ...] | None:
        """Names of the augmentations to apply, without repetition; empty for none, None for the recipe's."""
        return None if self.augment is None else tuple(n for n in dict.fromkeys(self.augment) if n != "none")


def device_index(name: str) -> int:
    """Number of the CUDA device called ``cpu``, ``cuda``, ``cuda:1`` or ``auto``; 0 where it has none.

    Raises:
        UsageError: No device has that name.
    """
    match = _DEVICE.fullmatch(name)
    if match is None:
        raise UsageError(f"unknown device {name!r}; use cpu, cuda, cuda:1 (numbers start at 0), or auto")
    return int(match.group(1) or 0)


@dataclass(frozen=True)
class Settings:
    """Settings of a training: `TrainOptions` with the recipe's values for those that are None."""

    epochs: int
    batch_size: int
    optimizer: str
    learning_rate: float
    weight_decay: float
    momentum: float
    schedule: str
    augment: tuple[str, ...]
    init: str
    seed: int


def settings_for(options: TrainOptions, recipe: Recipe, split: Split) -> Settings:
    """Completes the options with the recipe and, for the number of epochs, with the size of the data."""
    batch_size = _first(options.batch_size, recipe.batch_size)
    return Settings(
        epochs=_first(options.epochs, _default_epochs(recipe.epochs, len(split.train), batch_size)),
        batch_size=batch_size,
        optimizer=_first(options.optimizer, recipe.optimizer),
        learning_rate=_first(options.learning_rate, recipe.learning_rate),
        weight_decay=_first(options.weight_decay, recipe.weight_decay),
        momentum=recipe.momentum,
        schedule=_first(options.schedule, recipe.schedule),
        augment=_first(options.augmentations, _default_augment(recipe.augment, split)),
        init=_first(options.init, recipe.init),
        seed=_first(options.seed, 0),
    )


def _default_epochs(epochs: int, images: int, batch_size: int) -> int:
    """Number of epochs by default: the number of steps trains a network, so few images need more epochs."""
    steps_per_epoch = math.ceil(images / batch_size)
    return max(epochs, min(MAX_EPOCHS, math.ceil(MIN_STEPS / steps_per_epoch)))


def _default_augment(augment: tuple[str, ...], split: Split) -> tuple[str, ...]:
    """The recipe's augmentations; a mirrored digit is another sign, so handwriting is not flipped."""
    return tuple(name for name in augment if not (name == "flip" and split.handwriting))


def _first(value: T | None, default: T) -> T:
    return default if value is None else value


def _check_number(name: str, value: float | None, lowest: float, highest: float = math.inf) -> None:
    if value is not None and not (lowest <= value <= highest and math.isfinite(value)):
        limits = f"at least {lowest}" if highest == math.inf else f"{lowest} to {highest}"
        raise UsageError(f"{name} = {value}: expected {limits}")


def _check_choice(name: str, value: str | None, choices: Iterable[str]) -> None:
    if value is not None and value not in choices:
        raise UsageError(f"{name} = {value!r}: expected {' or '.join(choices)}")
