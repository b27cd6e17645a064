from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from cnntk.models.reference import pool2d

POOLS = {"max": F.max_pool2d, "mean": F.avg_pool2d}


@settings(deadline=None, max_examples=80, derandomize=True)
@given(
    mode=st.sampled_from(["max", "mean"]),
    image=st.tuples(st.integers(4, 9), st.integers(4, 9)),
    size=st.tuples(st.integers(1, 4), st.integers(1, 4)),
    stride=st.none() | st.tuples(st.integers(1, 3), st.integers(1, 3)),
    data=st.data(),
)
def test_pool2d_is_torchs(mode: Any, image: Any, size: Any, stride: Any, data: Any) -> None:
    padding = tuple(data.draw(st.integers(0, k // 2)) for k in size)
    x = (
        np.random.default_rng(sum(image)).normal(size=(2, 3, *image)) - 3
    )  # zeros as padding would win a maximum
    expected = POOLS[mode](torch.from_numpy(x), size, stride, padding).numpy()
    np.testing.assert_allclose(pool2d(x, size, mode, stride, padding), expected, rtol=1e-13)


def test_the_modes_differ() -> None:
    x = np.arange(16.0).reshape(4, 4)
    assert pool2d(x, 2).tolist() == [[5, 7], [13, 15]]
    assert pool2d(x, 2, "mean").tolist() == [[2.5, 4.5], [10.5, 12.5]]


def test_nan_is_not_lost() -> None:
    x = np.zeros((2, 2))
    x[0, 1] = np.nan
    assert np.isnan(pool2d(x, 2)).all()
    assert np.isnan(pool2d(x, 2, "mean")).all()


def test_types() -> None:
    assert pool2d(np.ones((4, 4), np.float32), 2).dtype == np.float32
    assert pool2d(-np.ones((4, 4), np.int64), 2, padding=1).max() == -1


def test_wrong_arguments() -> None:
    x = np.ones((4, 4))
    with pytest.raises(ValueError, match="'max', 'mean'"):
        pool2d(x, 2, "median")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="padding=2 is more than half of size=3"):
        pool2d(x, 3, padding=2)
    with pytest.raises(ValueError, match="size=4, kernel=5"):
        pool2d(x, 5)
