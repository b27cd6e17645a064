"""Images of the three classes that the tiny classifier knows."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

LEVELS = {"dark": 0, "light": 255, "left": (255, 255, 0, 0)}


@pytest.fixture
def images(tmp_path: Path) -> list[str]:
    """21 images, in turn dark, light and light on the left, each with a little noise of its own."""
    folder = tmp_path / "images"
    folder.mkdir()
    rng = np.random.default_rng(0)
    paths = []
    for i in range(21):
        kind = tuple(LEVELS)[i % 3]
        pixels = np.broadcast_to(np.array(LEVELS[kind]), (4, 4)) + rng.integers(-40, 41, (4, 4))
        path = folder / f"{i:02}-{kind}.png"
        Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(path)
        paths.append(str(path))
    return paths
