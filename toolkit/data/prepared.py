"""Images at the training size: kept in memory where they fit, else prepared batch by batch."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from cnntk.data.images import ArrayImages, Images, Indices
from cnntk.runtime.artifact.spec import Preprocessing
from cnntk.runtime.images.reading import Pixels

__all__ = ["MEMORY_BYTES", "PreparedImages", "prepare"]

MEMORY_BYTES = 2**30
"""Up to this size a prepared data set is kept in memory."""


@dataclass(frozen=True, eq=False)
class PreparedImages:
    """Images as the network takes them, but for the normalization.

    Attributes:
        images: where they come from.
        preprocessing: what is done to them.
        pixels: all of them, uint8 (N, height, width, C); None where they would not fit in memory.
    """

    images: Images
    preprocessing: Preprocessing
    pixels: Pixels | None

    def __len__(self) -> int:
        return len(self.images)

    def take(self, indices: Indices) -> Pixels:
        """The images at ``indices``: uint8 (n, height, width, C)."""
        if self.pixels is None:
            return self.images.take(indices, self.preprocessing)
        return self.pixels[np.asarray(indices, dtype=np.int64)]


def prepare(images: Images, preprocessing: Preprocessing, memory_bytes: int = MEMORY_BYTES) -> PreparedImages:
    """Prepares all images now where the result fits in ``memory_bytes``.

    Raises:
        DataError: an image can't be read.
    """
    p = preprocessing
    size_bytes = len(images) * p.height * p.width * p.channels
    if size_bytes > memory_bytes:
        return PreparedImages(images, p, None)
    everything = images.take(np.arange(len(images)), p)
    # Pixels that needed nothing are a copy of what is in memory already: keep one of the two.
    if isinstance(images, ArrayImages) and everything.shape == images.pixels.shape:
        images = ArrayImages(everything)
    return PreparedImages(images, p, everything)
