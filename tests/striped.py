"""Photos by hand in which every step of preprocessing matters, and a small network that was trained on them.

The center square of a photo, 48x48, is red or blue, dim or bright, with broad stripes along rows or columns;
that is its class. Across them run fine stripes, which averaging takes away and sampling makes broad ones, and
beside the square is what belongs to another class.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import nn

from cnntk.runtime.artifact.spec import Preprocessing
from cnntk.runtime.preprocessing.preprocess import preprocess

LABELS = tuple(
    " ".join(w) for w in itertools.product(("red", "blue"), ("rows", "columns"), ("dim", "bright"))
)
TRUE = Preprocessing(
    color="rgb", height=16, width=16, resize="shortest", mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5)
)
"""What the network is trained with."""

_SIDE, _MARGIN = 48, 16


def photo(label: int, rng: np.random.Generator) -> NDArray[np.uint8]:
    """uint8 (48, 80, 3)."""
    margins = [_square(int(rng.integers(len(LABELS))), rng)[:, :_MARGIN] for _ in range(2)]
    return np.concatenate([margins[0], _square(label, rng), margins[1]], axis=1)


def photos(count: int, seed: int) -> tuple[list[NDArray[np.uint8]], NDArray[np.int64]]:
    rng = np.random.default_rng(seed)
    labels = np.arange(count) % len(LABELS)
    return [photo(int(label), rng) for label in labels], labels


def trained(p: Preprocessing = TRUE, before: Callable[[Any], Any] = lambda image: image) -> nn.Module:
    """A network that reads nine of ten photos right, if they are prepared by ``before`` and ``p``.

    It is trained by one thread, so that it is the same network on every number of cores.
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    images, labels = photos(800, seed=0)
    x, y = torch.from_numpy(preprocess([before(image) for image in images], p)), torch.from_numpy(labels)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = nn.Sequential(
            nn.Conv2d(p.channels, 12, 3, padding=1),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Conv2d(12, 16, 3, padding=1),
            nn.ReLU(),
            nn.AdaptiveAvgPool2d(4),
            nn.Flatten(),
            nn.Linear(256, len(LABELS)),
        )
        optimizer = torch.optim.Adam(network.parameters(), 5e-3)
        for _ in range(15):
            for batch in torch.randperm(len(y)).split(64):
                optimizer.zero_grad()
                nn.functional.cross_entropy(network(x[batch]), y[batch]).backward()
                optimizer.step()
    torch.set_num_threads(threads)
    return network.eval()


def write_photos(
    folder: Path,
    count: int = 96,
    seed: int = 1,
    names: tuple[str, ...] = LABELS,
    shuffle: int | None = None,
) -> Path:
    """A folder per class; with a seed to ``shuffle`` by, any photo in any."""
    images, labels = photos(count, seed)
    if shuffle is not None:
        labels = np.random.default_rng(shuffle).permutation(labels)
    for index, (image, label) in enumerate(zip(images, labels, strict=True)):
        path = folder / names[label]
        path.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(path / f"{index:03}.png")
    return folder


def _square(label: int, rng: np.random.Generator) -> NDArray[np.uint8]:
    color, direction, brightness = LABELS[label].split()
    offset = np.arange(_SIDE)
    broad = 18 * np.sign(np.sin(2 * np.pi * (offset / 24 + rng.random())))
    fine = 30 * np.sign(np.sin(2 * np.pi * (offset * 3 / 8 + rng.random())))
    levels = broad[:, None] + fine[None, :] if direction == "rows" else fine[:, None] + broad[None, :]
    hue = np.array([25, 0, -25]) * (1 if color == "red" else -1)
    base = rng.normal(150 if brightness == "dim" else 205, 8)
    noisy = base + levels[:, :, None] + hue + rng.normal(0, 12, (_SIDE, _SIDE, 3))
    return noisy.clip(0, 255).astype(np.uint8)
