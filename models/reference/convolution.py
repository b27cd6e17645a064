"""Two-dimensional cross-correlation, which deep learning calls convolution."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from cnntk.models.reference.shapes import Pair
from cnntk.models.reference.windows import padded, windows

__all__ = ["conv1x1", "corr2d", "corr2d_multi_in", "corr2d_multi_in_out"]


def corr2d(
    x: NDArray[Any], kernel: NDArray[Any], stride: Pair = 1, padding: Pair = 0, dilation: Pair = 1
) -> NDArray[Any]:
    """One channel with one kernel: y[i, j] = sum over a, b of x[s i + d a - p, s j + d b - p] kernel[a, b].

    Args:
        x: (H, W).
        kernel: (kh, kw).
        stride: s, one number or (vertical, horizontal); so are the two below.
        padding: p, zeros around ``x``.
        dilation: d, distance between the kernel's taps.

    Returns:
        (H', W'), each by `output_size`.

    Raises:
        ValueError: the kernel does not fit into the padded ``x``.
    """
    seen = windows(padded(x, padding), kernel.shape, stride, dilation)
    return np.asarray((seen * kernel).sum(axis=(-2, -1)))


def corr2d_multi_in(
    x: NDArray[Any], kernel: NDArray[Any], stride: Pair = 1, padding: Pair = 0, dilation: Pair = 1
) -> NDArray[Any]:
    """Several channels in, one out: the sum over c of `corr2d` of channel c.

    Args:
        x: (C, H, W).
        kernel: (C, kh, kw).
        stride: as in `corr2d`, like the rest.
        padding: as in `corr2d`.
        dilation: as in `corr2d`.

    Returns:
        (H', W').

    Raises:
        ValueError: the channels differ, or the kernel does not fit.
    """
    channels = [corr2d(a, k, stride, padding, dilation) for a, k in zip(x, kernel, strict=True)]
    return np.asarray(np.sum(channels, axis=0))


def corr2d_multi_in_out(
    x: NDArray[Any], kernel: NDArray[Any], stride: Pair = 1, padding: Pair = 0, dilation: Pair = 1
) -> NDArray[Any]:
    """Several channels in and out: one `corr2d_multi_in` for each output channel.

    Args:
        x: (C_in, H, W).
        kernel: (C_out, C_in, kh, kw).
        stride: as in `corr2d`, like the rest.
        padding: as in `corr2d`.
        dilation: as in `corr2d`.

    Returns:
        (C_out, H', W').

    Raises:
        ValueError: the channels differ, or the kernel does not fit.
    """
    return np.stack([corr2d_multi_in(x, k, stride, padding, dilation) for k in kernel])


def conv1x1(x: NDArray[Any], kernel: NDArray[Any]) -> NDArray[Any]:
    """A 1x1 convolution as a matrix product: every pixel through the same linear layer.

    Args:
        x: (C_in, H, W).
        kernel: (C_out, C_in, 1, 1).

    Returns:
        (C_out, H, W).

    Raises:
        ValueError: the kernel is not 1x1, or the channels differ.
    """
    if kernel.shape[2:] != (1, 1):
        raise ValueError(f"expected a kernel of shape (C_out, C_in, 1, 1), got {kernel.shape}")
    pixels = x.reshape(len(x), -1)
    return np.asarray(kernel[:, :, 0, 0] @ pixels).reshape(len(kernel), *x.shape[1:])
