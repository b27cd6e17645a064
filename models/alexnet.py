"""AlexNet: Krizhevsky, Sutskever and Hinton, "ImageNet Classification with Deep CNNs", 2012."""

from __future__ import annotations

from torch import nn

from cnntk.models._blocks import dense_head
from cnntk.models._geometry import feature_map, require_positive
from cnntk.models.initialize import initialize
from cnntk.models.reference.shapes import Pair

__all__ = ["alexnet"]


def alexnet(
    num_classes: int = 10, in_channels: int = 3, image_size: Pair = 224, dropout: float = 0.5
) -> nn.Sequential:
    """Builds five convolutions and three linear layers, with ReLU and dropout; Xavier weights.

    Maps (N, in_channels, H, W) to logits (N, num_classes).

    Args:
        num_classes: Number of classes, at least 1.
        in_channels: Number of input channels, at least 1.
        image_size: Height and width in pixels, one number or two; at least 65.
        dropout: Probability, in [0, 1], of dropout after the two hidden linear layers.

    Raises:
        UsageError: A number is too small.
        ValueError: dropout is outside [0, 1].
    """
    require_positive("alexnet", num_classes=num_classes, in_channels=in_channels)
    features = (
        nn.Conv2d(in_channels, 96, kernel_size=11, stride=4, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(kernel_size=3, stride=2),
        nn.Conv2d(96, 256, kernel_size=5, padding=2),
        nn.ReLU(),
        nn.MaxPool2d(kernel_size=3, stride=2),
        nn.Conv2d(256, 384, kernel_size=3, padding=1),
        nn.ReLU(),
        nn.Conv2d(384, 384, kernel_size=3, padding=1),
        nn.ReLU(),
        nn.Conv2d(384, 256, kernel_size=3, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(kernel_size=3, stride=2),
    )
    height, width = feature_map("alexnet", features, image_size)
    head = dense_head(256 * height * width, num_classes, dropout)
    return initialize(nn.Sequential(*features, *head), "xavier")
