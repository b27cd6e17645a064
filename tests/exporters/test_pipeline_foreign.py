"""ONNX files that other tools wrote, through the whole export: each is its own reference."""

import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from onnx import helper, numpy_helper

from cnntk.exporters import ExportReport, export
from cnntk.exporters._prepare import prepare
from cnntk.exporters.checks._candidate import Check
from cnntk.exporters.checks._parity import check_parity
from cnntk.exporters.checks.reference import reference_outputs
from cnntk.exporters.options import ExportOptions
from cnntk.exporters.session import GraphSession
from cnntk.exporters.sources import open_source
from cnntk.runtime import Engine
from cnntk.runtime.errors import ParityError

RNG = np.random.default_rng(3)


def weight(name: str, *shape: int, dtype: str = "float32") -> onnx.TensorProto:
    return numpy_helper.from_array((RNG.standard_normal(shape) * 0.3).astype(dtype), name)


class Net:
    """A convolution, a mean and a dense layer that end in a softmax, as parts that tests change."""

    def __init__(self, batch: int | str = "N", size: Sequence[int | str] = (8, 8), dtype: str = "float32"):
        self.type = helper.np_dtype_to_tensor_dtype(np.dtype(dtype))
        self.weights = [weight("w1", 4, 3, 3, 3, dtype=dtype), weight("w2", 4, 5, dtype=dtype)]
        self.nodes = [
            helper.make_node("Conv", ["x", "w1"], ["c"], pads=[1] * 4, strides=[2, 2]),
            helper.make_node("Relu", ["c"], ["r"]),
            helper.make_node("GlobalAveragePool", ["r"], ["g"]),
            helper.make_node("Flatten", ["g"], ["f"]),
            helper.make_node("Gemm", ["f", "w2"], ["y"]),
            helper.make_node("Softmax", ["y"], ["p"], axis=1),
        ]
        self.inputs = [helper.make_tensor_value_info("x", self.type, [batch, 3, *size])]
        self.outputs = [helper.make_tensor_value_info("p", self.type, [batch, 5])]

    def save(self, path: Path, opset: int = 18, ir_version: int = 8, **options: Any) -> Path:
        graph = helper.make_graph(self.nodes, "g", self.inputs, self.outputs, self.weights)
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)])
        model.ir_version = ir_version
        onnx.save(model, path, **options)
        return path


@pytest.fixture
def adopt(tmp_path: Path) -> Callable[..., tuple[ExportReport, Engine]]:
    """Exports a file and returns the report and an engine of the artifact."""

    def run(file: Path, **options: Any) -> tuple[ExportReport, Engine]:
        report = export(file, tmp_path / "adopted.onnx", **options)
        return report, Engine(report.path)

    return run


def images(count: int, *shape: int) -> np.ndarray:
    return np.random.default_rng(1).standard_normal((count, *(shape or (3, 8, 8)))).astype(np.float32)


def assert_same(file: Path, adopted: Engine, x: np.ndarray, output: str = "p") -> None:
    original = Engine(file)
    name = original.inputs[0].name
    expected = original.run_many({name: x})[output]
    for count in (1, 2, len(x)):
        actual = adopted.run_many({name: x}, batch_size=count)["probabilities"]
        np.testing.assert_allclose(actual, expected, atol=1e-6)


def test_a_file_that_no_pass_changes_is_its_own_reference(tmp_path: Path, adopt: Callable) -> None:
    file = Net().save(tmp_path / "m.onnx")
    report, engine = adopt(file)
    assert [p.name for p in report.passes if p.status == "applied"] == []
    assert {row.output for row in report.parity} == {"logits", "probabilities"}
    assert_same(file, engine, images(3))


def test_reports_of_a_foreign_file_claim_no_float64_reference(tmp_path: Path, adopt: Callable) -> None:
    report, engine = adopt(Net().save(tmp_path / "m.onnx"))
    parity = next(check.detail for check in report.checks if check.name == "parity")
    assert re.match(r"max abs error vs the original graph \(optimizations off\) \d", parity)
    text = str([(s.headline, s.method, s.lines, s.tables, s.notes) for s in report.sections()])
    assert "float64" not in text
    assert {row["reference"] for row in engine.spec.check_results["parity"]} == {
        "the original graph (optimizations off)"
    }


def test_weights_that_are_all_outside_of_the_file(tmp_path: Path, adopt: Callable) -> None:
    file = Net().save(tmp_path / "m.onnx", save_as_external_data=True, location="w.bin", size_threshold=0)
    report, engine = adopt(file)
    assert report.data is None
    assert_same(file, engine, images(3))


def test_a_changed_weight_is_found(tmp_path: Path) -> None:
    file, options = Net().save(tmp_path / "m.onnx"), ExportOptions()
    candidate = prepare(open_source(file, options), options).candidate
    expected = reference_outputs(candidate.reference, candidate.inputs, candidate.eps)

    def check() -> Check:
        run = GraphSession(candidate.model).run
        return check_parity(replace(candidate, run=run, wait_for_reference=lambda: expected))

    check()
    changed = candidate.model.graph.initializers["w2"]
    changed.const_value = ir.Tensor(changed.const_value.numpy() * np.float32(1.01))
    with pytest.raises(ParityError, match=r"differs from the original graph \(optimizations off\) by .*Gemm"):
        check()
