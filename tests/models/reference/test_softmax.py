from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from cnntk.models.reference import cross_entropy, log_softmax, softmax, softmax_naive

drawn = settings(deadline=None, max_examples=60, derandomize=True)
scales = st.sampled_from([1e-3, 1.0, 30.0, 1e4])
shapes = st.tuples(st.integers(1, 5), st.integers(1, 12))
seeds = st.integers(0, 99)


def logits_of(shape: tuple[int, int], scale: float, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).uniform(-scale, scale, shape)


@drawn
@given(shape=shapes, scale=scales, seed=seeds, axis=st.sampled_from([0, 1, -1]))
def test_as_torch(shape: tuple[int, int], scale: float, seed: int, axis: int) -> None:
    logits = logits_of(shape, scale, seed)
    tensor = torch.from_numpy(logits)
    np.testing.assert_allclose(
        softmax(logits, axis), F.softmax(tensor, axis).numpy(), rtol=1e-12, atol=1e-300
    )
    np.testing.assert_allclose(
        log_softmax(logits, axis), F.log_softmax(tensor, axis).numpy(), rtol=1e-12, atol=1e-14
    )


@drawn
@given(shape=shapes, scale=scales, seed=seeds)
def test_cross_entropy_as_torch(shape: tuple[int, int], scale: float, seed: int) -> None:
    logits = logits_of(shape, scale, seed)
    labels = np.random.default_rng(seed).integers(0, shape[1], shape[0])
    expected = F.cross_entropy(torch.from_numpy(logits), torch.from_numpy(labels)).item()
    assert cross_entropy(logits, labels) == pytest.approx(expected, rel=1e-12, abs=1e-14)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_logits_of_ten_thousand(dtype: type) -> None:
    logits = np.array([[1e4, -1e4, 9999.0], [-1e4, -1e4, -1e4]], dtype)
    probabilities, logs = softmax(logits), log_softmax(logits)
    np.testing.assert_allclose(probabilities.sum(axis=1), 1, atol=1e-6)
    assert (probabilities.argmax(axis=1) == logits.argmax(axis=1)).all()
    assert np.isfinite(logs).all()
    assert cross_entropy(logits, np.array([1, 0])) == pytest.approx(
        (2e4 + np.log1p(np.exp(-1)) + np.log(3)) / 2
    )


def test_the_naive_form_fails_there() -> None:
    with np.errstate(all="ignore"):
        assert np.isnan(softmax_naive(np.array([1e4, -1e4]))).any()  # inf / inf
        assert np.isnan(softmax_naive(np.array([-1e4, -1e4]))).all()  # 0 / 0
        assert np.log(softmax(np.array([1e4, -1e4])))[1] == -np.inf  # which is why log_softmax exists


def test_the_naive_form_is_right_where_it_holds() -> None:
    logits = logits_of((3, 5), 10.0, 0)
    np.testing.assert_allclose(softmax_naive(logits), softmax(logits), rtol=1e-12)


@pytest.mark.parametrize("labels", [[0, -1], [0, 3], []], ids=str)
def test_a_label_out_of_range_is_refused(labels: list[int]) -> None:
    with pytest.raises(ValueError, match=r"in \[0, 3\)"):
        cross_entropy(np.zeros((len(labels), 3)), np.array(labels, int))


def test_shapes_that_do_not_fit_are_refused() -> None:
    with pytest.raises(ValueError, match=r"\(2, 3\) and \(3,\)"):
        cross_entropy(np.zeros((2, 3)), np.zeros(3, int))
