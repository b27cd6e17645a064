import numpy as np
import pytest

from cnntk.runtime.contract import is_finite


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
@pytest.mark.parametrize("shape", [(1, 10), (3, 4, 5), (0, 10), (2000,), ()])
def test_numbers_are_finite(dtype: type, shape: tuple[int, ...]) -> None:
    values = np.random.default_rng(0).standard_normal(shape).astype(dtype)
    assert is_finite(np.asarray(values, dtype))


@pytest.mark.parametrize("wrong", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_a_single_nonfinite_value_is_detected(wrong: float, dtype: type) -> None:
    values = np.zeros((3, 1000), dtype)
    for index in ((0, 0), (1, 500), (2, 999)):
        spoilt = values.copy()
        spoilt[index] = wrong
        assert not is_finite(spoilt)


def test_large_numbers_whose_squares_overflow_are_finite() -> None:
    assert is_finite(np.full((1, 10), 3e38, np.float32))
    assert is_finite(np.full((1, 10), 65504, np.float16))
    assert is_finite(np.array([1.7e308, -1.7e308]))


def test_views_are_looked_at_as_they_are() -> None:
    values = np.zeros((4, 6), np.float32)
    values[1::2] = np.nan
    assert is_finite(values[::2])
    assert not is_finite(values[::-1])
