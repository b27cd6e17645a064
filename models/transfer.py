"""Transfer learning: a trained network as a body, frozen or not, with a new head."""

from __future__ import annotations

import copy
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import chain, product
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call

from cnntk.models.initialize import initialize
from cnntk.models.user_errors import describe_error
from cnntk.models.zoo import build
from cnntk.runtime.artifact.spec import Network
from cnntk.runtime.errors import UsageError

__all__ = ["NewHead", "with_new_head", "without_head", "zoo_with_new_head"]

# Sizes that networks for images are commonly made for.
_SIZES = (28, 32, 48, 64, 96, 128, 160, 192, 224, 256, 299, 320, 384, 448, 512)


class NewHead(nn.Module):
    """A body, its flattened output, and a linear head: (N, C, H, W) to logits (N, num_classes).

    Attributes:
        body: Module that returns (N, ...).
        head: Linear layer from the body's features to the classes.
        frozen: Whether the body is not trained. It then stays in evaluation mode whatever `train` sets, so
            its dropout is off and its BatchNorm statistics don't change.
    """

    def __init__(self, body: nn.Module, head: nn.Linear, *, frozen: bool) -> None:
        super().__init__()
        self.body = body
        self.head = head
        self.frozen = frozen
        if frozen:
            body.requires_grad_(False)
        self.train(self.training)

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = self.head(self.body(images).flatten(1))
        return logits

    def train(self, mode: bool = True) -> NewHead:
        super().train(mode)
        if self.frozen:
            self.body.eval()
        return self


def with_new_head(
    body: nn.Module, num_classes: int, *, frozen: bool = False, input_shape: Sequence[int] | None = None
) -> NewHead:
    """Adds a new linear head with Xavier weights to ``body``.

    The head's width is determined at once, so the network can be counted, saved, given to an optimizer and
    exported before its first image. To determine it, shapes without data are sent through the body.

    Args:
        body: Module that is used, not copied; where it is frozen, its parameters no longer require gradients.
        num_classes: Number of classes, at least 1.
        frozen: Whether the body is not trained, as in `NewHead`.
        input_shape: Shape (C, H, W) of an image. Needed only where the number of features depends on the size
            of the image and no layer of the body fixes it, or where the body can't run on torch's meta
            device.

    Raises:
        UsageError: num_classes is below 1, the body does not take such an image, or ``input_shape`` is
            needed and missing.
    """
    if num_classes < 1:
        raise UsageError(f"with_new_head: num_classes is {num_classes}; it must be at least 1")
    like = _example(body)
    width = _likely_features(body) if input_shape is None else _features(body, input_shape, like.device)
    head = nn.Linear(width, num_classes, device=like.device, dtype=like.dtype)
    return NewHead(body, initialize(head, "xavier"), frozen=frozen)


def without_head(network: nn.Module) -> nn.Module:
    """Returns ``network`` as a body without its head; the argument is not changed.

    For a `NewHead` this is the body; where that was frozen, a trainable copy of it. An nn.Sequential loses
    its last child that has parameters: the last Linear of LeNet, the last block of NiN. Children without
    parameters stay, and every child keeps its name and its weights. Of any other module it is a copy with
    nn.Identity instead of the last Linear, in the order of `named_modules`.

    Raises:
        UsageError: An nn.Sequential has no parameters, or another module has no Linear.
    """
    if isinstance(network, NewHead):
        return copy.deepcopy(network.body).requires_grad_(True) if network.frozen else network.body
    # A Sequential that overrides forward does more than run its children in order.
    if isinstance(network, nn.Sequential) and type(network).forward is nn.Sequential.forward:
        return _without_last_child(network)
    return _without_last_linear(network)


def _without_last_child(network: nn.Sequential) -> nn.Sequential:
    children = OrderedDict(network.named_children())
    heads = [name for name, child in children.items() if any(True for _ in child.parameters())]
    if not heads:
        raise UsageError("without_head: the network has no layer with parameters")
    del children[heads[-1]]
    return nn.Sequential(children)


