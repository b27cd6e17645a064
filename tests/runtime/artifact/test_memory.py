import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from cnntk.runtime.artifact.memory import least_memory
from cnntk.runtime.errors import ArtifactCorrupt

HEADER = '<ir_version: 10, opset_import: ["" : 18]> g '
SHAPES = {
    "ConstantOfShape": "s = Constant <value = int64[2] {1000, 70}> () y = ConstantOfShape (s)",
    "Expand": "s = Constant <value_ints = [1000, 70]> () y = Expand (x, s)",
    "Tile": "s = Constant <value = int64[2] {1000, 70}> () y = Tile (x, s)",
    "Resize": 's = Constant <value = int64[2] {1000, 70}> () y = Resize <mode = "nearest"> (x, , , s)',
}


def least(text: str) -> tuple[int, int, str]:
    data = onnx.parser.parse_model(HEADER + text).SerializeToString()
    memory = least_memory(data, "model")
    return memory.weights_bytes, memory.largest_bytes, memory.largest_name


def test_weights_of_all_types_and_depths() -> None:
    text = """(float[N,3] x, bool c) => (float[N,3] y) {
        k = Constant <value = double[2] {1.0, 2.0}> ()
        y = If (c) <then_branch = a () => (float[N,3] t) { t = Add (x, v) },
                    else_branch = b () => (float[N,3] e) { e = Neg (x) }>
    }"""
    model = onnx.parser.parse_model(HEADER + text)
    inner = next(a.g for a in model.graph.node[1].attribute if a.name == "then_branch")
    inner.initializer.append(numpy_helper.from_array(np.ones((100, 3), np.float32), "v"))
    int4 = helper.make_tensor("q", TensorProto.INT4, [6], [1] * 6)
    model.graph.initializer.extend([numpy_helper.from_array(np.ones(7, np.float16), "h"), int4])
    memory = least_memory(model.SerializeToString(), "model")
    assert memory.weights_bytes == 2 * 8 + 100 * 3 * 4 + 7 * 2 + 6 // 2
    assert (memory.largest_bytes, memory.total_bytes) == (12, memory.weights_bytes + 12)


@pytest.mark.parametrize("op_type", SHAPES)
def test_constant_sizes_of_outputs(op_type: str) -> None:
    """Elements of an unknown type count as a byte."""
    _, size, name = least(f"(float[1,1] x) => (float[A,B] y) {{ {SHAPES[op_type]} }}")
    assert (size, name) == (70_000, "y")
    node = SHAPES[op_type][SHAPES[op_type].index("y =") :]
    assert least(f"(float[1,1] x, int64[2] s) => (float[A,B] y) {{ {node} }}")[1] <= 16  # computed sizes


def test_declared_shapes_count_named_dimensions_as_one() -> None:
    assert least("(float[N,30] x) => (float16[N,7,100] y) { y = Neg (x) }")[1:] == (1400, "y")
    declared = helper.make_tensor_value_info("inner", TensorProto.UINT8, [1, 9000])
    model = onnx.parser.parse_model(HEADER + "(float[N,30] x) => (float[N,30] y) { y = Neg (x) }")
    model.graph.value_info.append(declared)
    assert least_memory(model.SerializeToString(), "model").largest_bytes == 9000


def test_tensors_written_in_every_way_are_shapes() -> None:
    shape = np.array([300, 200])
    for tensor in (
        numpy_helper.from_array(shape, "s"),
        helper.make_tensor("s", TensorProto.INT64, [2], shape.tolist()),
    ):
        model = onnx.parser.parse_model(HEADER + "(float[1,1] x) => (float[A,B] y) { y = Expand (x, s) }")
        model.graph.initializer.append(tensor)
        assert least_memory(model.SerializeToString(), "model").largest_bytes == 60_000


def test_sizes_that_make_no_sense_count_nothing() -> None:
    """Negative ones, and so many that their product is no number of elements."""
    for dims in ([-1, 5], [2**62] * 10_000):
        model = helper.make_graph([], "g", [], [helper.make_tensor_value_info("y", TensorProto.FLOAT, dims)])
        least_memory(helper.make_model(model).SerializeToString(), "model")
    with pytest.raises(ArtifactCorrupt):
        least_memory(b"\x0a\xff", "model")
