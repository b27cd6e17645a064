import numpy as np
import pytest

from cnntk.exporters.checks._inputs import KINDS, ORDINARY, SAMPLES, CheckInputs, OutputCache, array_inputs
from cnntk.runtime.artifact.spec import Preprocessing, TensorSpec

SPEC = TensorSpec("input", "float32", ("N", 3, 8, 8))


def test_every_kind_is_what_it_says() -> None:
    result = array_inputs((SPEC,), None)
    assert result.kinds == KINDS
    images = dict(zip(result.kinds, result.arrays["input"], strict=True))
    assert (images["white"] == 1).all()
    assert (images["black"] == -1).all()
    assert (images["hot pixel"] == 1).sum() == 3
    assert np.abs(images["extremes"]).max() > 9e3
    assert 0 < np.abs(images["denormals"]).max() < np.finfo(np.float32).tiny
    assert np.array_equal(result.arrays["input"], array_inputs((SPEC,), None).arrays["input"])


def test_a_large_network_is_tried_on_fewer() -> None:
    few = array_inputs((SPEC,), None, 4)
    assert few.arrays["input"].shape == (4, 3, 8, 8)
    assert few.batches == (1, 2, 3, 4)
    assert array_inputs((SPEC,), None).batches == (1, 2, 3, 8)


def test_images_go_through_the_preprocessing() -> None:
    p = Preprocessing(color="rgb", height=8, width=8, mean=(0.5,) * 3, std=(0.25,) * 3)
    images = dict(zip(KINDS, array_inputs((SPEC,), p).arrays["input"], strict=True))
    assert (images["white"] == 2).all()
    assert (images["black"] == -2).all()


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float64", "uint8", "int64"])
def test_every_type(dtype: str) -> None:
    array = array_inputs((TensorSpec("x", dtype, ("N", 5)),), None).arrays["x"]
    assert array.dtype.name == dtype
    assert np.isfinite(array.astype(np.float64)).all()


def test_batches_go_round() -> None:
    result = array_inputs((SPEC,), None, 5)
    batch = result.batch(3, start=4)["input"]
    assert np.array_equal(batch[0], result.arrays["input"][4])
    assert np.array_equal(batch[1], result.arrays["input"][0])


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_denormals_are_denormal_in_their_type(dtype: str) -> None:
    result = array_inputs((TensorSpec("x", dtype, ("N", 50)),), None)
    values = np.abs(result.arrays["x"][result.kinds.index("denormals")])
    assert 0 < values.max() < np.finfo(dtype).tiny


def test_samples_stand_first_and_in_turn_with_the_built_in_ones() -> None:
    samples = {"input": np.random.default_rng(1).random((3, 3, 8, 8), np.float32)}
    result = array_inputs((SPEC,), None, 5, samples)
    assert result.kinds == (
        *("sample 1", "noise", "sample 2", "extremes", "sample 3"),
        *("hot pixel", "white", "denormals"),
    )
    assert result.batches == (1, 2, 3, 8)
    assert result.ordinary == [0, 1, 2, 4, 5, 6]
    np.testing.assert_array_equal(result.select([0, 2, 4])["input"], samples["input"])
    plain = array_inputs((SPEC,), None, 5)
    np.testing.assert_array_equal(result.select([1, 3, 5, 6, 7])["input"], plain.arrays["input"])
    assert plain.ordinary == [0, 2, 3]


def test_no_more_samples_than_there_are_names_for() -> None:
    samples = {"input": np.zeros((SAMPLES, 3, 8, 8), np.float32)}
    assert {f"sample {i + 1}" for i in range(SAMPLES)} <= ORDINARY
    assert len(array_inputs((SPEC,), None, samples=samples).ordinary) == SAMPLES + 6


def test_extremes_of_float16_leave_room_for_sums() -> None:
    images = {
        dtype: np.abs(array_inputs((TensorSpec("x", dtype, ("N", 500)),), None).arrays["x"][1]).max()
        for dtype in ("float16", "float32")
    }
    assert 90 < images["float16"] < 110
    assert 9e3 < images["float32"] < 1.1e4


def test_each_batch_is_run_once_and_again_on_demand(inputs: CheckInputs) -> None:
    sizes = []

    def run(arrays: dict) -> dict:
        sizes.append(len(arrays["input"]))
        return arrays

    outputs = OutputCache(run, inputs)
    count = len(inputs.kinds)
    assert outputs(2) is outputs(2)
    assert outputs(1, 1) is outputs(1, 1 + count)
    assert outputs.run_again(2) is not outputs(2)
    assert sizes == [2, 1, 2]
    assert np.array_equal(outputs(1, 1)["input"][0], outputs(2)["input"][1])
