from __future__ import annotations

import numpy as np
import onnx
import onnxruntime
import pytest

from cnntk.benchmark.layers.small_graphs import model, node, tensor, value


def run(graph: bytes, **inputs: np.ndarray) -> np.ndarray:
    session = onnxruntime.InferenceSession(graph, providers=["CPUExecutionProvider"])
    return session.run(None, inputs)[0]


def test_onnx_takes_it_and_onnxruntime_runs_it() -> None:
    ends = ([value(name, np.float32, shape)] for name, shape in (("x", (1, 2, 4, 4)), ("y", (1, 3, 2, 2))))
    weight = np.arange(3 * 2 * 3 * 3, dtype=np.float32).reshape(3, 2, 3, 3)
    conv = node("Conv", ["x", "w"], "y", {"pads": [1, 1, 0, 0], "strides": [2, 2], "group": 1})
    graph = model([conv], [tensor("w", weight)], *ends)
    onnx.checker.check_model(onnx.load_from_string(graph), full_check=True)
    x = np.zeros((1, 2, 4, 4), np.float32)
    x[0, :, 1, 1] = 1  # the window that begins at (-1, -1) sees it in its last place
    np.testing.assert_array_equal(run(graph, x=x)[0, :, 0, 0], weight[:, :, 2, 2].sum(axis=1))


@pytest.mark.parametrize("dtype", ["float32", "uint8", "int8", "int32", "int64", "bool"])
def test_weights_of_each_type(dtype: str) -> None:
    numbers = np.array([0, 1, 1]).astype(dtype)
    graph = model(
        [node("Identity", ["w"], "y")], [tensor("w", numbers)], [], [value("y", dtype, numbers.shape)]
    )
    np.testing.assert_array_equal(run(graph), numbers)


def test_operators_of_onnxruntimes_own() -> None:
    gelu = node("Gelu", ["x"], "y", microsoft=True)
    ends = ([value(name, np.float32, (1,))] for name in "xy")
    assert run(model([gelu], [], *ends), x=np.zeros(1, np.float32)) == 0


def test_a_type_that_is_not_known() -> None:
    with pytest.raises(KeyError, match="float64"):
        tensor("w", np.zeros(1))
