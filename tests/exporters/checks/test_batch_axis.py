import numpy as np
import onnx_ir as ir
import pytest

from cnntk.exporters.checks._batch_axis import batch_axes, batch_first

SHAPES = {"N,3": 0, "48,N,11": 1, "2,3,N": 2, "8,4": None, "2*N,5": 0}


@pytest.mark.parametrize(("shape", "axis"), SHAPES.items())
def test_the_axis_of_the_batch_is_read_from_the_shape(shape: str, axis: int | None) -> None:
    model = ir.from_onnx_text(
        '<ir_version: 10, opset_import: ["" : 18]> g (float[N,3] x) => (float[N,3] y) { y = Relu(x) }'
    )
    sizes = [int(d) if d.isdigit() else d for d in shape.split(",")]
    model.graph.outputs[0].shape = ir.Shape(sizes)
    assert batch_axes(model) == {"y": axis}
    model.graph.outputs[0].shape = None
    assert batch_axes(model) == {"y": 0}


def test_without_a_dynamic_batch_the_first_axis_is_taken() -> None:
    model = ir.from_onnx_text(
        '<ir_version: 10, opset_import: ["" : 18]> g (float[2,3] x) => (float[2,3] y) { y = Relu(x) }'
    )
    assert batch_axes(model) == {"y": 0}


def test_images_come_first() -> None:
    array = np.arange(48 * 2 * 11).reshape(48, 2, 11)
    outputs = batch_first({"y": array, "z": array[0], "c": array[:, 0]}, {"y": 1, "c": None}, 2)
    np.testing.assert_array_equal(outputs["y"][1], array[:, 1])
    np.testing.assert_array_equal(outputs["z"], array[0])
    np.testing.assert_array_equal(outputs["c"], [array[:, 0], array[:, 0]])


def test_several_rows_an_image_are_one_image() -> None:
    rows = np.arange(12).reshape(6, 2)
    np.testing.assert_array_equal(batch_first({"y": rows}, {}, 3)["y"], rows.reshape(3, 2, 2))
