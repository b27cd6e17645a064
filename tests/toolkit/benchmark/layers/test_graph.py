from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnx.parser
import pytest

from cnntk.benchmark.layers.graph import Weight, graph_of
from cnntk.runtime.artifact.protobuf import encode_message
from cnntk.runtime.errors import ArtifactCorrupt
from cnntk.shipped import shipped_model


@pytest.fixture
def mixed(tmp_path: Path) -> Path:
    model = onnx.parser.parse_model("""
    <ir_version: 10, opset_import: ["" : 18]>
    mixed (float[N, 2, 4] x, float[4] held) => (float[N, 2, 4] y) <float[4] held, int64[2] at = {0, 1}>
    {
        [first] z = Add (x, held)
        [second] y, index = TopK <axis = -1, largest = 1, k = 3> (z, at)
        w = Clip (x, , held)
    }
    """)
    model.graph.initializer.append(onnx.numpy_helper.from_array(np.ones(4, np.float32), "held"))
    model.graph.initializer.append(onnx.helper.make_tensor("small", onnx.TensorProto.INT4, [3], [1, 2, 3]))
    path = tmp_path / "mixed.onnx"
    path.write_bytes(model.SerializeToString())
    return path


def test_nodes_as_onnx_reads_them() -> None:
    expected = onnx.load(shipped_model()).graph
    found = graph_of(shipped_model())
    assert [(n.name, n.op, [*n.inputs], [*n.outputs]) for n in found.nodes] == [
        (n.name, n.op_type, [*n.input], [*n.output]) for n in expected.node
    ]
    assert {name: w.shape for name, w in found.weights.items()} == {
        i.name: tuple(i.dims) for i in expected.initializer
    }
    assert found.inputs == ("image",)


def test_attributes_weights_and_inputs(mixed: Path) -> None:
    found = graph_of(mixed)
    assert found.nodes[1].numbers == {"axis": -1, "largest": 1, "k": 3}
    assert found.nodes[2].inputs == ("x", "", "held")
    assert found.weights["held"] == Weight((4,), 16)
    assert found.weights["at"].size_bytes == 16
    assert found.weights["small"].size_bytes == 2  # three of four bits
    assert found.weights["small"].elements == 3
    assert found.inputs == ("x",)


def test_sizes_that_were_written_in_one_piece(tmp_path: Path) -> None:
    packed = encode_message((1, bytes([3, 0x80, 2])), (2, 1), (8, "w"))
    path = tmp_path / "packed.onnx"
    path.write_bytes(encode_message((7, encode_message((5, packed)))))
    assert graph_of(path).weights == {"w": Weight((3, 256), 3072)}


def test_what_is_no_model(tmp_path: Path) -> None:
    path = tmp_path / "text.onnx"
    path.write_text("this is no model")
    with pytest.raises(ArtifactCorrupt, match=r"text\.onnx: is no ONNX model"):
        graph_of(path)
