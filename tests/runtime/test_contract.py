import numpy as np
import pytest

from cnntk.runtime.artifact.spec import TensorSpec
from cnntk.runtime.contract import InputContract, shape_matches
from cnntk.runtime.errors import InputError, UnsupportedArtifact

TWO = (TensorSpec("a", "float32", ("N", 3, 8, 9)), TensorSpec("b", "int64", ("N",)))


def arrays(n: int = 2, m: int = 2) -> dict[str, np.ndarray]:
    return {"a": np.zeros((n, 3, 8, 9), np.float32), "b": np.zeros(m, np.int64)}


def test_matching_inputs_are_accepted() -> None:
    contract = InputContract(TWO, "x.onnx")
    contract.check(arrays())
    assert contract.sizes(arrays()) == {"N": 2}


def test_one_name_is_one_size() -> None:
    with pytest.raises(InputError, match="N is both 2 and 5"):
        InputContract(TWO, "x.onnx").check(arrays(2, 5))


def test_empty_batches_fit() -> None:
    InputContract(TWO, "x.onnx").check(arrays(0, 0))


@pytest.mark.parametrize(
    ("image", "hint"),
    [
        (np.zeros((2, 8, 9, 3), np.float32), r"layout seems to be NHWC; use array.transpose\(0, 3, 1, 2\)"),
        (np.zeros((3, 8, 9), np.float32), r"needs a batch dimension, array\[None\]"),
        (np.zeros((2, 3, 8, 9)), r"convert it, array.astype\('float32'\)"),
        ([[1.0]], "make it an array"),
        (np.zeros((2, 4, 8, 9), np.float32), None),
    ],
    ids=["layout", "batch", "dtype", "list", "nothing to say"],
)
def test_a_misfit_says_what_mends_it(image: object, hint: str | None) -> None:
    contract = InputContract(TWO, "x.onnx")
    inputs = {**arrays(), "a": image}
    with pytest.raises(
        InputError, match=r"x.onnx: expected a: float32 \[N, 3, 8, 9\], b: int64 \[N\]; got"
    ) as e:
        contract.check(inputs)
    if hint is None:
        assert ". a:" not in str(e.value)
    else:
        assert e.match(hint)


def test_hints_distinguish_nchw_and_nhwc() -> None:
    contract = InputContract((TensorSpec("image", "uint8", ("N", "H", "W", 3)),), "x.onnx")
    with pytest.raises(InputError, match="layout seems to be NCHW"):
        contract.check({"image": np.zeros((1, 3, 8, 9), np.uint8)})


def test_a_fixed_batch_points_to_run_many() -> None:
    contract = InputContract((TensorSpec("x", "float32", (4, 3, 8, 9)),), "x.onnx")
    with pytest.raises(InputError, match="fixed at 4; use run_many, which splits and pads"):
        contract.check({"x": np.zeros((5, 3, 8, 9), np.float32)})


def test_no_dict_at_all() -> None:
    contract = InputContract(TWO, "x.onnx")
    for inputs in ([1], None, np.zeros(3)):
        with pytest.raises(InputError, match="expected a dict of arrays by name"):
            contract.check(inputs)


def test_foreign_byte_order_becomes_native_with_the_same_values() -> None:
    contract = InputContract((TensorSpec("x", "float32", ("N",)),), "x.onnx")
    values = np.array([1.5, -2.0], ">f4")
    contract.check({"x": values})
    native = contract.native({"x": values})["x"]
    assert native.dtype == np.float32
    assert native.dtype.isnative
    assert native.tolist() == [1.5, -2.0]
    usual = {"x": native}
    assert contract.native(usual) is usual


def test_a_type_that_numpy_lacks() -> None:
    with pytest.raises(UnsupportedArtifact, match="float6, which numpy lacks"):
        InputContract((TensorSpec("x", "float6", ("N",)),), "x.onnx")


def test_fits() -> None:
    assert shape_matches((2, 3), ("N", 3))
    assert not shape_matches((2, 4), ("N", 3))
    assert not shape_matches((2,), ("N", 3))
