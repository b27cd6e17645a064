"""The network to train, from what the user named: its input, its recipe, its initial weights."""

from __future__ import annotations

import copy
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
from cnntk.models.initialize import initialize
from cnntk.models.lazy_layers import give_shapes
from cnntk.models.transfer import NewHead, without_head
from cnntk.models.trust import WITH_NEW_HEAD, body_of
from cnntk.models.user_errors import describe_error
from cnntk.models.zoo import Recipe, build, find, names
from cnntk.runtime.artifact.spec import Network, Preprocessing
from cnntk.runtime.errors import CheckpointError, UsageError
from cnntk.training.options import TrainOptions
from cnntk.training.preprocessing import preprocessing_for

__all__ = ["TrainPlan", "plan_for"]

_PLAIN_RECIPE = Recipe(
    optimizer="adamw",
    learning_rate=1e-3,
    weight_decay=1e-2,
    momentum=0.9,
    epochs=12,
    batch_size=64,
    schedule="one-cycle",
)


_USUAL_SIZES = (28, 32, 64, 96, 128, 160, 192, 224, 227, 256, 299)
"""Sides of images, in pixels, that networks are usually made for."""


@dataclass(frozen=True)
class TrainPlan:
    """The network to train and how to build it.

    Attributes:
        name: Display name of the network.
        network: How to build the network again; None for a module that was passed without ``network_ref``.
        recipe: Default settings of its training.
        preprocessing: Preprocessing of its input.
        pretrained: Whether mean and std are those that the body was trained with.
        make: Function from the name of an initialization to the network with its initial weights, drawn
            from torch's global generator.
        is_module: Whether it is a module that was passed, whose initial weights can't be made again.
        note: What the user has to know about the choices; empty for nothing.
    """

    name: str
    network: Network | None
    recipe: Recipe
    preprocessing: Preprocessing
    pretrained: bool
    make: Callable[[str], nn.Module]
    is_module: bool = False
    note: str = ""

    def build(self, init: str, classes: int) -> nn.Module:
        """Builds the network and checks that it turns images into ``classes`` logits.

        Raises:
            UsageError: It does not.
        """
        module = self.make(init)
        _check_output(module, self.name, self.preprocessing, classes)
        return module


def plan_for(
    network: str | Network | nn.Module | None,
    split: Split,
    options: TrainOptions,
    network_ref: Network | None = None,
) -> TrainPlan:
    """Decides what to train.

    Args:
        network: Name of a network of the zoo, ``package.module:function``, either with arguments, or a
            module; None for LeNet, or for the network of the body.
        split: Data, which decides on channels and classes.
        options: Options of the user.
        network_ref: How to build a module that is passed as ``network`` again.

    Raises:
        UsageError: There is no such network, or an option does not apply to it.
        CheckpointError: The checkpoint of the body is not usable.
    """
    if options.body is not None:
        return _with_body(network, options.body, split, options)
    if options.freeze:
        raise UsageError("--freeze: the training that is resumed has no body")
    if isinstance(network, nn.Module):
        return _from_module(network, network_ref, split, options)
    if isinstance(network, Network):
        return _from_reference(network.factory, network.kwargs, split, options)
    return _from_reference(network or "lenet", None, split, options)


def _from_reference(
    factory: str, kwargs: dict[str, Any] | None, split: Split, options: TrainOptions
) -> TrainPlan:
    """Plans a network of the zoo or of a factory; without ``kwargs``, its arguments follow from the data."""
    factory = absolute(factory)  # the checkpoint has to work from other working directories, too
    entry = None if ":" in factory else find(factory)
    channels, size = (entry.input_shape[0], entry.input_shape[1]) if entry else (1, None)
    channels = (kwargs or {}).get("in_channels", max(channels, split.train.images.channels))
    if channels not in (1, 3):
        raise UsageError(f"{factory}: in_channels is {channels}; expected 1 (gray) or 3 (RGB)")
    size = options.image_size or (kwargs or {}).get("image_size", size)
    is_chosen, size = size is not None, size or _size_of(split, factory)
    if kwargs is None:
        kwargs = {"num_classes": len(split.classes), "in_channels": channels, "image_size": size}
        kwargs = _accepted(entry.factory if entry else factory, kwargs)
    if options.dropout is not None:
        kwargs = {**kwargs, "dropout": options.dropout}
    network, note = Network(factory, kwargs), ""
    if entry is None and not {"in_channels", "image_size"} & kwargs.keys():
        module = build(network)
        channels = _channels_of(module, split)
        if not is_chosen and (fitting := _fitting_size(module, channels, size, len(split.classes))):
            note = f"images are resized from {size} to {fitting} pixels, the smallest size of those tried "
            note += f"that {factory.rpartition(':')[2]} takes (--image-size sets another)"
            size = fitting
    preprocessing = preprocessing_for(split, channels, size)

    def make(init: str) -> nn.Module:
        module = build(network)
        give_shapes(module, [torch.zeros(1, channels, preprocessing.height, preprocessing.width)])
        return initialize(module, init)

    return TrainPlan(
        name=entry.name if entry else factory.rpartition(":")[2],
        network=network,
        recipe=entry.recipe if entry else _PLAIN_RECIPE,
        preprocessing=preprocessing,
        pretrained=False,
        make=make,
        note=note,
    )


