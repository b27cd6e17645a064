import numpy as np
import pytest

from cnntk.runtime.artifact.spec import TensorSpec
from cnntk.runtime.batching._batch_assembly import batch_dimension, stack, unstack

A = {"x": np.array([[1.0], [2.0]]), "y": np.array([1, 2])}
B = {"x": np.array([[3.0]]), "y": np.array([3])}


@pytest.mark.parametrize(
    ("shapes", "dimension"),
    [
        ([("N", 3), ("N", 10)], "N"),
        ([(4, 3), (4, 10)], 4),
        ([("N", 3), ("M", 10)], None),
        ([("N", 3), (1, 10)], None),
        ([("N", 3), (10,), ("N",)], None),
        ([("N", 3), ()], None),
        ([("N", "N"), ("N",)], None),
        ([(1, 3), (1, 10)], None),
        ([("", 3), ("", 10)], None),
        ([(None, 3), (None, 10)], None),
    ],
    ids=["named", "fixed", "two names", "mixed", "vector", "scalar", "used twice", "one", "unnamed", "none"],
)
def test_batch_dimension(shapes: list[tuple[int | str, ...]], dimension: str | int | None) -> None:
    specs = [TensorSpec(f"t{i}", "float32", shape) for i, shape in enumerate(shapes)]
    assert batch_dimension(specs) == dimension


def test_stacked_and_unstacked_they_are_the_same() -> None:
    stacked = stack([A, B])
    assert stacked["x"].tolist() == [[1], [2], [3]]
    outputs = unstack(stacked, [2, 1], 3)
    assert outputs is not None
    for part, original in zip(outputs, (A, B), strict=True):
        assert {k: v.tolist() for k, v in part.items()} == {k: v.tolist() for k, v in original.items()}


def test_one_alone_is_not_copied() -> None:
    assert stack([A])["x"] is A["x"]


def test_requests_share_no_memory() -> None:
    stacked = stack([A, B])
    outputs = unstack(stacked, [2, 1], 3)
    assert outputs is not None
    outputs[0]["x"][:] = -1
    assert stacked["x"][0] == 1
    assert all(value.base is None for part in outputs for value in part.values())


def test_padding_is_cut_off() -> None:
    outputs = unstack({"x": np.arange(4)}, [1, 2], 4)
    assert outputs is not None
    assert [part["x"].tolist() for part in outputs] == [[0], [1, 2]]


@pytest.mark.parametrize("answer", [np.zeros(()), np.zeros((2, 1)), np.zeros((4, 1))])
def test_other_sizes_are_refused(answer: np.ndarray) -> None:
    assert unstack({"x": np.zeros((3, 1)), "y": answer}, [2, 1], 3) is None
