"""The center of a resized image."""

from collections.abc import Callable

import numpy as np
import pytest
from pixel_graphs import graph

from cnntk.runtime.artifact.spec import Preprocessing


@pytest.mark.parametrize("size", [(4, 4), (4, 5), (4, 6), (4, 7), (8, 4), (4, 9)])
@pytest.mark.parametrize(
    ("start", "rounded"), [("floor", lambda r: r // 2), ("round", lambda r: round(r / 2))]
)
def test_the_offset_is_rounded(size: tuple[int, int], start: str, rounded: Callable) -> None:
    p = Preprocessing("gray", 4, 4, resize="shortest", interpolation="nearest", scale=1.0, crop_start=start)
    image = np.arange(size[0] * size[1], dtype=np.uint8).reshape(1, *size, 1)
    top, left = rounded(size[0] - 4), rounded(size[1] - 4)
    expected = image[:, top : top + 4, left : left + 4].transpose(0, 3, 1, 2)
    assert np.array_equal(graph(p)(image), expected)
