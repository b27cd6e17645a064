"""Batches of images on the training device; where images are decoded on demand, one batch ahead."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import torch
from torch import Tensor

from cnntk.data import Dataset, PreparedImages

__all__ = ["Batches"]


@dataclass(frozen=True, eq=False)
class Batches:
    """Prepared images with their labels, read in batches.

    Attributes:
        images: N prepared images.
        pixels: All images on the device, uint8 (N, C, H, W); None where they don't fit in memory.
        labels: Indices of their classes, int64 (N,), on the device.
    """

    images: PreparedImages
    pixels: Tensor | None
    labels: Tensor

    @classmethod
    def of(cls, dataset: Dataset, images: PreparedImages, device: torch.device) -> Batches:
        """Creates the batches of ``dataset``, whose images are prepared as ``images``, for ``device``."""
        pixels = None if images.pixels is None else _planes(torch.from_numpy(images.pixels)).to(device)
        return cls(images, pixels, torch.from_numpy(dataset.labels).to(device))

    def __len__(self) -> int:
        return len(self.labels)

    def take(self, order: Sequence[Tensor]) -> Iterator[tuple[Tensor, Tensor]]:
        """Yields a batch for each of the indices in ``order``, each int64 (n,) on the CPU.

        Yields:
            Images, uint8 (n, C, H, W), and labels, int64 (n,), on the device.

        Raises:
            DataError: An image can't be read.
        """
        device = self.labels.device
        for index, pixels in zip(order, self._pixels(order), strict=True):
            yield pixels.to(device), self.labels[index.to(device)]

    def _pixels(self, order: Sequence[Tensor]) -> Iterator[Tensor]:
        if self.pixels is not None:
            for index in order:
                yield self.pixels[index.to(self.pixels.device)]
            return
        with ThreadPoolExecutor(max_workers=1) as reader:
            next_pixels = reader.submit(self._decode, order[0])
            for following in (*order[1:], None):
                pixels = next_pixels.result()
                if following is not None:
                    next_pixels = reader.submit(self._decode, following)
                yield pixels

    def _decode(self, index: Tensor) -> Tensor:
        return _planes(torch.from_numpy(self.images.take(index.numpy())))


def _planes(pixels: Tensor) -> Tensor:
    """(N, H, W, C) copied to (N, C, H, W): selecting a batch from a transposed view is 30x slower."""
    return pixels.permute(0, 3, 1, 2).contiguous()
