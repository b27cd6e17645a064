"""From what the user named to the network that is trained: its input, its recipe, its weights."""

from __future__ import annotations

import inspect
import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import nn

from cnntk.data import Split
from cnntk.models.checkpoint import load_checkpoint
from cnntk.models.factory import absolute, locate
from cnntk.models.foreign import blame
from cnntk.models.initialize import initialize
from cnntk.models.transfer import WITH_NEW_HEAD, NewHead, without_head
from cnntk.models.zoo import Recipe, build, find, names
from cnntk.runtime.artifact.spec import Network, Preprocessing
from cnntk.runtime.errors import CheckpointError, UsageError
from cnntk.training.options import TrainOptions
from cnntk.training.preprocessing import preprocessing_for

__all__ = ["Plan", "plan_for"]

_PLAIN_RECIPE = Recipe(
    optimizer="adamw",
    learning_rate=1e-3,
    weight_decay=1e-2,
    momentum=0.9,
    epochs=12,
    batch_size=64,
    schedule="one-cycle",
)


@dataclass(frozen=True)
class Plan:
    """What is to be trained.

    Attributes:
        name: of the network, for people.
        network: how to build it again; None for a module that was passed without saying so.
        recipe: how it is trained where the user says nothing.
        preprocessing: of its input.
        trained_before: mean and std are those that the body was trained with.
        passed: it is a module that was passed, whose first weights can't be made again.
        make: the network with its first weights, drawn from torch's global generator; the argument says
            how.
    """

    name: str
    network: Network | None
    recipe: Recipe
    preprocessing: Preprocessing
    trained_before: bool
    make: Callable[[str], nn.Module]
    passed: bool = False

    def build(self, init: str, classes: int) -> nn.Module:
        """The network, after one try that it takes its input and answers ``classes`` logits.

        Raises:
            UsageError: it does not.
        """
        module = self.make(init)
        _check_answer(module, self.name, self.preprocessing, classes)
        return module


def plan_for(
    network: str | Network | nn.Module | None,
    split: Split,
    options: TrainOptions,
    network_ref: Network | None = None,
) -> Plan:
    """Decides what to train.

    Args:
        network: a name of the zoo, ``package.module:function``, either with arguments, or a module; None
            for LeNet, or for the body's network.
        split: the data, which decides on channels and classes.
        options: of the user.
        network_ref: how to build a module that is passed again.

    Raises:
        UsageError: there is no such network, or an option does not go with it.
        CheckpointError: the body can't be used.
    """
    if options.body is not None:
        return _with_body(network, options.body, split, options)
    if options.freeze:
        raise UsageError("freeze keeps the weights of a body; name one with --body CHECKPOINT")
    if isinstance(network, nn.Module):
        return _as_it_is(network, network_ref, split, options)
    if isinstance(network, Network):
        return _from_reference(network.factory, network.kwargs, split, options)
    return _from_reference(network or "lenet", None, split, options)


def _from_reference(factory: str, kwargs: dict[str, Any] | None, split: Split, options: TrainOptions) -> Plan:
    """A network of the zoo or of a factory; without ``kwargs``, its arguments follow the data."""
    factory = absolute(factory)  # a checkpoint is built again in other folders, too
    entry = None if ":" in factory else find(factory)
    channels, size = (entry.input_shape[0], entry.input_shape[1]) if entry else (1, None)
    channels = (kwargs or {}).get("in_channels", max(channels, split.train.images.channels))
    if channels not in (1, 3):
        raise UsageError(f"{factory}: in_channels is {channels}; images have 1 (gray) or 3 (RGB)")
    size = options.image_size or (kwargs or {}).get("image_size", size) or _size_of(split, factory)
    if kwargs is None:
        kwargs = {"num_classes": len(split.classes), "in_channels": channels, "image_size": size}
        kwargs = _accepted(entry.factory if entry else factory, kwargs)
    if options.dropout is not None:
        kwargs = {**kwargs, "dropout": options.dropout}
    network = Network(factory, kwargs)
    return Plan(
        name=entry.name if entry else factory.rpartition(":")[2],
        network=network,
        recipe=entry.recipe if entry else _PLAIN_RECIPE,
        preprocessing=preprocessing_for(split, channels, size),
        trained_before=False,
        make=lambda init: initialize(build(network), init),
    )


