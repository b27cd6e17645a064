"""Augmentation: small random changes that do not change an image's class, on uint8 batches (N, C, H, W)."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import torch
import torch.nn.functional as F
from torch import Tensor

__all__ = ["AUGMENTATIONS", "augment"]

_SHIFT = 28  # an image moves by up to a 28th of its size: one pixel in MNIST


def augment(batch: Tensor, names: Iterable[str], generator: torch.Generator) -> Tensor:
    """Applies the augmentations ``names`` to ``batch``, in their order.

    Args:
        batch: Images, uint8 (N, C, H, W), on any device.
        names: Keys of `AUGMENTATIONS`.
        generator: Source of all randomness, on the CPU.
    """
    for name in names:
        batch = AUGMENTATIONS[name](batch, generator)
    return batch


def _shift(batch: Tensor, generator: torch.Generator) -> Tensor:
    """Moves the whole batch by one random offset of up to a 28th of its size; edge pixels fill the gap."""
    for axis in (2, 3):
        size = batch.shape[axis]
        max_offset = max(1, round(size / _SHIFT))
        offset = int(torch.randint(-max_offset, max_offset + 1, (), generator=generator))
        if offset:
            index = (torch.arange(size) + offset).clamp_(0, size - 1)
            batch = batch.index_select(axis, index.to(batch.device))
    return batch


def _flip(batch: Tensor, generator: torch.Generator) -> Tensor:
    """Mirrors each image horizontally with probability 1/2."""
    mirrored = torch.rand(len(batch), 1, 1, 1, generator=generator) < 0.5
    return torch.where(mirrored.to(batch.device), batch.flip(3), batch)


def _zoom(batch: Tensor, generator: torch.Generator) -> Tensor:
    """Scales the whole batch around its center by a random 0.5 to 1.1; edge pixels fill the gap."""
    factor = 0.5 + 0.6 * float(torch.rand((), generator=generator))
    height, width = (max(1, round(n * factor)) for n in batch.shape[2:])
    resized = F.interpolate(batch.float(), (height, width), mode="bilinear", antialias=True)
    top, left = ((n - m) // 2 for n, m in zip(batch.shape[2:], (height, width), strict=True))
    bottom, right = batch.shape[2] - height - top, batch.shape[3] - width - left
    if factor > 1:
        return resized[:, :, -top : height + bottom, -left : width + right].round().to(torch.uint8)
    return F.pad(resized, (left, right, top, bottom), mode="replicate").round().to(torch.uint8)


AUGMENTATIONS: dict[str, Callable[[Tensor, torch.Generator], Tensor]] = {
    "shift": _shift,
    "zoom": _zoom,
    "flip": _flip,
}
"""Augmentations by name."""
