"""Networks as blocks: a trained network as a body, frozen or not, with a new head behind it."""

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

__all__ = ["WITH_NEW_HEAD", "NewHead", "with_new_head", "without_head", "zoo_with_new_head"]

WITH_NEW_HEAD = "cnntk.models.transfer:zoo_with_new_head"
"""How a checkpoint names `zoo_with_new_head`."""

# Sizes that networks for images are commonly made for.
_SIZES = (28, 32, 48, 64, 96, 128, 160, 192, 224, 256, 299, 320, 384, 448, 512)


class NewHead(nn.Module):
    """A body, its answer flattened, and a linear head: (N, C, H, W) to logits (N, num_classes).

    Attributes:
        body: any module that answers (N, ...).
        head: Linear, from the body's features to the classes.
        frozen: the body does not learn, and stays in evaluation mode whatever `train` is told, so that
            its dropout is off and its BatchNorm statistics don't move.
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
    body: nn.Module,
    num_classes: int,
    *,
    frozen: bool = False,
    input_shape: Sequence[int] | None = None,
) -> NewHead:
    """``body`` with a new linear head behind it, of Xavier weights.

    The head's width is known at once, so the network can be counted, saved, given to an optimizer and
    exported before it has seen an image. It is found by sending shapes, without data, through the body.

    Args:
        body: it is used, not copied; where it is frozen, its parameters no longer require gradients.
        num_classes: at least 1.
        frozen: as in `NewHead`.
        input_shape: (C, H, W) of an image. Needed only where the number of features depends on the size
            of the image and no layer of the body settles it, or where the body can't run on torch's
            meta device.

    Raises:
        UsageError: num_classes is below 1, the body does not take such an image, or ``input_shape`` is
            needed and not there.
    """
    if num_classes < 1:
        raise UsageError(f"with_new_head: num_classes is {num_classes}; it has to be at least 1")
    like = _example(body)
    width = _likely_features(body) if input_shape is None else _features(body, input_shape, like.device)
    head = nn.Linear(width, num_classes, device=like.device, dtype=like.dtype)
    return NewHead(body, initialize(head, "xavier"), frozen=frozen)


def without_head(network: nn.Module) -> nn.Module:
    """``network`` as a body, without its head; what was passed is not changed.

    Of a `NewHead` it is the body; where that was frozen, a copy of it that learns again. An nn.Sequential
    loses its last child that holds parameters: the last Linear of LeNet, the last block of NiN. What holds
    none stays, and every child keeps its name and its weights. Of any other module it is a copy with
    nn.Identity in the place of the last Linear, in the order of `named_modules`.

    Raises:
        UsageError: an nn.Sequential without parameters, or another module without a Linear.
    """
    if isinstance(network, NewHead):
        return copy.deepcopy(network.body).requires_grad_(True) if network.frozen else network.body
    # A Sequential with a forward of its own does more than its children one after the other.
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
    parts = [(name, part) for name, part in body.named_modules(remove_duplicate=False) if name]
    linear = [part for part in dict.fromkeys(part for _, part in parts) if isinstance(part, nn.Linear)]
    if not linear:
        raise UsageError(
            f"without_head: {type(network).__name__} has no nn.Linear to take off; "
            "put nn.Identity() in the place of its last layer yourself"
        )
    for name, part in parts:
        if part is linear[-1]:  # under every name that it goes by
            body.set_submodule(name, nn.Identity())
    return body


def zoo_with_new_head(
    body: str,
    num_classes: int,
    body_kwargs: dict[str, Any] | None = None,
    frozen: bool = False,
    input_shape: Sequence[int] | None = None,
) -> NewHead:
    """A network of the zoo with a new head in place of its own; a factory whose arguments are JSON.

    A checkpoint names it as ``Network("cnntk.models.transfer:zoo_with_new_head", {"body": "lenet", ...})``.

    Args:
        body: what `cnntk.models.zoo.build` takes; it gives what `without_head` takes.
        num_classes: of the new head.
        body_kwargs: the body's arguments.
        frozen: as in `NewHead`.
        input_shape: (C, H, W), as in `with_new_head`.

    Raises:
        UsageError: as in `build`, `without_head` and `with_new_head`.
    """
    old = build(Network(body, body_kwargs or {}))
    return with_new_head(without_head(old), num_classes, frozen=frozen, input_shape=input_shape)


def _likely_features(body: nn.Module) -> int:
    """How many features ``body`` gives of an image, where that is the same for every size that it takes."""
    convolutions = (m.in_channels for m in body.modules() if isinstance(m, nn.Conv2d))
    channels = next(((c,) for c in convolutions), (1, 3))
    found = set()
    for count, size in product(channels, _SIZES):
        try:
            found.add(_features(body, (count, size, size), torch.device("meta")))
        except UsageError:
            continue  # not a size for this body; what no size fits ends below
    if len(found) != 1:
        raise UsageError(
            "with_new_head: can't tell how many features the body gives; "
            "pass input_shape=(C, H, W) of an image"
        )
    return found.pop()


def _features(body: nn.Module, input_shape: Sequence[int], device: torch.device) -> int:
    """How many features ``body`` gives of one image; it is run as if it were on ``device``."""
    image = torch.zeros(1, *input_shape, device=device, dtype=_example(body).dtype)
    try:
        weights = {name: t.to(device) for name, t in chain(body.named_parameters(), body.named_buffers())}
        with _evaluating(body), torch.no_grad():
            answer = functional_call(body, weights, image)
    except Exception as error:  # the body may be a user's own code, which may raise anything
        shape = "×".join(map(str, input_shape))
        raise UsageError(
            f"with_new_head: the body does not take an image of {shape}: {describe_error(error)}"
        ) from error
    if not isinstance(answer, Tensor) or answer.dim() < 2:
        got = f"shape {tuple(answer.shape)}" if isinstance(answer, Tensor) else type(answer).__name__
        raise UsageError(f"with_new_head: expected the body to answer a tensor (N, ...), got {got}")
    return answer[0].numel()


def _example(body: nn.Module) -> Tensor:
    """A parameter of ``body``, for its device and dtype; a float32 of the CPU where it has none."""
    return next((p for p in body.parameters() if p.is_floating_point()), torch.empty(0))


@contextmanager
def _evaluating(module: nn.Module) -> Iterator[None]:
    """``module`` in evaluation mode, each of its parts back in its own mode afterwards."""
    modes = [(part, part.training) for part in module.modules()]
    module.eval()
    try:
        yield
    finally:
        for part, mode in modes:
            part.training = mode
