from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from torch import nn

from cnntk.exporters.artifact import append_spec, write_graph
from cnntk.exporters.capture import capture
from cnntk.runtime.engine import Engine
from cnntk.runtime.spec import ModelSpec, TensorSpec

SPEC = ModelSpec("small", ("a",) * 5, (TensorSpec("input", "float32", ("N", 3, 8, 8)),))


def test_the_file_is_what_protobuf_would_have_written(small_cnn: nn.Module, tmp_path: Path) -> None:
    model = capture(small_cnn, (3, 8, 8), "input")
    path = tmp_path / "m.onnx"
    write_graph(model, path)
    found, expected = onnx.load(path), ir.to_proto(model)
    for part in ("input", "output", "node", "initializer", "name"):
        assert getattr(found.graph, part) == getattr(expected.graph, part)
    for part in ("ir_version", "opset_import", "producer_name"):
        assert getattr(found, part) == getattr(expected, part)
    onnx.checker.check_model(path, full_check=True)


@pytest.mark.parametrize(
    "dtype", ["FLOAT", "DOUBLE", "FLOAT16", "BFLOAT16", "INT64", "INT8", "UINT8", "BOOL", "INT4"]
)
def test_weights_of_every_type(dtype: str, tmp_path: Path) -> None:
    kind = ir.DataType[dtype]
    values = np.array([[0, 1, 1], [1, 0, 1]])
    weight = ir.Tensor(values.astype(kind.numpy()), dtype=kind, name="w")
    value = ir.Value(name="w", const_value=weight, shape=weight.shape, type=ir.TensorType(kind))
    node = ir.node("Identity", [value], name="n")
    node.outputs[0].name = "y"
    graph = ir.Graph([], node.outputs, nodes=[node], initializers=[value], opset_imports={"": 21}, name="g")
    path = tmp_path / "m.onnx"
    write_graph(ir.Model(graph, ir_version=10), path)
    found = ir.load(path).graph.initializers["w"].const_value
    assert found.dtype == kind
    assert np.array_equal(found.numpy().astype(np.int64), values)


def test_no_path_of_the_users_machine_stays_in_the_file(small_cnn: nn.Module, tmp_path: Path) -> None:
    model = capture(small_cnn, (3, 8, 8), "input")
    assert any("stack_trace" in key for node in model.graph for key in node.metadata_props)
    write_graph(model, tmp_path / "m.onnx")
    assert b".py" not in (tmp_path / "m.onnx").read_bytes()


def test_the_spec_is_appended(small_cnn: nn.Module, tmp_path: Path) -> None:
    path = tmp_path / "m.onnx"
    write_graph(capture(small_cnn, (3, 8, 8), "input"), path)
    before = path.read_bytes()
    assert Engine(path).spec is None
    append_spec(path, SPEC)
    assert Engine(path).spec == SPEC
    assert path.read_bytes().startswith(before)
