"""VGG: Simonyan and Zisserman, "Very Deep Convolutional Networks for Large-Scale Image Recognition", 2014."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from torch import nn

from cnntk.models._blocks import dense_head, vgg_block
from cnntk.models._geometry import feature_map, require_positive
from cnntk.models.initialize import initialize
from cnntk.models.reference.shapes import Pair
from cnntk.runtime.errors import UsageError

__all__ = ["vgg", "vgg11", "vgg13", "vgg16", "vgg19"]

Arch = Sequence[Sequence[int]]
"""(num_convs, out_channels) of each block."""

_WIDTHS = (64, 128, 256, 512, 512)


def vgg(
    arch: Arch, num_classes: int = 10, in_channels: int = 3, image_size: Pair = 224, dropout: float = 0.5
) -> nn.Sequential:
    """Builds blocks of 3x3 convolutions, then three linear layers with dropout; Xavier weights.

    Maps (N, in_channels, H, W) to logits (N, num_classes).

    Args:
        arch: (num_convs, out_channels) of each block; at least one block.
        num_classes: Number of classes, at least 1.
        in_channels: Number of input channels, at least 1.
        image_size: Height and width in pixels, one number or two; at least 2 to the power of the block count.
        dropout: Probability, in [0, 1], of dropout after the two hidden linear layers.

    Raises:
        UsageError: A number is too small, or there is no block.
        ValueError: dropout is outside [0, 1].
    """
    require_positive("vgg", num_classes=num_classes, in_channels=in_channels)
    blocks = _blocks(arch, in_channels)
    height, width = feature_map("vgg", blocks, image_size)
    head = dense_head(arch[-1][1] * height * width, num_classes, dropout)
    return initialize(nn.Sequential(*blocks, *head), "xavier")


def vgg11(
    num_classes: int = 10, in_channels: int = 3, image_size: Pair = 224, dropout: float = 0.5
) -> nn.Sequential:
    """Builds `vgg` with 8 convolutions: configuration A of the paper."""
    return vgg(_arch(1, 1, 2, 2, 2), num_classes, in_channels, image_size, dropout)


def vgg13(
    num_classes: int = 10, in_channels: int = 3, image_size: Pair = 224, dropout: float = 0.5
) -> nn.Sequential:
    """Builds `vgg` with 10 convolutions: configuration B."""
    return vgg(_arch(2, 2, 2, 2, 2), num_classes, in_channels, image_size, dropout)


def vgg16(
    num_classes: int = 10, in_channels: int = 3, image_size: Pair = 224, dropout: float = 0.5
) -> nn.Sequential:
    """Builds `vgg` with 13 convolutions: configuration D."""
    return vgg(_arch(2, 2, 3, 3, 3), num_classes, in_channels, image_size, dropout)


def vgg19(
    num_classes: int = 10, in_channels: int = 3, image_size: Pair = 224, dropout: float = 0.5
) -> nn.Sequential:
    """Builds `vgg` with 16 convolutions: configuration E."""
    return vgg(_arch(2, 2, 4, 4, 4), num_classes, in_channels, image_size, dropout)


def _arch(*num_convs: int) -> Arch:
    return tuple(zip(num_convs, _WIDTHS, strict=True))


def _blocks(arch: Arch, in_channels: int) -> list[nn.Sequential]:
    if not arch:
        raise UsageError("vgg: arch is empty; give (num_convs, out_channels) of at least one block")
    for num_convs, out_channels in arch:
        require_positive("vgg", num_convs=num_convs, out_channels=out_channels)
    widths = pairwise([in_channels, *(out_channels for _, out_channels in arch)])
    return [
        vgg_block(before, after, num_convs)
        for (before, after), (num_convs, _) in zip(widths, arch, strict=True)
    ]
