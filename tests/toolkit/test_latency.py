from pathlib import Path

import numpy as np
import pytest

from cnntk import bench
from cnntk.runtime.errors import UsageError
from cnntk.runtime.spec import TensorSpec
from cnntk.runtime.trial import example_inputs


def test_percentiles_are_in_order(tiny_onnx: Path) -> None:
    result = bench(tiny_onnx, seconds=0.5, threads=1)
    assert 0 < result.p50_ms <= result.p90_ms
    assert result.images_per_second == pytest.approx(1000 / result.mean_ms)
    if result.runs >= 1000:
        assert result.p99_ms >= result.p90_ms


def test_no_p99_of_a_few_runs(tiny_onnx: Path) -> None:
    result = bench(tiny_onnx, seconds=1e-6)
    assert result.runs == 10
    assert result.p99_ms is None


def test_inputs_of_every_type() -> None:
    specs = (
        TensorSpec("f", "float32", ("N", 3)),
        TensorSpec("u", "uint8", (2, 4)),
        TensorSpec("i", "int64", ("N",)),
    )
    inputs = example_inputs(specs, 2)
    assert [(k, v.dtype.name, v.shape) for k, v in inputs.items()] == [
        ("f", "float32", (2, 3)),
        ("u", "uint8", (2, 4)),
        ("i", "int64", (2,)),
    ]
    assert np.array_equal(inputs["f"], example_inputs(specs, 2)["f"])


@pytest.mark.parametrize(("shape", "message"), [((1, 3), "fixed at 1, not 2"), (("N", "H", 3), "is open")])
def test_sizes_that_can_not_be(shape: tuple, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        example_inputs((TensorSpec("x", "float32", shape),), 2)


@pytest.mark.parametrize("wrong", [{"batch": 0}, {"seconds": 0}])
def test_wrong_use(tiny_onnx: Path, wrong: dict) -> None:
    with pytest.raises(UsageError, match="must be positive"):
        bench(tiny_onnx, **wrong)
