"""What the user may choose, and what training makes of it with the network's recipe."""

from __future__ import annotations

import math
import os
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TypeVar

from cnntk.data import Split
from cnntk.models.zoo import Recipe
from cnntk.runtime.errors import UsageError
from cnntk.training.augment import AUGMENTATIONS
from cnntk.training.schedule import SCHEDULES

T = TypeVar("T")

__all__ = ["INITS", "MAX_EPOCHS", "MIN_STEPS", "OPTIMIZERS", "Settings", "TrainOptions", "settings_for"]

OPTIMIZERS = ("adamw", "sgd")
INITS = ("xavier", "normal")

MIN_STEPS = 1000
"""By default, small data sets get more epochs than the recipe says, until there are so many steps..."""

MAX_EPOCHS = 100
"""... but never more epochs than this."""


@dataclass(frozen=True)
class TrainOptions:
    """What the user chose; None leaves it to the recipe of the network.

    Attributes:
        epochs: how often each image is seen. Default: the recipe's, or as many as make `MIN_STEPS` steps,
            at most `MAX_EPOCHS`.
        batch_size: images a step.
        optimizer: ``adamw`` or ``sgd``.
        learning_rate: at its peak.
        weight_decay: L2 penalty; decoupled with ``adamw``.
        schedule: ``one-cycle``, ``cosine`` or ``constant``.
        augment: ``shift``, ``zoom``, ``flip``; empty for none.
        image_size: height and width of the network's input, in pixels.
        init: ``xavier``, or ``normal`` with 0.01.
        dropout: share of activations that is dropped, in [0, 1].
        seed: of everything random. Default: 0.
        device: ``cpu``, ``cuda``, ``cuda:1`` or ``auto``. Default: ``cpu``.
        body: a checkpoint whose network, but for its head, is what training starts from.
        freeze: whether the body keeps its weights. Default: it learns.
    """

    epochs: int | None = None
    batch_size: int | None = None
    optimizer: str | None = None
    learning_rate: float | None = None
    weight_decay: float | None = None
    schedule: str | None = None
    augment: tuple[str, ...] | None = None
    image_size: int | None = None
    init: str | None = None
    dropout: float | None = None
    seed: int | None = None
    device: str | None = None
    body: str | os.PathLike[str] | None = None
    freeze: bool | None = None

    def __post_init__(self) -> None:
        for name in ("epochs", "batch_size", "image_size"):
            _check_number(name, getattr(self, name), lowest=1)
        for name in ("learning_rate", "weight_decay", "seed"):
            _check_number(name, getattr(self, name), lowest=0)
        _check_number("dropout", self.dropout, lowest=0, highest=1)
        _check_choice("optimizer", self.optimizer, OPTIMIZERS)
        _check_choice("schedule", self.schedule, SCHEDULES)
        _check_choice("init", self.init, INITS)
        for name in self.augment or ():
            _check_choice("augment", name, AUGMENTATIONS)


@dataclass(frozen=True)
class Settings:
    """How a training is done: `TrainOptions` with the recipe's values where the user left the choice."""

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
    """The options, completed by the recipe and by the size of the data."""
    batch_size = _first(options.batch_size, recipe.batch_size)
    return Settings(
        epochs=_first(options.epochs, _default_epochs(recipe.epochs, len(split.train), batch_size)),
        batch_size=batch_size,
        optimizer=_first(options.optimizer, recipe.optimizer),
        learning_rate=_first(options.learning_rate, recipe.learning_rate),
        weight_decay=_first(options.weight_decay, recipe.weight_decay),
        momentum=recipe.momentum,
        schedule=_first(options.schedule, recipe.schedule),
        augment=_first(options.augment, _default_augment(recipe.augment, split)),
        init=_first(options.init, recipe.init),
        seed=_first(options.seed, 0),
    )


def _default_epochs(epochs: int, images: int, batch_size: int) -> int:
    """Steps are what trains a network: a thousand digits need more epochs than 60,000."""
    steps_an_epoch = math.ceil(images / batch_size)
    return max(epochs, min(MAX_EPOCHS, math.ceil(MIN_STEPS / steps_an_epoch)))


def _default_augment(augment: tuple[str, ...], split: Split) -> tuple[str, ...]:
    """A mirrored photo is a photo of the same thing, a mirrored digit is not that digit."""
    return tuple(name for name in augment if not (name == "flip" and split.handwriting))


def _first(chosen: T | None, default: T) -> T:
    return default if chosen is None else chosen


def _check_number(name: str, value: float | None, lowest: float, highest: float = math.inf) -> None:
    if value is not None and not (lowest <= value <= highest and math.isfinite(value)):
        limits = f"at least {lowest}" if highest == math.inf else f"{lowest} to {highest}"
        raise UsageError(f"{name} = {value}: expected {limits}")


def _check_choice(name: str, value: str | None, choices: Iterable[str]) -> None:
    if value is not None and value not in choices:
        raise UsageError(f"{name} = {value!r}: expected {' or '.join(choices)}")
