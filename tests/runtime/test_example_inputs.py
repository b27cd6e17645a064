import pytest

from cnntk.runtime.artifact.spec import TensorSpec
from cnntk.runtime.errors import UsageError
from cnntk.runtime.example_inputs import example_inputs


def test_sizes_that_no_memory_holds_are_refused() -> None:
    with pytest.raises(
        UsageError, match=r"x: its shape \[2, 3, 1099511627776\] has 6,597,069,766,656 values"
    ):
        example_inputs((TensorSpec("x", "uint8", ("N", 3, 1 << 40)),), 2)


def test_the_first_free_dimension_is_the_batch() -> None:
    assert example_inputs((TensorSpec("x", "uint8", ("N", 3)),), 2)["x"].shape == (2, 3)


@pytest.mark.parametrize("dtype", ["bfloat16", "float8_e4m3fn", "int4", "str"])
def test_types_without_example_inputs_are_refused(dtype: str) -> None:
    with pytest.raises(UsageError, match=f"x: there are no example inputs of its type {dtype}"):
        example_inputs((TensorSpec("x", dtype, ("N", 3)),), 2)


@pytest.mark.parametrize("dtype", ["bool", "float16", "int8", "uint64"])
def test_other_types_have_example_inputs(dtype: str) -> None:
    assert example_inputs((TensorSpec("x", dtype, ("N", 3)),), 2)["x"].dtype == dtype
