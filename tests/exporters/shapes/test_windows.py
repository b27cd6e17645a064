"""Windows against onnxruntime itself, over unequal pads, rounding up, dilation and auto_pad."""

import itertools

import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime
import pytest

from cnntk.exporters.shapes._windows import transposed_window, window, window_axes

OPTIONS = [
    {"strides": [s, s], "pads": [b, b, e, e], "dilations": [d, d]}
    for s, b, e, d in itertools.product((1, 2, 3), (0, 1), (0, 2), (1, 2))
]


def measured(op: str, size: int, weight: tuple[int, ...], **attributes: object) -> tuple[int, ...]:
    """What onnxruntime leaves of a map of (size, size + 1)."""
    inputs = ["x", "w"] if weight else ["x"]
    tensors = [onnx.numpy_helper.from_array(np.ones(weight, np.float32), "w")] if weight else []
    node = onnx.helper.make_node(op, inputs, ["y"], **attributes)
    value = onnx.helper.make_tensor_value_info
    x, y = value("x", 1, [1, 1, size, size + 1]), value("y", 1, None)
    graph = onnx.helper.make_graph([node], "g", [x], [y], tensors)
    model = onnx.helper.make_model(graph, ir_version=10, opset_imports=[onnx.helper.make_opsetid("", 18)])
    session = onnxruntime.InferenceSession(model.SerializeToString())
    return session.run(None, {"x": np.zeros((1, 1, size, size + 1), np.float32)})[0].shape[2:]


@pytest.mark.parametrize("size", [7, 10])
@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_a_convolution(options: dict[str, list[int]], size: int) -> None:
    node = ir.node("Conv", [None], options)
    assert window(node, (1, 1, size, size + 1), (3, 2))[0] == measured("Conv", size, (1, 1, 3, 2), **options)


@pytest.mark.parametrize("size", [6, 7, 8, 9])
@pytest.mark.parametrize("stride", [1, 2, 3])
@pytest.mark.parametrize("ceil", [0, 1])
def test_a_pooling(size: int, stride: int, ceil: int) -> None:
    options = {"strides": [stride] * 2, "pads": [1] * 4, "ceil_mode": ceil, "kernel_shape": [3, 3]}
    node = ir.node("MaxPool", [None], options)
    assert window(node, (1, 1, size, size + 1), ())[0] == measured("MaxPool", size, (), **options)


@pytest.mark.parametrize("auto", ["SAME_UPPER", "SAME_LOWER", "VALID"])
@pytest.mark.parametrize("stride", [1, 2])
def test_automatic_pads(auto: str, stride: int) -> None:
    options = {"auto_pad": auto, "strides": [stride] * 2}
    node = ir.node("Conv", [None], options)
    assert window(node, (1, 1, 7, 8), (3, 3))[0] == measured("Conv", 7, (1, 1, 3, 3), **options)


@pytest.mark.parametrize("extra", [0, 1])
@pytest.mark.parametrize("stride", [1, 2, 3])
def test_a_transposed_convolution(stride: int, extra: int) -> None:
    options = {"strides": [stride] * 2, "pads": [1, 1, 0, 0], "dilations": [2, 2]}
    if extra < stride:
        options["output_padding"] = [extra] * 2
    node = ir.node("ConvTranspose", [None], options)
    expected = measured("ConvTranspose", 5, (1, 1, 3, 4), **options)
    assert transposed_window(node, (1, 1, 5, 6), (3, 4))[0] == expected


def test_the_arithmetic_as_text() -> None:
    node = ir.node("Conv", [None], {"pads": [2, 2, 2, 2]})
    assert window(node, (1, 1, 28, 28), (5, 5))[1] == "floor((28 + 2*2 - 1*(5-1) - 1)/1) + 1 = 28"
    uneven = ir.node("Conv", [None], {"pads": [0, 1, 1, 1]})
    assert window(uneven, (1, 1, 8, 8), (3, 3))[1] == (
        "floor((8 + 0 + 1 - 1*(3-1) - 1)/1) + 1 = 7; floor((8 + 2*1 - 1*(3-1) - 1)/1) + 1 = 8"
    )


def test_an_unknown_map() -> None:
    assert window(ir.node("Conv", [None], {}), (1, 1, None, 8), (3, 3))[0] == (None, 6)


def test_nothing_is_left() -> None:
    with pytest.raises(ValueError, match="no output pixel is left"):
        window(ir.node("Conv", [None], {}), (1, 1, 2, 2), (3, 3))


def test_a_dilated_window_reaches_further() -> None:
    assert window_axes(ir.node("Conv", [None], {"dilations": [2, 1]}), (3, 3))[0].reach == 5
