from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from cnntk.models.reference import conv1x1, corr2d, corr2d_multi_in, corr2d_multi_in_out

drawn = settings(deadline=None, max_examples=60, derandomize=True)
two = st.tuples(st.integers(1, 3), st.integers(1, 3))
cases = {
    "channels": st.tuples(st.integers(1, 4), st.integers(1, 4)),
    "image": st.tuples(st.integers(7, 12), st.integers(7, 12)),
    "kernel": two,
    "stride": two,
    "padding": st.tuples(st.integers(0, 2), st.integers(0, 2)),
    "dilation": two,
    "seed": st.integers(0, 99),
}


def torch_convolution(x: np.ndarray, kernel: np.ndarray, **window: Any) -> np.ndarray:
    return F.conv2d(torch.from_numpy(x)[None], torch.from_numpy(kernel), **window)[0].numpy()


def draw(channels: tuple[int, int], image: Any, kernel: Any, seed: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    return rng.normal(size=(channels[1], *image)), rng.normal(size=(*channels, *kernel))


def test_the_example_of_the_notes() -> None:
    y = corr2d(np.arange(9).reshape(3, 3), np.arange(4).reshape(2, 2))
    assert y.tolist() == [[19, 25], [37, 43]]


@drawn
@given(**cases)
def test_many_channels_as_torch(channels: Any, image: Any, kernel: Any, seed: int, **window: Any) -> None:
    x, k = draw(channels, image, kernel, seed)
    expected = torch_convolution(x, k, **window)
    np.testing.assert_allclose(corr2d_multi_in_out(x, k, **window), expected, rtol=1e-12, atol=1e-13)
    np.testing.assert_allclose(corr2d_multi_in(x, k[0], **window), expected[0], rtol=1e-12, atol=1e-13)


def test_a_flipped_kernel_is_another_function() -> None:
    x, k = draw((2, 3), (8, 8), (3, 3), seed=0)
    flipped = corr2d_multi_in_out(x, k[..., ::-1, ::-1])
    assert not np.allclose(flipped, torch_convolution(x, k), atol=0.1)


def test_float32_stays_float32() -> None:
    x, k = (a.astype(np.float32) for a in draw((2, 3), (6, 6), (3, 3), seed=0))
    assert corr2d_multi_in_out(x, k).dtype == np.float32


@drawn
@given(channels=cases["channels"], image=cases["image"], seed=cases["seed"])
def test_conv1x1_is_a_matrix_product(channels: Any, image: Any, seed: int) -> None:
    x, k = draw(channels, image, (1, 1), seed)
    np.testing.assert_allclose(conv1x1(x, k), torch_convolution(x, k), rtol=1e-12, atol=1e-13)
    np.testing.assert_allclose(conv1x1(x, k), corr2d_multi_in_out(x, k), rtol=1e-12, atol=1e-13)


def test_conv1x1_refuses_a_larger_kernel() -> None:
    with pytest.raises(ValueError, match=r"C_out, C_in, 1, 1.*\(2, 3, 3, 3\)"):
        conv1x1(*draw((2, 3), (8, 8), (3, 3), seed=0))


def test_channels_that_differ_are_refused() -> None:
    with pytest.raises(ValueError, match="zip"):
        corr2d_multi_in(np.ones((3, 4, 4)), np.ones((2, 2, 2)))


def test_a_kernel_that_does_not_fit_is_refused() -> None:
    with pytest.raises(ValueError, match="size=2, kernel=3"):
        corr2d(np.ones((2, 2)), np.ones((3, 3)))
