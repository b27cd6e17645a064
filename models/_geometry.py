"""Sizes of feature maps: the output-size formula, applied over a stack of layers."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import reduce
from typing import Any

from torch import nn

from cnntk.models.reference.shapes import Pair, output_size, pair, smallest_input
from cnntk.runtime.errors import UsageError


def feature_map(name: str, layers: Sequence[nn.Module], image_size: Pair) -> tuple[int, int]:
    """Returns height and width after the Conv2d and poolings in ``layers``; ``name`` is for messages.

    Raises:
        UsageError: The image is too small; the message names the smallest size that works.
    """
    height, width = pair(image_size)
    try:
        return _side_behind(layers, height, axis=0), _side_behind(layers, width, axis=1)
    except ValueError as error:
        least = f"{smallest_side(layers, axis=0)}×{smallest_side(layers, axis=1)}"
        raise UsageError(
            f"{name}: an image of {height}×{width} pixels is too small; the smallest that works is {least}"
        ) from error


def smallest_side(layers: Sequence[nn.Module], axis: int) -> int:
    """Returns the smallest height (axis 0) or width (axis 1) of which ``layers`` leave a pixel."""
    backwards = reversed(list(_sliding(layers)))
    return reduce(lambda side, layer: smallest_input(side, *_window(layer, axis)), backwards, 1)


def require_positive(name: str, **counts: int) -> None:
    """Raises UsageError where a count, for example of classes, is below 1."""
    for what, count in counts.items():
        if count < 1:
            raise UsageError(f"{name}: {what} is {count}; it must be at least 1")


def _side_behind(layers: Sequence[nn.Module], side: int, axis: int) -> int:
    return reduce(lambda left, layer: output_size(left, *_window(layer, axis)), _sliding(layers), side)


def _sliding(layers: Sequence[nn.Module]) -> Iterator[nn.Module]:
    for layer in layers:
        yield from (m for m in layer.modules() if isinstance(m, nn.Conv2d | nn.MaxPool2d | nn.AvgPool2d))


def _window(layer: Any, axis: int) -> tuple[int, int, int, int]:
    """Returns kernel, stride, padding and dilation along one axis, as `output_size` takes them."""
    numbers = (layer.kernel_size, layer.stride, layer.padding, getattr(layer, "dilation", 1))
    kernel, stride, padding, dilation = (pair(n)[axis] for n in numbers)
    return kernel, stride, padding, dilation
