from __future__ import annotations

import numpy as np
import pytest

from cnntk.models.reference._windows import padded, windows


def test_windows_are_views_of_what_lies_under_them() -> None:
    x = np.arange(2 * 5 * 6).reshape(2, 5, 6)
    seen = windows(x, (2, 3), stride=(2, 1), dilation=(1, 2))
    assert seen.shape == (2, 2, 2, 2, 3)
    assert (seen[1, 1, 1] == x[1, 2:4, 1:6:2]).all()
    assert np.shares_memory(seen, x)


def test_padding_surrounds_the_last_two_axes_alone() -> None:
    x = padded(np.ones((2, 3, 4)), (1, 2), -7)
    assert x.shape == (2, 5, 8)
    assert x.sum() == 2 * (12 - 7 * 28)


def test_a_window_larger_than_the_image_is_refused() -> None:
    with pytest.raises(ValueError, match="size=5, kernel=6"):
        windows(np.ones((5, 9)), 6)
