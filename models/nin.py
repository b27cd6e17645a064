"""NiN: Lin, Chen and Yan, "Network in Network", 2013."""

from __future__ import annotations

from torch import nn

from cnntk.models.blocks import nin_block
from cnntk.models.geometry import feature_map, require_positive
from cnntk.models.initialize import initialize
from cnntk.models.reference.shapes import Pair

__all__ = ["nin"]


def nin(
    num_classes: int = 10, in_channels: int = 3, image_size: Pair = 224, dropout: float = 0.5
) -> nn.Sequential:
    """Four NiN blocks and a global mean, without a linear layer; Xavier weights.

    (N, in_channels, H, W) to logits (N, num_classes); they are at least 0, for a ReLU ends each block.

    Args:
        num_classes: at least 1.
        in_channels: at least 1.
        image_size: H and W, one number or two. The weights don't depend on it: it is checked, no more.
        dropout: probability, in [0, 1], before the last block.

    Raises:
        UsageError: a number is too small.
        ValueError: dropout is outside [0, 1].
    """
    require_positive("nin", num_classes=num_classes, in_channels=in_channels)
    features = (
        nin_block(in_channels, 96, kernel_size=11, stride=4, padding=0),
        nn.MaxPool2d(3, stride=2),
        nin_block(96, 256, kernel_size=5, stride=1, padding=2),
        nn.MaxPool2d(3, stride=2),
        nin_block(256, 384, kernel_size=3, stride=1, padding=1),
        nn.MaxPool2d(3, stride=2),
        nn.Dropout(dropout),
        nin_block(384, num_classes, kernel_size=3, stride=1, padding=1),
    )
    feature_map("nin", features, image_size)
    return initialize(nn.Sequential(*features, nn.AdaptiveAvgPool2d((1, 1)), nn.Flatten()), "xavier")
