"""Batches are the same, in the same order, from memory and decoded ahead."""

import numpy as np
import pytest
import torch

from cnntk.data import ArrayImages, Dataset, prepare
from cnntk.runtime.artifact.spec import Preprocessing
from cnntk.training.batches import Batches

PIXELS = np.random.default_rng(0).integers(0, 256, (7, 4, 5, 3), dtype=np.uint8)
DATASET = Dataset(ArrayImages(PIXELS), np.arange(7, dtype=np.int64), tuple("abcdefg"))


@pytest.mark.parametrize("memory_bytes", [0, 2**30], ids=["on demand", "in memory"])
def test_batches(memory_bytes: int) -> None:
    images = prepare(
        DATASET.images, Preprocessing("rgb", 4, 5, mean=(0.0,) * 3, std=(1.0,) * 3), memory_bytes
    )
    batches = Batches.of(DATASET, images, torch.device("cpu"))
    order = torch.split(torch.tensor([6, 0, 3, 3, 1]), 2)
    pairs = list(batches.take(order))
    assert len(batches) == 7
    for index, (pixels, labels) in zip(order, pairs, strict=True):
        np.testing.assert_array_equal(pixels.numpy(), PIXELS[index.numpy()].transpose(0, 3, 1, 2))
        assert pixels.is_contiguous()
        assert torch.equal(labels, index)