def _fitting_size(module: nn.Module, channels: int, size: int, classes: int) -> int | None:
    """Returns the smallest usual size that a network takes; None where it takes ``size``, or none of them."""

    def takes(side: int) -> bool:
        trial, image = copy.deepcopy(module).eval(), torch.zeros(2, channels, side, side)
        try:
            with torch.no_grad():
                return bool(trial(image).shape == (2, classes))
        except Exception:  # its forward may be a user's own code, which may raise anything
            return False

    return None if takes(size) else next(filter(takes, _USUAL_SIZES), None)


def _accepted(factory: str, kwargs: dict[str, Any]) -> dict[str, Any]:
    """The items of ``kwargs`` that the factory has parameters for: a network may have a fixed input."""
    located = locate(factory)
    if isinstance(located, nn.Module):  # it is built already
        return {}
    try:
        parameters = inspect.signature(located).parameters.values()
    except ValueError:  # functions in C may have no signature
        return kwargs
    if any(p.kind is p.VAR_KEYWORD for p in parameters):
        return kwargs
    return {name: value for name, value in kwargs.items() if name in {p.name for p in parameters}}


def _from_module(
    module: nn.Module, reference: Network | None, split: Split, options: TrainOptions
) -> TrainPlan:
    name = type(module).__name__
    reference = reference and replace(reference, factory=absolute(reference.factory))
    for option in ("init", "dropout"):
        if getattr(options, option) is not None:
            raise UsageError(
                f"{name}: --{option} does not apply to a module, which is trained as it is; leave it out"
            )
    channels = _channels_of(module, split)
    size = options.image_size or _size_of(split, name)
    return TrainPlan(
        name=reference.factory.rpartition(":")[2] if reference else name,
        network=reference,
        recipe=_PLAIN_RECIPE,
        preprocessing=preprocessing_for(split, channels, size),
        pretrained=False,
        make=lambda init: module,
        is_module=True,
    )


def _channels_of(module: nn.Module, split: Split) -> int:
    convolutions = (m.in_channels for m in module.modules() if isinstance(m, nn.Conv2d))
    channels = next(convolutions, 0) or split.train.images.channels  # a lazy one has 0
    return 3 if channels == 3 else 1


def _size_of(split: Split, name: str) -> int:
    """Length in pixels of the longer side of the images, where all have one size."""
    if split.train.images.size is None:
        raise UsageError(
            f"{name}: the images of {split.name} may differ in size; choose the input's with --image-size"
        )
    return max(split.train.images.size)


def _with_body(
    network: str | Network | nn.Module | None,
    path: str | os.PathLike[str],
    split: Split,
    options: TrainOptions,
) -> TrainPlan:
    """Plans the network of a checkpoint without its head, with its weights, and with a new head."""
    reference = absolute(network) if isinstance(network, str) else network
    named = reference.factory if isinstance(reference, Network) else reference
    checkpoint = load_checkpoint(path, trust=options.trust, named=named if isinstance(named, str) else None)
    spec = checkpoint.spec
    if spec.network is None or spec.preprocessing is None:
        raise CheckpointError(
            f"{path}: its spec has no preprocessing or names no network, so it can't be a body"
        )
    base = body_of(spec.network)
    if reference not in (None, base.factory, base, spec.network):
        raise UsageError(f"{path}: its network is {base.factory}, not {network}; leave the network out")
    p = spec.preprocessing
    if options.image_size not in (None, p.height) or options.dropout is not None:
        raise UsageError(
            f"{path}: a body keeps its image size ({p.height}) and its dropout; leave --image-size and "
            "--dropout out"
        )
    with_new_head = Network(
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
        module = build(with_new_head)
        if not isinstance(module, NewHead):
            raise TypeError(f"{WITH_NEW_HEAD} returned {type(module).__name__}, not NewHead")
        module.body.load_state_dict(without_head(checkpoint.module).state_dict())
        initialize(module.head, init)
        return module

    recipe = find(base.factory).recipe if base.factory in names() else _PLAIN_RECIPE
    return TrainPlan(spec.name, with_new_head, recipe, p, pretrained=True, make=make)


def _check_output(module: nn.Module, name: str, p: Preprocessing, classes: int) -> None:
    """Runs ``module`` on two black images, so that a mismatch of shapes fails before the training."""
    parameter = next(module.parameters(), torch.empty(0))
    shape = (2, p.channels, p.height, p.width)
    training = module.training
    try:
        with torch.no_grad():
            output = module.eval()(torch.zeros(shape, device=parameter.device))
    except Exception as error:  # its forward may be a user's own code, which may raise anything
        raise UsageError(
            f"{name}: fails on images of shape {'x'.join(map(str, shape[1:]))}: {describe_error(error)}"
        ) from error
    finally:
        module.train(training)
    if not isinstance(output, torch.Tensor) or output.shape != (2, classes):
        got = list(output.shape) if isinstance(output, torch.Tensor) else type(output).__name__
        raise UsageError(
            f"{name}: its output for 2 images is {got}; expected [2, {classes}], one logit per class"
        )
