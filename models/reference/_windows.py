"""The windows of convolution and pooling, as one strided view."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from cnntk.models.reference.shapes import Pair, output_size, pair


def padded(x: NDArray[Any], padding: Pair, value: float = 0) -> NDArray[Any]:
    """Returns ``x`` (..., H, W) with ``padding`` pixels of ``value`` at each end of its last two axes."""
    vertical, horizontal = pair(padding)
    unpadded = [(0, 0)] * (x.ndim - 2)
    around = [*unpadded, (vertical, vertical), (horizontal, horizontal)]
    return np.pad(x, around, constant_values=value)


def windows(x: NDArray[Any], size: Pair, stride: Pair = 1, dilation: Pair = 1) -> NDArray[Any]:
    """Returns every window of ``x`` (..., H, W), as a view of shape (..., H', W', kh, kw).

    Raises:
        ValueError: No window fits, or an argument is out of its range.
    """
    (kh, kw), (sh, sw), (dh, dw) = pair(size), pair(stride), pair(dilation)
    for pixels, kernel, step, gap in zip(x.shape[-2:], (kh, kw), (sh, sw), (dh, dw), strict=True):
        output_size(pixels, kernel, step, 0, gap)  # numpy's own complaint would not name the values
    reach = (dh * (kh - 1) + 1, dw * (kw - 1) + 1)
    dense = sliding_window_view(x, reach, axis=(-2, -1))
    return dense[..., ::sh, ::sw, ::dh, ::dw]
