"""The zoo: for each name a network, its input size and its training recipe.

Other distributions add networks by an entry point of the group ``cnntk.models``, see ``docs/plugins.md``.

This file needs no torch; only what `build` builds does.
"""

from __future__ import annotations

import difflib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, get_args

from cnntk.models.factory import construct
from cnntk.models.plugins import PluginGroup
from cnntk.runtime.artifact.spec import Network
from cnntk.runtime.errors import UsageError

if TYPE_CHECKING:
    from torch import nn

__all__ = ["BUILT_IN", "NETWORK_PLUGINS", "Recipe", "ZooEntry", "build", "find", "names"]

Optimizer = Literal["adamw", "sgd"]
Schedule = Literal["one-cycle", "cosine", "constant"]
Augmentation = Literal["shift", "zoom", "flip"]
Init = Literal["xavier", "normal"]


@dataclass(frozen=True)
class Recipe:
    """The default training settings of a network.

    Attributes:
        optimizer: ``adamw``, or ``sgd`` with momentum.
        learning_rate: Peak learning rate.
        weight_decay: Weight decay of the optimizer; 0 for none.
        momentum: Momentum of ``sgd``; ``adamw`` has its own.
        epochs: Number of passes over the data.
        batch_size: Number of images per step.
        schedule: Schedule of the learning rate over the whole training.
        augment: Random changes of training images: ``shift`` by some pixels, ``zoom`` in or out around the
            center, ``flip`` left and right.
        init: Initial weights, as in `cnntk.models.initialize`.
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
        name: Name that users type.
        factory: ``package.module:function``; the function takes num_classes, in_channels and image_size.
        input_shape: Default input shape (C, H, W).
        recipe: Default training settings.
    """

    name: str
    factory: str
    input_shape: tuple[int, int, int]
    recipe: Recipe


def names() -> tuple[str, ...]:
    """Returns the names of all networks: cnntk's own first, then those of other distributions.

    Raises:
        UsageError: Two distributions provide the same name.
    """
    return (*BUILT_IN, *NETWORK_PLUGINS.entry_points())


def find(name: str) -> ZooEntry:
    """Returns the zoo entry of a name.

    Raises:
        UsageError: There is none, two distributions provide it, or its plug-in is broken.
    """
    points = NETWORK_PLUGINS.entry_points()
    if name in BUILT_IN:
        return BUILT_IN[name]
    if (point := points.get(name)) is not None:
        entry = NETWORK_PLUGINS.load(point)
        if not isinstance(entry, ZooEntry) or entry.name != name:
            raise UsageError(
                f"{NETWORK_PLUGINS.describe(point)} is {entry!r}, expected a ZooEntry of the name {name!r}"
            )
        return entry
    all_names = (*BUILT_IN, *points)
    close = difflib.get_close_matches(name, all_names, n=1)
    hint = f"did you mean {close[0]!r}? " if close else ""
    raise UsageError(
        f"unknown network {name!r}; {hint}the zoo has {', '.join(all_names)}; "
        "name your own as package.module:function or path/to/file.py:function"
    )


def build(network: Network) -> nn.Module:
    """Builds a network with fresh weights.

    Args:
        network: Network whose factory is a name of the zoo, ``package.module:function`` or
            ``path/to/file.py:function``. The latter two run the code that they name.

    Raises:
        UsageError: There is no such network or factory, it raises anything, or it does not return an
            nn.Module.
        MissingDependency: torch is not installed.
    """
    reference = network.factory
    if ":" not in reference:
        reference = find(reference).factory
    return construct(reference, network.kwargs)


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

BUILT_IN = {
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

NETWORK_PLUGINS = PluginGroup("cnntk.models", "network", BUILT_IN)
