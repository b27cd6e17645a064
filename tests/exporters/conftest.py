"""Small torch networks that exporter tests share."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import nn


@pytest.fixture
def small_cnn() -> nn.Module:
    """A classifier for 3x8x8 images with what training leaves behind: dropout and batch normalization."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = nn.Sequential(
            nn.Conv2d(3, 4, 3, padding=1),
            nn.BatchNorm2d(4),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Flatten(),
            nn.Dropout(0.5),
            nn.Linear(64, 5),
        )
        network(torch.randn(16, 3, 8, 8))
    return network.eval()


class Two(nn.Module):
    """Two outputs, so no classifier."""

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return x.mean(dim=(2, 3)), x * 2


@pytest.fixture
def two_outputs() -> nn.Module:
    return Two().eval()


class Branching(nn.Module):
    """Control flow that depends on the data: nothing can capture it."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.mean(dim=(2, 3)) if x.sum() > 0 else x.amax(dim=(2, 3))


@pytest.fixture
def branching() -> nn.Module:
    return Branching().eval()


@pytest.fixture
def as_factory(tmp_path: object) -> Callable[[str], str]:
    """Writes a Python file and returns ``path:factory``."""

    def write(body: str) -> str:
        path = tmp_path / "mine.py"  # type: ignore[operator]
        path.write_text(f"import torch\nfrom torch import nn\n\n{body}\n")
        return f"{path}:make"

    return write
