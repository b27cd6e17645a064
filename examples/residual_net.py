"""A small residual network, to train on digits: integers make it smaller and faster at once.

cnntk train examples/residual_net.py:residual_net --data digits --image-size 16 --epochs 4
"""

import torch
from torch import nn


class Block(nn.Module):
    """Two convolutions beside a shortcut (He et al., CVPR 2016), which halve the size where channels grow."""

    def __init__(self, in_channels: int, channels: int) -> None:
        super().__init__()
        stride = channels // in_channels
        self.body = nn.Sequential(
            nn.Conv2d(in_channels, channels, 3, stride, 1, bias=False),
            nn.BatchNorm2d(channels),
            nn.ReLU(),
            nn.Conv2d(channels, channels, 3, 1, 1, bias=False),
            nn.BatchNorm2d(channels),
        )
        self.shortcut = nn.Identity() if stride == 1 else nn.Conv2d(in_channels, channels, 1, stride)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.relu(self.body(x) + self.shortcut(x))


def residual_net(num_classes: int = 10, in_channels: int = 1, width: int = 32) -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(in_channels, width, 3, 1, 1),
        nn.ReLU(),
        Block(width, width),
        Block(width, 2 * width),
        Block(2 * width, 4 * width),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(4 * width, num_classes),
    )
