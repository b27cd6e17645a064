"""The zoo: a name, and the network, input size and recipe that it stands for.

Other distributions add to it by an entry point of the group ``cnntk.models``, whose name is the network's
and whose value loads to a `ZooEntry`. It is loaded when it is asked for, not before.

This file needs no torch; only what `build` builds does.
"""

from __future__ import annotations

import difflib
from dataclasses import dataclass
from importlib.metadata import EntryPoint
from typing import TYPE_CHECKING, Any, Literal, get_args

from cnntk.models.factory import construct
from cnntk.models.plugins import added, giver
from cnntk.models.user_errors import describe_error
from cnntk.runtime.artifact.spec import Network
from cnntk.runtime.errors import CnntkError, UsageError

if TYPE_CHECKING:
    from torch import nn

__all__ = ["ENTRY_POINT_GROUP", "Recipe", "ZooEntry", "build", "find", "names"]

ENTRY_POINT_GROUP = "cnntk.models"

Optimizer = Literal["adamw", "sgd"]
Schedule = Literal["one-cycle", "cosine", "constant"]
Augmentation = Literal["shift", "zoom", "flip"]
Init = Literal["xavier", "normal"]


@dataclass(frozen=True)
class Recipe:
    """How a network is trained where nothing else is said.

    Attributes:
        optimizer: AdamW, or SGD with momentum.
        learning_rate: at its highest.
        weight_decay: the optimizer's; 0 for none.
        momentum: of sgd; adamw has its own.
        epochs: passes over the data.
        batch_size: images a step.
        schedule: of the learning rate, over the whole training.
        augment: what is done to training images: ``shift`` by some pixels, ``zoom`` in or out around the
            center, ``flip`` left and right.
        init: how the weights start, as in `cnntk.models.initialize`.
    """

    optimizer: Optimizer
    learning_rate: float
    weight_decay: float
    momentum: float
    epochs: int
    batch_size: int
    schedule: Schedule
    augment: tuple[Augmentation, ...] = ()
    init: Init = "xavier"

    def __post_init__(self) -> None:
        _check_choice("optimizer", self.optimizer, Optimizer)
        _check_choice("schedule", self.schedule, Schedule)
        _check_choice("init", self.init, Init)
        for name in self.augment:
            _check_choice("augment", name, Augmentation)


@dataclass(frozen=True)
class ZooEntry:
    """One network of the zoo.

    Attributes:
        name: what users call it.
        factory: ``package.module:function``; it takes num_classes, in_channels and image_size.
        input_shape: (C, H, W) that the network has by default.
        recipe: how it is trained by default.
    """

    name: str
    factory: str
    input_shape: tuple[int, int, int]
    recipe: Recipe


def names() -> tuple[str, ...]:
    """Every network's name: cnntk's own first, then what other distributions add.

    Raises:
        UsageError: two distributions give the same name.
    """
    return (*_BUILT_IN, *_others())


def find(name: str) -> ZooEntry:
    """The network of that name.

    Raises:
        UsageError: there is none, two distributions give it, or the one that gives it is broken.
    """
    others = _others()
    if name in _BUILT_IN:
        return _BUILT_IN[name]
    if name in others:
        return _load(others[name])
    known = names()
    close = difflib.get_close_matches(name, known, n=1)
    hint = f"did you mean {close[0]!r}? " if close else ""
    raise UsageError(
        f"unknown network {name!r}; {hint}the zoo has {', '.join(known)}; "
        "your own goes as package.module:function or path/to/file.py:function"
    )


def build(network: Network) -> nn.Module:
    """The network, with fresh weights.

    Args:
        network: its factory is a name of the zoo, ``package.module:function`` or
            ``path/to/file.py:function``. The latter two run the code that they name.

    Raises:
        UsageError: there is no such network or factory, it raises whatever it may, or it gives something
            else than an nn.Module.
        MissingDependency: torch is not installed.
    """
    reference = network.factory
    if ":" not in reference:
        reference = find(reference).factory
    return construct(reference, network.kwargs)


def _others() -> dict[str, EntryPoint]:
    return added(ENTRY_POINT_GROUP, "network", _BUILT_IN)


def _load(point: EntryPoint) -> ZooEntry:
    try:
        entry = point.load()
    except CnntkError:
        raise
    except (Exception, SystemExit) as error:  # code that is not ours may raise anything
        raise UsageError(
            f"the network {point.name!r} of {giver(point)} can't be loaded: {describe_error(error)}"
        ) from error
    if not isinstance(entry, ZooEntry) or entry.name != point.name:
        raise UsageError(
            f"the network {point.name!r} of {giver(point)} is {entry!r}, not a ZooEntry of that name"
        )
    return entry


def _check_choice(field: str, value: str, kind: Any) -> None:
    if value not in get_args(kind):
        raise ValueError(f"Recipe.{field} = {value!r}; choose one of {', '.join(get_args(kind))}")


_LENET_RECIPE = Recipe(
    optimizer="adamw",
    learning_rate=1e-2,
    weight_decay=1e-2,
    momentum=0.9,
    epochs=12,
    batch_size=128,
    schedule="one-cycle",
    augment=("shift",),
)

# Weight decay keeps LeNet small; the three below have dropout for that, and need little of it.
_DROPOUT_RECIPE = Recipe(
    optimizer="sgd",
    learning_rate=1e-2,
    weight_decay=5e-4,
    momentum=0.9,
    epochs=20,
    batch_size=64,
    schedule="cosine",
    augment=("flip",),
)

_PHOTO = (3, 224, 224)

_BUILT_IN = {
    entry.name: entry
    for entry in (
        ZooEntry("lenet", "cnntk.models.lenet:lenet", (1, 28, 28), _LENET_RECIPE),
        ZooEntry("alexnet", "cnntk.models.alexnet:alexnet", _PHOTO, _DROPOUT_RECIPE),
        ZooEntry("vgg11", "cnntk.models.vgg:vgg11", _PHOTO, _DROPOUT_RECIPE),
        ZooEntry("vgg13", "cnntk.models.vgg:vgg13", _PHOTO, _DROPOUT_RECIPE),
        ZooEntry("vgg16", "cnntk.models.vgg:vgg16", _PHOTO, _DROPOUT_RECIPE),
        ZooEntry("vgg19", "cnntk.models.vgg:vgg19", _PHOTO, _DROPOUT_RECIPE),
        ZooEntry("nin", "cnntk.models.nin:nin", _PHOTO, _DROPOUT_RECIPE),
    )
}
