"""The building blocks of AlexNet, VGG and NiN, also for a user's networks."""

from __future__ import annotations

from torch import nn

from cnntk.models.reference.shapes import Pair, pair


def vgg_block(in_channels: int, out_channels: int, num_convs: int) -> nn.Sequential:
    """Builds 3x3 convolutions with ReLU that keep the size, then a pooling that halves it.

    Maps (N, in_channels, H, W) to (N, out_channels, H // 2, W // 2).

    Simonyan and Zisserman, "Very Deep Convolutional Networks for Large-Scale Image Recognition", 2014.
    """
    layers: list[nn.Module] = []
    for channels in [in_channels, *[out_channels] * (num_convs - 1)]:
        layers += [nn.Conv2d(channels, out_channels, kernel_size=3, padding=1), nn.ReLU()]
    return nn.Sequential(*layers, nn.MaxPool2d(kernel_size=2, stride=2))


def nin_block(
    in_channels: int, out_channels: int, kernel_size: Pair, stride: Pair, padding: Pair
) -> nn.Sequential:
    """Builds a convolution and two 1x1 convolutions, each with ReLU: a small network at every pixel.

    Maps (N, in_channels, H, W) to (N, out_channels, H', W'), by `output_size` of the first convolution.

    Lin, Chen and Yan, "Network in Network", 2013.
    """
    return nn.Sequential(
        nn.Conv2d(in_channels, out_channels, pair(kernel_size), pair(stride), pair(padding)),
        nn.ReLU(),
        nn.Conv2d(out_channels, out_channels, kernel_size=1),
        nn.ReLU(),
        nn.Conv2d(out_channels, out_channels, kernel_size=1),
        nn.ReLU(),
    )


def dense_head(in_features: int, num_classes: int, dropout: float, width: int = 4096) -> nn.Sequential:
    """Builds the end of AlexNet and VGG: three linear layers, the two hidden ones with ReLU and dropout.

    Maps (N, ...) with ``in_features`` elements per image to logits (N, num_classes).
    """
    return nn.Sequential(
        nn.Flatten(),
        nn.Linear(in_features, width),
        nn.ReLU(),
        nn.Dropout(dropout),
        nn.Linear(width, width),
        nn.ReLU(),
        nn.Dropout(dropout),
        nn.Linear(width, num_classes),
    )
