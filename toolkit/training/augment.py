"""Augmentation: small changes that leave an image what it is, on uint8 batches (N, C, H, W)."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import torch
import torch.nn.functional as F
from torch import Tensor

__all__ = ["AUGMENTATIONS", "augmented"]

_SHIFT = 28  # an image moves by up to a 28th of its size: MNIST's by one pixel


def augmented(batch: Tensor, names: Iterable[str], generator: torch.Generator) -> Tensor:
    """``batch`` changed by the augmentations ``names``, in their order.

    Args:
        batch: uint8 (N, C, H, W), on any device.
        names: keys of `AUGMENTATIONS`.
        generator: on the CPU; where all randomness comes from.
    """
    for name in names:
        batch = AUGMENTATIONS[name](batch, generator)
    return batch


def _shift(batch: Tensor, generator: torch.Generator) -> Tensor:
    """Moves the whole batch by up to a 28th of its size, one draw a batch; its edges fill the gap."""
    for axis in (2, 3):
        size = batch.shape[axis]
        reach = max(1, round(size / _SHIFT))
        offset = int(torch.randint(-reach, reach + 1, (), generator=generator))
        if offset:
            index = (torch.arange(size) + offset).clamp_(0, size - 1)
            batch = batch.index_select(axis, index.to(batch.device))
    return batch


def _flip(batch: Tensor, generator: torch.Generator) -> Tensor:
    """Mirrors each image, left to right, with probability 1/2."""
    mirrored = torch.rand(len(batch), 1, 1, 1, generator=generator) < 0.5
    return torch.where(mirrored.to(batch.device), batch.flip(3), batch)


def _zoom(batch: Tensor, generator: torch.Generator) -> Tensor:
    """Shows the whole batch at 0.5 to 1.1 of its size around the center, one draw a batch; its edges fill."""
    share = 0.5 + 0.6 * float(torch.rand((), generator=generator))
    height, width = (max(1, round(n * share)) for n in batch.shape[2:])
    resized = F.interpolate(batch.float(), (height, width), mode="bilinear", antialias=True)
    top, left = ((n - m) // 2 for n, m in zip(batch.shape[2:], (height, width), strict=True))
    bottom, right = batch.shape[2] - height - top, batch.shape[3] - width - left
    if share > 1:
        return resized[:, :, -top : height + bottom, -left : width + right].round().to(torch.uint8)
    return F.pad(resized, (left, right, top, bottom), mode="replicate").round().to(torch.uint8)


AUGMENTATIONS: dict[str, Callable[[Tensor, torch.Generator], Tensor]] = {
    "shift": _shift,
    "zoom": _zoom,
    "flip": _flip,
}
"""Name to augmentation."""
