from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from cnntk.exporters.onnx_reader import read_onnx
from cnntk.exporters.session import GraphSession
from cnntk.runtime.errors import ArtifactCorrupt, UnsupportedArtifact, UsageError

X = np.arange(6, dtype=np.float32).reshape(2, 3)


def tensor(name: str, dtype: int = TensorProto.FLOAT, shape: tuple[int | str, ...] = ("N", 3)):
    return helper.make_tensor_value_info(name, dtype, shape)


def write(path: Path, nodes: list, outputs: list, initializers: list = (), domain: str = "") -> Path:
    graph = helper.make_graph(nodes, "g", [tensor("x")], outputs, initializers)
    opsets = [helper.make_opsetid(domain, 17), helper.make_opsetid("ai.onnx.ml", 2)]
    onnx.save(helper.make_model(graph, opset_imports=opsets, ir_version=8), path)
    return path


RELU = helper.make_node("Relu", ["x"], ["y"])


def test_nodes_are_in_order_and_have_names_of_their_own(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("Neg", ["a"], ["y"], name="n"),
        helper.make_node("Relu", ["x"], ["a"], name="n"),
    ]
    model, notes = read_onnx(write(tmp_path / "m.onnx", nodes, [tensor("y")]))
    assert [node.op_type for node in model.graph] == ["Relu", "Neg"]
    assert [node.name for node in model.graph] == ["n_1", "n_2"]
    assert notes == ()
    np.testing.assert_array_equal(GraphSession(model).run({"x": X})["y"], -X)


def test_the_other_name_of_the_standard_operators(tmp_path: Path) -> None:
    node = helper.make_node("Relu", ["x"], ["y"], domain="ai.onnx")
    model, _ = read_onnx(write(tmp_path / "m.onnx", [node], [tensor("y")], domain="ai.onnx"))
    assert (model.graph.node(0).domain, model.graph.opset_imports[""]) == ("", 17)


def zipmap() -> onnx.ValueInfoProto:
    value = onnx.ValueInfoProto(name="z")
    mapping = value.type.sequence_type.elem_type.map_type
    mapping.key_type, mapping.value_type.tensor_type.elem_type = TensorProto.INT64, TensorProto.FLOAT
    return value


OTHERS = {
    "text": (
        helper.make_node("LabelEncoder", ["i"], ["z"], domain="ai.onnx.ml", keys_int64s=[0, 1, 2],
                         values_strings=["a", "b", "c"]),
        tensor("z", TensorProto.STRING, ("N",)),
    ),
    "maps": (
        helper.make_node("ZipMap", ["y"], ["z"], domain="ai.onnx.ml", classlabels_int64s=[0, 1, 2]),
        zipmap(),
    ),
    "a weight": (helper.make_node("Identity", ["y"], ["unused"]), tensor("z", shape=(2,))),
}  # fmt: skip


@pytest.mark.parametrize("kind", OTHERS)
def test_other_outputs_are_left_out(tmp_path: Path, kind: str) -> None:
    node, output = OTHERS[kind]
    argmax = helper.make_node("ArgMax", ["y"], ["i"], axis=1, keepdims=0)
    weights = [numpy_helper.from_array(np.ones(2, np.float32), "z")] if kind == "a weight" else []
    model, notes = read_onnx(write(tmp_path / "m.onnx", [RELU, argmax, node], [tensor("y"), output], weights))
    assert [v.name for v in model.graph.outputs] == ["y"]
    assert [n.op_type for n in model.graph] == ["Relu"]
    assert notes == ("outputs of text, of maps, or of weights are left out: z",)
    with pytest.raises(UsageError, match=r"m\.onnx: its outputs are no tensors of numbers: z"):
        read_onnx(write(tmp_path / "m.onnx", [RELU, argmax, node], [output], weights))


def test_sparse_weights_are_refused(tmp_path: Path) -> None:
    file = write(tmp_path / "m.onnx", [helper.make_node("Add", ["x", "w"], ["y"])], [tensor("y")])
    model = onnx.load(file)
    numbers = numpy_helper.from_array(np.ones(1, np.float32), "w")
    model.graph.sparse_initializer.append(
        helper.make_sparse_tensor(numbers, numpy_helper.from_array(np.zeros(1, np.int64), "i"), [3])
    )
    onnx.save(model, file)
    with pytest.raises(UnsupportedArtifact, match="its weight 'w' is sparse; export it with dense weights"):
        read_onnx(file)


def test_a_sparse_constant_is_refused(tmp_path: Path) -> None:
    values = numpy_helper.from_array(np.ones(1, np.float32))
    sparse = helper.make_sparse_tensor(values, numpy_helper.from_array(np.zeros(1, np.int64)), [3])
    constant = helper.make_node("Constant", [], ["y"], sparse_value=sparse)
    with pytest.raises(UnsupportedArtifact, match="does not read: Sparse tensors are not supported"):
        read_onnx(write(tmp_path / "m.onnx", [constant], [tensor("y")]))


def test_a_graph_without_outputs_is_damaged(tmp_path: Path) -> None:
    with pytest.raises(ArtifactCorrupt, match="it has no outputs or no opset"):
        read_onnx(write(tmp_path / "m.onnx", [RELU], []))
