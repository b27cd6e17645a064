"""The size after a convolution or a pooling: one formula, forward and backward."""

from __future__ import annotations

from collections.abc import Sequence

__all__ = ["Pair", "output_size", "pair", "smallest_input"]

Pair = int | Sequence[int]
"""One number for both axes, or one for (height, width)."""


def pair(value: Pair) -> tuple[int, int]:
    """Returns ``value`` as (height, width).

    Raises:
        ValueError: ``value`` is a sequence of another length than two.
    """
    if isinstance(value, int):
        return value, value
    if len(value) != 2:
        raise ValueError(f"expected one number or (height, width), got {value!r}")
    return value[0], value[1]


def output_size(size: int, kernel: int, stride: int = 1, padding: int = 0, dilation: int = 1) -> int:
    """Returns the pixels along an axis after convolution or pooling: floor((n + 2p - d(k - 1) - 1) / s) + 1.

    Args:
        size: Pixels n before, at least 1.
        kernel: Taps k of the window, at least 1.
        stride: Step s between windows, at least 1.
        padding: Pixels p added at each end, at least 0.
        dilation: Distance d between taps, at least 1.

    Raises:
        ValueError: An argument is out of its range, or no output pixel is left.
    """
    _check_window(kernel, stride, padding, dilation)
    room = size + 2 * padding - _reach(kernel, dilation)
    if size < 1 or room < 0:
        raise ValueError(
            f"no output pixel is left: size={size}, kernel={kernel}, stride={stride}, "
            f"padding={padding}, dilation={dilation}"
        )
    return room // stride + 1


def smallest_input(size: int, kernel: int, stride: int = 1, padding: int = 0, dilation: int = 1) -> int:
    """Returns the smallest n with `output_size` at least ``size``: max(1, (size - 1)s + d(k - 1) + 1 - 2p).

    Raises:
        ValueError: An argument is out of its range.
    """
    _check_window(kernel, stride, padding, dilation)
    if size < 1:
        raise ValueError(f"size={size} must be at least 1")
    return max(1, (size - 1) * stride + _reach(kernel, dilation) - 2 * padding)


def _reach(kernel: int, dilation: int) -> int:
    """Returns the pixels from a dilated window's first tap to its last, both included."""
    return dilation * (kernel - 1) + 1


def _check_window(kernel: int, stride: int, padding: int, dilation: int) -> None:
    least = {"kernel": (kernel, 1), "stride": (stride, 1), "padding": (padding, 0), "dilation": (dilation, 1)}
    for name, (value, bound) in least.items():
        if value < bound:
            raise ValueError(f"{name}={value} must be at least {bound}")
