from pathlib import Path

import numpy as np
import onnx
import onnx.parser
import onnx_ir as ir
import pytest

from cnntk.exporters.options import ExportOptions
from cnntk.exporters.session import GraphSession
from cnntk.exporters.sources import open_source
from cnntk.exporters.sources._onnx_opset import changed_weight

SCAN = """net (float[N,3,4] x) => (float[N,3,4] y) {
    y = Scan <num_scan_inputs=1, body=step (float[4] row) => (float[4] result) { result = Neg (row) }> (, x)
}"""
"""Scan had a batch axis in opset 8, and has none since."""

IMAGES = np.random.default_rng(0).standard_normal((3, 3, 4, 4)).astype(np.float32)

OLD = {
    "axes of ReduceMean": (13, "net (float[N,3,4,4] x) => (float[N,3] y) "
                           "{ y = ReduceMean <axes=[2,3], keepdims=0> (x) }"),
    "limits of Slice": (9, "net (float[N,3,4,4] x) => (float[N,3,2,4] y) "
                        "{ y = Slice <axes=[2], starts=[1], ends=[3]> (x) }"),
    "softmax over all axes behind the first": (11, "net (float[N,3,4,4] x) => (float[N,3,4,4] y) "
                                               "{ y = Softmax <axis=1> (x) }"),
    "ratio of Dropout": (11, "net (float[N,3,4,4] x) => (float[N,3,4,4] y) { y = Dropout <ratio=0.5> (x) }"),
    "scales of Upsample": (9, "net (float[N,3,4,4] x) => (float[N,3,8,8] y) "
                           "<float[4] s = {1.0, 1.0, 2.0, 2.0}> { y = Upsample <mode=\"nearest\"> (x, s) }"),
}  # fmt: skip


def write(path: Path, body: str, opset: int) -> Path:
    head = f'<ir_version: 6, opset_import: ["" : {opset}]>'
    path.write_bytes(onnx.parser.parse_model(f"{head}\n{body}").SerializeToString())
    return path


@pytest.mark.parametrize("kind", OLD)
def test_an_older_opset_is_converted(tmp_path: Path, kind: str) -> None:
    opset, body = OLD[kind]
    source = open_source(write(tmp_path / "m.onnx", body, opset), ExportOptions())
    assert source.notes == (f"converted from opset {opset} to 18: the same outputs up to rounding",)
    assert source.original_graph.opset_imports[""] == opset
    before, after = (GraphSession(m).run({"x": IMAGES})["y"] for m in (source.original_graph, source.graph))
    np.testing.assert_allclose(after, before, rtol=1e-6)
    assert source.graph.opset_imports[""] == 18


def test_a_conversion_that_computes_something_else_is_not_used(tmp_path: Path) -> None:
    file = write(tmp_path / "m.onnx", SCAN, 8)
    source = open_source(file, ExportOptions())
    (note,) = source.notes
    assert note.startswith(
        "the graph has opset 8, and is not converted to 18: onnxruntime failed in the graph"
    )
    assert source.graph.opset_imports[""] == 8


def test_a_changed_weight_is_named(tmp_path: Path) -> None:
    body = "net (float[N,2] x) => (float[N,2] y) <float[2] w = {1.0, 2.0}, float[2] v = {3.0, 4.0}> " \
           "{ a = Mul (x, w)  y = Add (a, v) }"  # fmt: skip
    model = open_source(write(tmp_path / "m.onnx", body, 18), ExportOptions()).graph
    other = model.clone()
    assert changed_weight(model, other) is None
    other.graph.initializers["v"].const_value = ir.Tensor(np.array([3, np.nextafter(4, 5)], np.float32))
    assert changed_weight(model, other) is None  # rounds to 4
    other.graph.initializers["v"].const_value = ir.Tensor(np.nextafter(np.float32([3, 4]), np.float32(9)))
    assert changed_weight(model, other) == "v"


def test_a_newer_opset_is_left_alone(tmp_path: Path) -> None:
    body = "net (float[N,3,4,4] x) => (float[N,3,4,4] y) { y = Relu (x) }"
    source = open_source(write(tmp_path / "m.onnx", body, 21), ExportOptions())
    assert (source.notes, source.graph.opset_imports[""]) == ((), 21)
