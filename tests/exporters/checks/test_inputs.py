import numpy as np
import pytest

from cnntk.exporters.checks.inputs import KINDS, ORDINARY, SAMPLES, trial_inputs
from cnntk.runtime.artifact.spec import Preprocessing, TensorSpec

SPEC = TensorSpec("input", "float32", ("N", 3, 8, 8))


def test_every_kind_is_what_it_says() -> None:
    trials = trial_inputs((SPEC,), None)
    assert trials.kinds == KINDS
    images = dict(zip(trials.kinds, trials.arrays["input"], strict=True))
    assert (images["white"] == 1).all()
    assert (images["black"] == -1).all()
    assert (images["hot pixel"] == 1).sum() == 3
    assert np.abs(images["extremes"]).max() > 9e3
    assert 0 < np.abs(images["denormals"]).max() < np.finfo(np.float32).tiny
    assert np.array_equal(trials.arrays["input"], trial_inputs((SPEC,), None).arrays["input"])


def test_a_large_network_is_tried_on_fewer() -> None:
    few = trial_inputs((SPEC,), None, 4)
    assert few.arrays["input"].shape == (4, 3, 8, 8)
    assert few.batches == (1, 2, 3, 4)
    assert trial_inputs((SPEC,), None).batches == (1, 2, 3, 8)


def test_images_go_through_the_preprocessing() -> None:
    p = Preprocessing(color="rgb", height=8, width=8, mean=(0.5,) * 3, std=(0.25,) * 3)
    images = dict(zip(KINDS, trial_inputs((SPEC,), p).arrays["input"], strict=True))
    assert (images["white"] == 2).all()
    assert (images["black"] == -2).all()


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float64", "uint8", "int64"])
def test_every_type(dtype: str) -> None:
    array = trial_inputs((TensorSpec("x", dtype, ("N", 5)),), None).arrays["x"]
    assert array.dtype.name == dtype
    assert np.isfinite(array.astype(np.float64)).all()


def test_batches_go_round() -> None:
    trials = trial_inputs((SPEC,), None, 5)
    batch = trials.batch(3, start=4)["input"]
    assert np.array_equal(batch[0], trials.arrays["input"][4])
    assert np.array_equal(batch[1], trials.arrays["input"][0])


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_denormals_are_denormal_in_their_type(dtype: str) -> None:
    trials = trial_inputs((TensorSpec("x", dtype, ("N", 50)),), None)
    values = np.abs(trials.arrays["x"][trials.kinds.index("denormals")])
    assert 0 < values.max() < np.finfo(dtype).tiny


def test_samples_stand_first_and_in_turn_with_the_built_in_ones() -> None:
    own = {"input": np.random.default_rng(1).random((3, 3, 8, 8), np.float32)}
    trials = trial_inputs((SPEC,), None, 5, own)
    assert trials.kinds == (
        *("sample 1", "noise", "sample 2", "extremes", "sample 3"),
        *("hot pixel", "white", "denormals"),
    )
    assert trials.batches == (1, 2, 3, 8)
    assert trials.ordinary == [0, 1, 2, 4, 5, 6]
    np.testing.assert_array_equal(trials.pick([0, 2, 4])["input"], own["input"])
    plain = trial_inputs((SPEC,), None, 5)
    np.testing.assert_array_equal(trials.pick([1, 3, 5, 6, 7])["input"], plain.arrays["input"])
    assert plain.ordinary == [0, 2, 3]


def test_no_more_samples_than_there_are_names_for() -> None:
    own = {"input": np.zeros((SAMPLES, 3, 8, 8), np.float32)}
    assert {f"sample {i + 1}" for i in range(SAMPLES)} <= ORDINARY
    assert len(trial_inputs((SPEC,), None, samples=own).ordinary) == SAMPLES + 6


def test_extremes_of_float16_leave_room_for_sums() -> None:
    images = {
        dtype: np.abs(trial_inputs((TensorSpec("x", dtype, ("N", 500)),), None).arrays["x"][1]).max()
        for dtype in ("float16", "float32")
    }
    assert 90 < images["float16"] < 110
    assert 9e3 < images["float32"] < 1.1e4
