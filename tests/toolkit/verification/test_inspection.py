import json
from dataclasses import replace
from pathlib import Path

import onnx
import onnx.parser
import pytest

from cnntk import inspect
from cnntk.exporters import export
from cnntk.runtime.artifact.spec import METADATA_KEY, ModelSpec
from cnntk.runtime.codec import as_json
from cnntk.shipped import shipped_checkpoint


@pytest.fixture
def checked_onnx(tiny_onnx: Path) -> Path:
    """An artifact whose spec holds the results of the export's checks."""
    model = onnx.load(tiny_onnx)
    (entry,) = (p for p in model.metadata_props if p.key == METADATA_KEY)
    spec = ModelSpec.from_json(entry.value, "tiny")
    lint = {"warnings": ["flat: odd"], "peak_activation_bytes": 128, "peak_layer": "flat", "later": 1}
    origins = {"fc, bn (batch norm, after layer)": ["fc.weight", "fc.bias"]}
    results = {"graph_lint": lint, "weight_origins": origins}
    entry.value = replace(spec, check_results=results).to_json()
    onnx.save(model, tiny_onnx)
    return tiny_onnx


def test_a_foreign_file_is_read_with_onnx(foreign_onnx: Path) -> None:
    result = inspect(foreign_onnx)
    assert [layer.op for layer in result.layers] == ["Flatten", "Gemm", "Softmax"]
    assert result.parameters == 16 * 3 + 3
    assert result.multiply_adds == 16 * 3
    assert result.peak_activation_bytes == 64 + 3 * 4
    assert result.warnings == ()
    assert result.spec is None
    json.dumps(as_json(result))


def test_a_graph_that_only_onnxruntime_accepts_has_no_layers(tmp_path: Path) -> None:
    """A constant with two values, which ONNX forbids."""
    model = onnx.parser.parse_model(
        """<ir_version: 10, opset_import: ["": 18]> g (float[N] x) => (z, y)
        { z = Relu (x) y = Constant <value_float = 0.5, value_int = 2> () }"""
    )
    file = tmp_path / "odd.onnx"
    file.write_bytes(model.SerializeToString())
    result = inspect(file)
    assert result.layers == ()
    assert any("its layers can't be read" in note for note in result.notes)


def test_an_artifact_describes_itself(tiny_onnx: Path) -> None:
    result = inspect(tiny_onnx)
    assert result.spec.labels == ("dark", "light", "left")
    assert result.notes == ()
    assert result.size_bytes == tiny_onnx.stat().st_size
    assert (result.warnings, result.peak_activation_bytes) == ((), None)


def test_results_of_the_export_are_read_from_the_spec(checked_onnx: Path) -> None:
    result = inspect(checked_onnx)
    assert result.warnings == ("flat: odd",)
    assert result.peak_activation_bytes == 128
    (weights,) = (section for section in result.sections() if section.title == "Weights")
    assert weights.lines[0] == ("", "fc.weight, fc.bias: fc, bn (batch norm, after layer)")
    json.dumps(as_json(result))


def test_sizes_of_a_file_for_devices(tmp_path: Path) -> None:
    """The input line has the fixed sizes, and the reader learns that images are resized before."""
    file = tmp_path / "fixed.onnx"
    export(shipped_checkpoint(), file, batch=2, static_size=True, opset=13)
    lines = dict(inspect(file).sections()[0].lines)
    assert lines["input"] == "image: uint8 2x28x28x1"
    assert lines["output"].startswith("logits: float32 2x10")
    assert lines["preprocessing"].startswith("the app resizes images to the input's size, the rest is inside")
    assert lines["format"].startswith("ONNX opset 13, IR ")
