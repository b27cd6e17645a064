"""Two-dimensional cross-correlation, which deep learning calls convolution."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from cnntk.models.reference._windows import padded, windows
from cnntk.models.reference.shapes import Pair


def corr2d(
    x: NDArray[Any], kernel: NDArray[Any], stride: Pair = 1, padding: Pair = 0, dilation: Pair = 1
) -> NDArray[Any]:
    """Correlates one channel: y[i, j] = sum over a, b of x[s i + d a - p, s j + d b - p] kernel[a, b].

    Args:
        x: Array (H, W).
        kernel: Array (kh, kw).
        stride: Step s, one number or (vertical, horizontal), as the two below.
        padding: Number p of zeros on each side of ``x``.
        dilation: Distance d between the kernel's taps.

    Returns:
        Array (H', W'), each by `output_size`.

    Raises:
        ValueError: The kernel does not fit into the padded ``x``.
    """
    views = windows(padded(x, padding), kernel.shape, stride, dilation)
    return np.asarray((views * kernel).sum(axis=(-2, -1)))


def corr2d_multi_in(
    x: NDArray[Any], kernel: NDArray[Any], stride: Pair = 1, padding: Pair = 0, dilation: Pair = 1
) -> NDArray[Any]:
    """Correlates several input channels to one output: the sum over c of `corr2d` of channel c.

    Args:
        x: Array (C, H, W).
        kernel: Array (C, kh, kw).
        stride, padding, dilation: As in `corr2d`.

    Returns:
        Array (H', W').

    Raises:
        ValueError: The channels differ, or the kernel does not fit.
    """
    channels = [corr2d(a, k, stride, padding, dilation) for a, k in zip(x, kernel, strict=True)]
    return np.asarray(np.sum(channels, axis=0))


def corr2d_multi_in_out(
    x: NDArray[Any], kernel: NDArray[Any], stride: Pair = 1, padding: Pair = 0, dilation: Pair = 1
) -> NDArray[Any]:
    """Correlates several input channels to several outputs: one `corr2d_multi_in` for each.

    Args:
        x: Array (C_in, H, W).
        kernel: Array (C_out, C_in, kh, kw).
        stride, padding, dilation: As in `corr2d`.

    Returns:
        Array (C_out, H', W').

    Raises:
        ValueError: The channels differ, or the kernel does not fit.
    """
    return np.stack([corr2d_multi_in(x, k, stride, padding, dilation) for k in kernel])


def conv1x1(x: NDArray[Any], kernel: NDArray[Any]) -> NDArray[Any]:
    """Computes a 1x1 convolution as a matrix product: every pixel through the same linear layer.

    Args:
        x: Array (C_in, H, W).
        kernel: Array (C_out, C_in, 1, 1).

    Returns:
        Array (C_out, H, W).

    Raises:
        ValueError: The kernel is not 1x1, or the channels differ.
    """
    if kernel.shape[2:] != (1, 1):
        raise ValueError(f"expected a kernel of shape (C_out, C_in, 1, 1), got {kernel.shape}")
    pixels = x.reshape(len(x), -1)
    return np.asarray(kernel[:, :, 0, 0] @ pixels).reshape(len(kernel), *x.shape[1:])
