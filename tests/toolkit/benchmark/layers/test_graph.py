from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import onnx
import onnx.parser
import onnxruntime
import pytest

from cnntk.benchmark.layers._graph import Weight, build_model, read_graph
from cnntk.benchmark.memory import _ONE_NODE_MODEL
from cnntk.runtime.errors import ArtifactCorrupt, MissingDependency
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
    graph = read_graph(shipped_model())
    assert [(n.name, n.op_type, [*n.inputs], [*n.outputs]) for n in graph.nodes] == [
        (n.name, n.op_type, [*n.input], [*n.output]) for n in expected.node
    ]
    assert {name: w.shape for name, w in graph.weights.items()} == {
        i.name: tuple(i.dims) for i in expected.initializer
    }
    assert graph.inputs == ("image",)


def test_attributes_weights_and_inputs(mixed: Path) -> None:
    graph = read_graph(mixed)
    assert graph.nodes[1].int_attributes == {"axis": -1, "largest": 1, "k": 3}
    assert graph.nodes[2].inputs == ("x", "", "held")
    assert graph.weights["held"] == Weight((4,), 16)
    assert graph.weights["at"].size_bytes == 16
    assert graph.weights["small"].size_bytes == 2  # three of four bits
    assert graph.weights["small"].elements == 3
    assert graph.inputs == ("x",)


def test_what_is_no_model(tmp_path: Path) -> None:
    path = tmp_path / "text.onnx"
    path.write_text("this is no model")
    with pytest.raises(ArtifactCorrupt, match=r"text\.onnx: not a valid ONNX file"):
        read_graph(path)


def run(model: bytes, **inputs: np.ndarray) -> np.ndarray:
    session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    return session.run(None, inputs)[0]


def test_onnxruntime_runs_a_model_that_was_built() -> None:
    weight = np.arange(3 * 2 * 3 * 3, dtype=np.float32).reshape(3, 2, 3, 3)
    attributes = "pads = [1, 1, 0, 0], strides = [2, 2], group = 1"
    graph = f"g (float[1,2,4,4] x) => (float[1,3,2,2] y) {{ y = Conv <{attributes}> (x, w) }}"
    model = build_model(graph, {"w": weight})
    onnx.checker.check_model(onnx.load_from_string(model), full_check=True)
    x = np.zeros((1, 2, 4, 4), np.float32)
    x[0, :, 1, 1] = 1  # the window that begins at (-1, -1) sees it in its last position
    np.testing.assert_array_equal(run(model, x=x)[0, :, 0, 0], weight[:, :, 2, 2].sum(axis=1))


def test_operators_of_onnxruntime() -> None:
    model = build_model("g (float[1] x) => (float[1] y) { y = com.microsoft.Gelu (x) }")
    assert run(model, x=np.zeros(1, np.float32)) == 0


def test_the_model_that_memory_is_measured_with() -> None:
    assert run(_ONE_NODE_MODEL, x=np.ones(1, np.float32)) == 1
    onnx.checker.check_model(onnx.load_from_string(_ONE_NODE_MODEL), full_check=True)


def test_without_onnx(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "onnx", None)
    with pytest.raises(MissingDependency, match=r"--layers needs onnx.*pip install onnx"):
        read_graph(shipped_model())
