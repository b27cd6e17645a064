"""NiN: Lin, Chen and Yan, "Network in Network", 2013."""

from __future__ import annotations

from torch import nn

from cnntk.models._blocks import nin_block
from cnntk.models._geometry import feature_map, require_positive
from cnntk.models.initialize import initialize
from cnntk.models.reference.shapes import Pair

__all__ = ["nin"]


def nin(
    num_classes: int = 10, in_channels: int = 3, image_size: Pair = 224, dropout: float = 0.5
) -> nn.Sequential:
    """Builds four NiN blocks and a global mean, without a linear layer; Xavier weights.

    Maps (N, in_channels, H, W) to logits (N, num_classes), which are at least 0 because a ReLU ends each
    block.

    Args:
        num_classes: Number of classes, at least 1.
        in_channels: Number of input channels, at least 1.
        image_size: Height and width in pixels, one number or two. The weights don't depend on it; it is only
            checked.
        dropout: Probability, in [0, 1], of dropout before the last block.

    Raises:
        UsageError: A number is too small.
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