def _without_last_linear(network: nn.Module) -> nn.Module:
    body = copy.deepcopy(network)
    linear = [module for module in list(body.modules())[1:] if isinstance(module, nn.Linear)]
    if not linear:
        raise UsageError(
            f"without_head: {type(network).__name__} has no nn.Linear to remove; "
            "replace its last layer by nn.Identity() yourself"
        )
    for name, submodule in list(body.named_modules(remove_duplicate=False)):
        if submodule is linear[-1]:  # under each of its names
            body.set_submodule(name, nn.Identity())
    return body


def zoo_with_new_head(
    body: str,
    num_classes: int,
    body_kwargs: dict[str, Any] | None = None,
    frozen: bool = False,
    input_shape: Sequence[int] | None = None,
) -> NewHead:
    """Builds a zoo network with a new head instead of its own; a factory whose arguments are JSON.

    A checkpoint names it as ``Network("cnntk.models.transfer:zoo_with_new_head", {"body": "lenet", ...})``.

    Args:
        body: Network as `cnntk.models.zoo.build` takes it, of a kind that `without_head` takes.
        num_classes: Number of classes of the new head.
        body_kwargs: Arguments of the body's factory.
        frozen: Whether the body is not trained, as in `NewHead`.
        input_shape: Shape (C, H, W) of an image, as in `with_new_head`.

    Raises:
        UsageError: As in `build`, `without_head` and `with_new_head`.
    """
    old = build(Network(body, body_kwargs or {}))
    return with_new_head(without_head(old), num_classes, frozen=frozen, input_shape=input_shape)


def _likely_features(body: nn.Module) -> int:
    """Returns the number of features per image, where it is the same for every size that ``body`` takes."""
    convolutions = (m.in_channels for m in body.modules() if isinstance(m, nn.Conv2d))
    channels = next(((c,) for c in convolutions), (1, 3))
    widths = set()
    for count, size in product(channels, _SIZES):
        try:
            widths.add(_features(body, (count, size, size), torch.device("meta")))
        except UsageError:
            continue  # not a size for this body; the case that no size fits is handled below
    if len(widths) != 1:
        raise UsageError(
            "with_new_head: can't determine the number of features of the body; "
            "pass input_shape=(C, H, W) of an image"
        )
    return widths.pop()


def _features(body: nn.Module, input_shape: Sequence[int], device: torch.device) -> int:
    """Returns the number of features per image; ``body`` runs as if it were on ``device``."""
    image = torch.zeros(1, *input_shape, device=device, dtype=_example(body).dtype)
    try:
        weights = {name: t.to(device) for name, t in chain(body.named_parameters(), body.named_buffers())}
        with _evaluating(body), torch.no_grad():
            output = functional_call(body, weights, image)
    except Exception as error:  # the body may be a user's own code, which may raise anything
        shape = "×".join(map(str, input_shape))
        raise UsageError(
            f"with_new_head: the body does not take an image of {shape}: {describe_error(error)}"
        ) from error
    if not isinstance(output, Tensor) or output.dim() < 2:
        got = f"shape {tuple(output.shape)}" if isinstance(output, Tensor) else type(output).__name__
        raise UsageError(f"with_new_head: expected the body to return a tensor (N, ...), got {got}")
    return output[0].numel()


def _example(body: nn.Module) -> Tensor:
    """Returns a parameter of ``body``, for its device and dtype; a float32 on the CPU where it has none."""
    return next((p for p in body.parameters() if p.is_floating_point()), torch.empty(0))


@contextmanager
def _evaluating(module: nn.Module) -> Iterator[None]:
    """Puts ``module`` in evaluation mode and restores the mode of each submodule afterwards."""
    modes = [(submodule, submodule.training) for submodule in module.modules()]
    module.eval()
    try:
        yield
    finally:
        for submodule, mode in modes:
            submodule.training = mode
