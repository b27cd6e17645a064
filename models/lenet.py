"""LeNet: LeCun et al., "Gradient-based learning applied to document recognition", 1998."""

from __future__ import annotations

from torch import nn

from cnntk.models._geometry import feature_map, require_positive
from cnntk.models.initialize import initialize
from cnntk.models.reference.shapes import Pair

__all__ = ["lenet"]


def lenet(num_classes: int = 10, in_channels: int = 1, image_size: Pair = 28) -> nn.Sequential:
    """Builds two convolutions and three linear layers, with sigmoids; Xavier weights.

    Maps (N, in_channels, H, W) to logits (N, num_classes).

    Args:
        num_classes: Number of classes, at least 1.
        in_channels: Number of input channels, at least 1.
        image_size: Height and width in pixels, one number or two; at least 12.

    Raises:
        UsageError: An argument is too small.
    """
    require_positive("lenet", num_classes=num_classes, in_channels=in_channels)
    features = (
        nn.Conv2d(in_channels, 6, kernel_size=5, padding=2),
        nn.Sigmoid(),
        nn.AvgPool2d(kernel_size=2, stride=2),
        nn.Conv2d(6, 16, kernel_size=5),
        nn.Sigmoid(),
        nn.AvgPool2d(kernel_size=2, stride=2),
    )
    height, width = feature_map("lenet", features, image_size)
    network = nn.Sequential(
        *features,
        nn.Flatten(),
        nn.Linear(16 * height * width, 120),
        nn.Sigmoid(),
        nn.Linear(120, 84),
        nn.Sigmoid(),
        nn.Linear(84, num_classes),
    )
    return initialize(network, "xavier")
