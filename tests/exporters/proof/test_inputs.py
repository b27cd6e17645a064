import numpy as np
import pytest

from cnntk.exporters.proof.inputs import KINDS, trial_inputs
from cnntk.runtime.spec import Preprocessing, TensorSpec

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
