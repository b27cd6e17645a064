"""A file with another temperature: probabilities change as the formula says, and nothing else does."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from torch import nn

from cnntk.exporters import export
from cnntk.exporters._head import add_head, add_temperature
from cnntk.exporters.session import GraphSession
from cnntk.exporters.temperature import write_with_temperature
from cnntk.runtime import Engine
from cnntk.runtime.artifact.spec import METADATA_KEY, ModelSpec
from cnntk.runtime.errors import ArtifactCorrupt, ExportCheckError, ParityError, UnsupportedArtifact
from cnntk.shipped import shipped_model
from cnntk.verification.artifact import verify

LENET = shipped_model()
RECORD = {"data": "digits", "images": 359, "ece_before": 0.2, "ece_after": 0.1}
IMAGES = np.random.default_rng(0).integers(0, 256, (5, 28, 28, 1), np.uint8)


def softmax(logits: np.ndarray) -> np.ndarray:
    e = np.exp(logits.astype(np.float64) - logits.max(1, keepdims=True))
    return np.asarray(e / e.sum(1, keepdims=True))


@pytest.mark.parametrize("temperature", [0.1, 1.7, 12.0])
def test_only_probabilities_change(temperature: float, tmp_path: Path) -> None:
    spec = write_with_temperature(LENET, tmp_path / "t.onnx", temperature, RECORD)
    before, after = (Engine(f).run({"image": IMAGES}) for f in (LENET, tmp_path / "t.onnx"))
    np.testing.assert_array_equal(before["logits"], after["logits"])
    expected = softmax(before["logits"] / temperature)
    np.testing.assert_allclose(after["probabilities"], expected, atol=1e-6)
    assert np.abs(after["probabilities"] - before["probabilities"]).max() > 1e-3
    assert spec.provenance["calibration"] == {"temperature": temperature, **RECORD}
    written = Engine(tmp_path / "t.onnx").spec
    assert written is not None
    assert written.digest == spec.digest != Engine(LENET).spec.digest  # type: ignore[union-attr]
    assert [layer.op for layer in written.layers][-3:] == ["Gemm", "Div", "Softmax"]


def test_the_file_verifies_and_a_changed_temperature_is_noticed(tmp_path: Path) -> None:
    file = tmp_path / "t.onnx"
    write_with_temperature(LENET, file, 2.0, RECORD)
    result = verify(file, LENET)
    assert result.holds
    assert result.digest == "holds"
    assert result.comparison is not None
    assert {check.output for check in result.comparison.outputs} == {"logits"}
    damaged = file.read_bytes().replace(np.float32(2).tobytes(), np.float32(3).tobytes())
    assert damaged != file.read_bytes()
    file.write_bytes(damaged)
    with pytest.raises(ArtifactCorrupt):
        Engine(file)


def test_the_self_test_notices_another_temperature(tmp_path: Path) -> None:
    """Without a digest, too: the renewed self-test has a bound that 5 % of the temperature exceed."""
    file = tmp_path / "t.onnx"
    write_with_temperature(LENET, file, 2.0, RECORD)
    model = onnx.load(file)
    node = next(n for n in model.graph.node if n.op_type == "Constant" and "temperature" in n.output[0])
    node.attribute[0].t.CopyFrom(onnx.numpy_helper.from_array(np.array(2.1, np.float32)))
    entry = next(p for p in model.metadata_props if p.key == METADATA_KEY)
    entry.value = replace(ModelSpec.from_json(entry.value, "t"), digest="", fingerprints={}).to_json()
    onnx.save(model, tmp_path / "other.onnx")
    result = Engine(tmp_path / "other.onnx").self_test()
    assert [check.output for check in result.worst if not check.holds] == ["probabilities"]


def test_a_second_temperature_replaces_the_first(tmp_path: Path) -> None:
    write_with_temperature(LENET, tmp_path / "a.onnx", 3.0, RECORD)
    write_with_temperature(tmp_path / "a.onnx", tmp_path / "b.onnx", 2.0, RECORD)
    write_with_temperature(LENET, tmp_path / "c.onnx", 2.0, RECORD)
    b, c = (ir.load(tmp_path / name).graph for name in ("b.onnx", "c.onnx"))
    assert [node.op_type for node in b] == [node.op_type for node in c]
    specs = [Engine(tmp_path / name).spec for name in ("b.onnx", "c.onnx")]
    assert specs[0] is not None
    assert specs[1] is not None
    assert specs[0].layers == specs[1].layers


def test_a_network_that_returns_probabilities_only() -> None:
    """Its logits are a logarithm, which stays."""
    text = "s = Sigmoid(x)  t = ReduceSum<keepdims = 1>(s, axes)  y = Div(s, t)"
    model = ir.from_onnx_text(
        '<ir_version: 10, opset_import: ["" : 18]> g (float[N,3] x) => (float[N,3] y)'
        f" <int64[1] axes = {{1}}> {{ {text} }}"
    )
    x = np.random.default_rng(0).normal(size=(8, 3)).astype(np.float32)
    s = 1 / (1 + np.exp(-x.astype(np.float64)))
    add_head(model, "classifier", None, values={"y": (s / s.sum(1, keepdims=True)).astype(np.float32)})
    before = GraphSession(model).run({"x": x})
    add_temperature(model, 2.5)
    after = GraphSession(model).run({"x": x})
    np.testing.assert_array_equal(before["logits"], after["logits"])
    np.testing.assert_allclose(after["probabilities"], softmax(before["logits"] / 2.5), atol=1e-6)


def test_a_model_without_logits() -> None:
    model = ir.from_onnx_text(
        '<ir_version: 10, opset_import: ["" : 18]> g (float[N,3] x) => (float[N,3] probabilities)'
        " { probabilities = Softmax(x) }"
    )
    with pytest.raises(UnsupportedArtifact, match="outputs logits and probabilities"):
        add_temperature(model, 2.0)


def test_nothing_is_written_where_the_check_fails(tmp_path: Path) -> None:
    def refuse(file: Path) -> None:
        assert Engine(file).self_test().holds
        raise ExportCheckError("no")

    with pytest.raises(ExportCheckError, match="no"):
        write_with_temperature(LENET, tmp_path / "t.onnx", 2.0, RECORD, refuse)
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_fails_its_own_self_test(tmp_path: Path) -> None:
    """Logits beyond their bounds: what was exported is not what the file computes."""
    model = onnx.load(LENET)
    weight = next(w for w in model.graph.initializer if w.name == "11.bias")
    weight.CopyFrom(onnx.numpy_helper.from_array(onnx.numpy_helper.to_array(weight) + 1, "11.bias"))
    entry = next(p for p in model.metadata_props if p.key == METADATA_KEY)
    entry.value = replace(ModelSpec.from_json(entry.value, "x"), digest="", fingerprints={}).to_json()
    onnx.save(model, tmp_path / "x.onnx")
    with pytest.raises(ParityError, match="fails its self-test: logits"):
        write_with_temperature(tmp_path / "x.onnx", tmp_path / "t.onnx", 2.0, RECORD)
    assert not (tmp_path / "t.onnx").exists()


def test_a_model_with_a_data_file(tmp_path: Path) -> None:
    net = nn.Sequential(nn.Flatten(), nn.Linear(3 * 28 * 28, 8)).eval()
    options = {"input_shape": (3, 28, 28), "preprocessing": {"scale": "1/255"}}
    export(net, tmp_path / "big.onnx", external_data=True, **options)
    (tmp_path / "other").mkdir()
    spec = write_with_temperature(tmp_path / "big.onnx", tmp_path / "other" / "t.onnx", 2.0, RECORD)
    assert spec.data is not None
    assert {f.name for f in (tmp_path / "other").iterdir()} == {"t.onnx", spec.data.file}
    assert verify(tmp_path / "other" / "t.onnx").holds
