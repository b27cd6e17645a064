"""A fixed, stratified fifth."""

import numpy as np
import pytest

from cnntk.data.holdout import held_out


def test_a_fifth_of_every_class() -> None:
    labels = np.repeat(np.arange(3), [50, 10, 3])
    mask = held_out(labels)
    assert np.bincount(labels[mask]).tolist() == [10, 2, 1]
    np.testing.assert_array_equal(mask, held_out(labels))


def test_it_is_fixed_for_good() -> None:
    assert np.flatnonzero(held_out(np.zeros(20, np.int64))).tolist() == [1, 8, 18, 19]


@pytest.mark.parametrize("count", [1, 2, 4])
def test_at_least_one(count: int) -> None:
    assert held_out(np.zeros(count, np.int64)).sum() == 1