def _accepted(factory: str, kwargs: dict[str, Any]) -> dict[str, Any]:
    """Those of ``kwargs`` that the factory takes: one's own network may have a fixed input."""
    try:
        parameters = inspect.signature(locate(factory)).parameters.values()
    except ValueError:  # functions in C may have none
        return kwargs
    if any(p.kind is p.VAR_KEYWORD for p in parameters):
        return kwargs
    return {name: value for name, value in kwargs.items() if name in {p.name for p in parameters}}


def _as_it_is(module: nn.Module, reference: Network | None, split: Split, options: TrainOptions) -> Plan:
    name = type(module).__name__
    reference = reference and replace(reference, factory=absolute(reference.factory))
    for option in ("init", "dropout"):
        if getattr(options, option) is not None:
            raise UsageError(f"{name}: a module is trained as it is; leave {option} out")
    channels = _channels_of(module, split)
    size = options.image_size or _size_of(split, name)
    return Plan(
        name=reference.factory.rpartition(":")[2] if reference else name,
        network=reference,
        recipe=_PLAIN_RECIPE,
        preprocessing=preprocessing_for(split, channels, size),
        trained_before=False,
        make=lambda init: module,
        passed=True,
    )


def _channels_of(module: nn.Module, split: Split) -> int:
    convolutions = (m.in_channels for m in module.modules() if isinstance(m, nn.Conv2d))
    return 3 if next(convolutions, split.train.images.channels) == 3 else 1


def _size_of(split: Split, name: str) -> int:
    """The larger side of images that all share one size."""
    if split.train.images.size is None:
        raise UsageError(f"{name}: the images of {split.name} differ in size; say --image-size")
    return max(split.train.images.size)


def _with_body(
    network: str | Network | nn.Module | None,
    path: str | os.PathLike[str],
    split: Split,
    options: TrainOptions,
) -> Plan:
    """The network of a checkpoint less its head, its weights, its preprocessing, and a new head."""
    checkpoint = load_checkpoint(path)
    spec = checkpoint.spec
    if spec.network is None or spec.preprocessing is None:
        raise CheckpointError(f"{path}: its spec has no preprocessing or no network; it can't be a body")
    base = _less_new_heads(spec.network)
    said = absolute(network) if isinstance(network, str) else network
    if said is not None and said not in (base.factory, base, spec.network):
        raise UsageError(f"{path}: its network is {base.factory}, not {network}; leave the network out")
    p = spec.preprocessing
    if options.image_size not in (None, p.height) or options.dropout is not None:
        raise UsageError(
            f"{path}: a body keeps its image size ({p.height}) and its dropout; leave these options out"
        )
    reference = Network(
        WITH_NEW_HEAD,
        {
            "body": base.factory,
            "num_classes": len(split.classes),
            "body_kwargs": base.kwargs,
            "frozen": bool(options.freeze),
            "input_shape": [p.channels, p.height, p.width],
        },
    )

    def make(init: str) -> nn.Module:
        module = build(reference)
        if not isinstance(module, NewHead):
            raise TypeError(f"{WITH_NEW_HEAD} gave {type(module).__name__}")
        module.body.load_state_dict(without_head(checkpoint.module).state_dict())
        initialize(module.head, init)
        return module

    recipe = find(base.factory).recipe if base.factory in names() else _PLAIN_RECIPE
    return Plan(spec.name, reference, recipe, p, trained_before=True, make=make)


def _less_new_heads(network: Network) -> Network:
    """The network below: with a new head in place of a new head, the old one need not be built again."""
    while network.factory == WITH_NEW_HEAD:
        network = Network(network.kwargs["body"], network.kwargs.get("body_kwargs") or {})
    return network


def _check_answer(module: nn.Module, name: str, p: Preprocessing, classes: int) -> None:
    """Sends two black images through ``module``, so that what does not fit fails now."""
    parameter = next(module.parameters(), torch.empty(0))
    shape = (2, p.channels, p.height, p.width)
    training = module.training
    try:
        with torch.no_grad():
            answer = module.eval()(torch.zeros(shape, device=parameter.device))
    except Exception as error:  # its forward may be a user's own code, which may raise anything
        raise UsageError(
            f"{name}: does not take images of {'x'.join(map(str, shape[1:]))}: {blame(error)}"
        ) from error
    finally:
        module.train(training)
    if not isinstance(answer, torch.Tensor) or answer.shape != (2, classes):
        got = list(answer.shape) if isinstance(answer, torch.Tensor) else type(answer).__name__
        raise UsageError(
            f"{name}: answers {got} for 2 images; expected [2, {classes}], a logit a class of the data"
        )
