from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cnntk.models.reference import dropout


def test_zero_keeps_all_and_one_drops_all() -> None:
    x = np.arange(16.0).reshape(2, 8) + 1
    assert (dropout(x, 0, np.random.default_rng(0)) == x).all()
    assert (dropout(x, 1, np.random.default_rng(0)) == 0).all()


@settings(deadline=None, max_examples=20, derandomize=True)
@given(p=st.floats(0, 0.95), seed=st.integers(0, 99))
def test_remaining_elements_are_scaled_and_the_expectation_stays(p: float, seed: int) -> None:
    x = np.full(40_000, 3.0)
    y = dropout(x, p, np.random.default_rng(seed))
    assert set(np.unique(y)) <= {0.0, 3.0 / (1 - p)}
    deviation = 3.0 * np.sqrt(p / (1 - p) / x.size)
    assert abs(y.mean() - 3.0) <= 5 * deviation + 1e-12


def test_without_the_scale_the_expectation_would_move() -> None:
    x = np.full(40_000, 3.0)
    unscaled = dropout(x, 0.5, np.random.default_rng(0)) * 0.5
    assert abs(unscaled.mean() - 3.0) > 1


def test_type_and_seed() -> None:
    x = np.ones(1000, np.float32)
    first, again, other = (dropout(x, 0.3, np.random.default_rng(seed)) for seed in (1, 1, 2))
    assert first.dtype == np.float32
    assert (first == again).all()
    assert (first != other).any()


@pytest.mark.parametrize("p", [-0.1, 1.1, float("nan")])
def test_a_probability_out_of_range_is_refused(p: float) -> None:
    with pytest.raises(ValueError, match=r"must be in \[0, 1\]"):
        dropout(np.ones(3), p, np.random.default_rng(0))
