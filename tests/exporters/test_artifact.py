import hashlib
from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from torch import nn

from cnntk.exporters.artifact import append_spec, write_graph, write_hashed
from cnntk.exporters.capture import capture
from cnntk.exporters.source import Source
from cnntk.runtime.artifact.spec import ModelSpec, TensorSpec
from cnntk.runtime.engine import Engine
from cnntk.runtime.errors import ArtifactCorrupt

INPUTS = (TensorSpec("input", "float32", ("N", 3, 8, 8)),)
SPEC = ModelSpec("small", ("a",) * 5, INPUTS)
NOTES = ("pkg.torch", "namespace")


@pytest.fixture(scope="module")
def small_graph() -> ir.Model:
    network = nn.Sequential(
        nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 6 * 6, 5)
    )
    return capture(Source("small", INPUTS, network.eval())).model


def without_notes(model: ir.Model) -> onnx.ModelProto:
    proto = ir.to_proto(model)
    for message in (proto, proto.graph, *proto.graph.node, *proto.graph.value_info):
        remaining = [p for p in message.metadata_props if not p.key.startswith(NOTES)]
        del message.metadata_props[:]
        message.metadata_props.extend(remaining)
    return proto


def test_the_file_is_what_protobuf_would_have_written(small_graph: ir.Model, tmp_path: Path) -> None:
    path = tmp_path / "m.onnx"
    write_graph(small_graph, path)
    result, expected = onnx.load(path), without_notes(small_graph)
    for part in ("input", "output", "node", "initializer", "name"):
        assert getattr(result.graph, part) == getattr(expected.graph, part)
    for part in ("ir_version", "opset_import", "producer_name"):
        assert getattr(result, part) == getattr(expected, part)
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
    result = ir.load(path).graph.initializers["w"].const_value
    assert result.dtype == kind
    assert np.array_equal(result.numpy().astype(np.int64), values)


def test_no_path_of_the_users_machine_stays_in_the_file(small_graph: ir.Model, tmp_path: Path) -> None:
    assert any("stack_trace" in key for node in small_graph.graph for key in node.metadata_props)
    before = [dict(node.metadata_props) for node in small_graph.graph]
    write_graph(small_graph, tmp_path / "m.onnx")
    assert b".py" not in (tmp_path / "m.onnx").read_bytes()
    assert [dict(node.metadata_props) for node in small_graph.graph] == before


def test_notes_inside_branches_go_too(tmp_path: Path) -> None:
    text = """<ir_version: 10, opset_import: ["": 18]>
    g (bool c, float[N] x) => (float[N] y) {
      y = If (c) <then_branch = t () => (float[N] a) { a = Neg (x) },
                  else_branch = e () => (float[N] b) { b = Identity (x) }>
    }"""
    model = ir.from_onnx_text(text)
    for branch in ("then_branch", "else_branch"):
        for node in model.graph[0].attributes[branch].as_graph():
            node.metadata_props["pkg.torch.onnx.stack_trace"] = "secret.py"
    write_graph(model, tmp_path / "m.onnx")
    assert b"secret" not in (tmp_path / "m.onnx").read_bytes()


def test_the_spec_is_appended(small_graph: ir.Model, tmp_path: Path) -> None:
    path = tmp_path / "m.onnx"
    written = write_hashed(small_graph, path)
    before = path.read_bytes()
    assert Engine(path).spec is None
    assert written.sha256.digest() == hashlib.sha256(before).digest()
    spec = append_spec(path, SPEC, written)
    assert Engine(path).spec == spec
    assert set(spec.fingerprints) == {"", *small_graph.graph.initializers}
    assert path.read_bytes().startswith(before)


def test_hashing_changes_nothing(small_graph: ir.Model, tmp_path: Path) -> None:
    write_graph(small_graph, tmp_path / "a.onnx")
    write_hashed(small_graph, tmp_path / "b.onnx")
    assert (tmp_path / "a.onnx").read_bytes() == (tmp_path / "b.onnx").read_bytes()


def test_without_hashes_the_file_is_read_again(small_graph: ir.Model, tmp_path: Path) -> None:
    path = tmp_path / "m.onnx"
    write_graph(small_graph, path)
    spec = append_spec(path, SPEC)
    assert spec.fingerprints == {}
    assert Engine(path).spec == spec
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    with pytest.raises(ArtifactCorrupt, match="embedded digest"):
        Engine(bytes(data))


def test_a_file_that_changed_meanwhile_is_not_sealed_as_sound(small_graph: ir.Model, tmp_path: Path) -> None:
    """The digest is of what was meant to be written, so a faulty disk is detected when the file is opened."""
    path = tmp_path / "m.onnx"
    written = write_hashed(small_graph, path)
    data = bytearray(path.read_bytes())
    data[-100] ^= 1
    path.write_bytes(data)
    append_spec(path, SPEC, written)
    with pytest.raises(ArtifactCorrupt):
        Engine(path)
