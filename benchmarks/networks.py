"""Networks to quantise and to measure that are not in the zoo: small enough to train in minutes on a CPU.

`nin_32` is Network in Network (Lin, Chen and Yan, 2013) for images of 32x32; `residual_32` a residual net
(He et al., "Deep Residual Learning for Image Recognition", 2015) of some 300,000 parameters.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

__all__ = ["nin_32", "residual_32"]


def nin_32(num_classes: int = 10) -> nn.Sequential:
    """(N, 3, 32, 32) to logits (N, num_classes)."""
    return nn.Sequential(
        *_mlpconv(3, 64, 64, 5),
        nn.MaxPool2d(3, stride=2, padding=1),
        nn.Dropout(0.2),
        *_mlpconv(64, 96, 96, 3),
        nn.MaxPool2d(3, stride=2, padding=1),
        nn.Dropout(0.2),
        *_mlpconv(96, 96, num_classes, 3)[:-1],
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
    )


def residual_32(num_classes: int = 10) -> nn.Sequential:
    """(N, 3, 32, 32) to logits (N, num_classes)."""
    return nn.Sequential(
        nn.Conv2d(3, 24, 3, padding=1, bias=False),
        nn.BatchNorm2d(24),
        nn.ReLU(),
        _Residual(24, 32, stride=2),
        _Residual(32, 32),
        _Residual(32, 64, stride=2),
        _Residual(64, 64),
        _Residual(64, 96, stride=2),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(96, num_classes),
    )


class _Residual(nn.Module):
    def __init__(self, channels: int, outputs: int, stride: int = 1) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(channels, outputs, 3, stride, 1, bias=False),
            nn.BatchNorm2d(outputs),
            nn.ReLU(),
            nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False),
            nn.BatchNorm2d(outputs),
        )
        self.shortcut: nn.Module = nn.Identity()
        if stride != 1 or channels != outputs:
            self.shortcut = nn.Sequential(
                nn.Conv2d(channels, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs)
            )
        self.relu = nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        """(N, channels, H, W) to (N, outputs, H / stride, W / stride)."""
        return torch.as_tensor(self.relu(self.body(x) + self.shortcut(x)))


def _mlpconv(channels: int, middle: int, outputs: int, kernel: int) -> tuple[nn.Module, ...]:
    return (
        nn.Conv2d(channels, middle, kernel, padding=kernel // 2),
        nn.ReLU(),
        nn.Conv2d(middle, middle, 1),
        nn.ReLU(),
        nn.Conv2d(middle, outputs, 1),
        nn.ReLU(),
    )
