"""The file records how it was quantized and tests itself; a file that fails is not written."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
import pytest

from cnntk.quantization import write as module
from cnntk.quantization.calibration import CalibrationData
from cnntk.quantization.candidates import Original
from cnntk.quantization.config import LayerPlan, QuantConfig, linear_layers
from cnntk.quantization.quantizer import quantize_graph
from cnntk.quantization.write import PORTABLE_TO, QuantizedFile, _portable_to, write_quantized
from cnntk.runtime.artifact.self_test import run_self_test
from cnntk.runtime.artifact.spec import ModelSpec
from cnntk.runtime.codec import decode
from cnntk.runtime.engine import Engine
from cnntk.runtime.errors import ArtifactCorrupt, ExportCheckError, ParityError, UnsupportedArtifact
from cnntk.verification.artifact import verify

STEP = 0.15


@pytest.fixture(scope="module")
def config(original: Original) -> QuantConfig:
    return QuantConfig({str(n.name): LayerPlan("int8", "to see") for n in linear_layers(original.model)})


@pytest.fixture(scope="module")
def model(original: Original, config: QuantConfig, calibration: CalibrationData) -> ir.Model:
    return quantize_graph(original.model, config, calibration)


@pytest.fixture
def written(original: Original, config: QuantConfig, model: ir.Model, tmp_path: Path) -> QuantizedFile:
    record = {"version": 1, "max_drop": 0.5}
    return write_quantized(
        original, model, tmp_path / "q.onnx", config=config, logit_step=STEP, record=record
    )


def test_the_file_is_complete(written: QuantizedFile, original: Original) -> None:
    assert verify(written.path).holds
    assert written.size_bytes == written.path.stat().st_size < 0.4 * original.size_bytes
    assert [p.name for p in written.path.parent.iterdir()] == ["q.onnx"]


def test_the_spec_records_the_quantization(
    written: QuantizedFile, original: Original, config: QuantConfig
) -> None:
    spec, before = Engine(written.path).spec, original.engine.spec
    assert spec is not None
    assert before is not None
    assert spec == written.spec
    assert spec.quantization is not None
    assert decode(QuantConfig, spec.quantization["config"], "config") == config
    assert spec.quantization["portable_to"] == PORTABLE_TO["any"]
    assert spec.quantization["max_drop"] == 0.5
    assert spec.provenance["quantized_from"] == before.digest
    assert (spec.name, spec.labels, spec.preprocessing) == (before.name, before.labels, before.preprocessing)
    assert "parity" not in spec.check_results


@pytest.mark.parametrize(("level", "named"), [(1, False), (4, True)])
def test_layers_with_activations_that_some_cpus_round_are_named(
    model: ir.Model, config: QuantConfig, level: int, named: bool
) -> None:
    dense = ir.node("MatMulNBits", [], {"accuracy_level": level}, domain="com.microsoft", name="head")
    copy = model.clone()
    assert _portable_to(config, copy) == PORTABLE_TO["any"]
    copy.graph.append(dense)
    text = _portable_to(config, copy)
    assert text.startswith(PORTABLE_TO["any"])
    assert ("; head round activations" in text) == named


def test_a_spec_without_quantization_reads_as_before(original: Original) -> None:
    spec = original.engine.spec
    assert spec is not None
    assert '"quantization"' not in spec.to_json()
    assert ModelSpec.from_json(spec.to_json(), "x") == spec


def test_layers_name_their_new_weights(written: QuantizedFile, original: Original) -> None:
    initializers = set(ir.load(written.path).graph.initializers)
    before = original.engine.spec
    assert before is not None
    for old, new in zip(before.layers, written.spec.layers, strict=True):
        assert set(new.weights) <= initializers
        assert bool(new.weights) == bool(old.weights), new.name


def test_expected_outputs_are_its_own_within_a_step(written: QuantizedFile, original: Original) -> None:
    test, before = written.spec.self_test, original.engine.spec
    assert test is not None
    assert before is not None
    assert before.self_test is not None
    for case, old in zip(test.cases, before.self_test.cases, strict=True):
        assert (case.pattern, case.seed, case.sizes) == (old.pattern, old.seed, old.sizes)
        assert case.expected != old.expected
        assert STEP <= case.bounds["logits"] <= 2 * STEP + old.bounds["logits"]
    worst = max(c.error for c in Engine(written.path).self_test().checks)
    assert worst < 1e-5


def test_the_self_test_detects_another_model(written: QuantizedFile, original: Original) -> None:
    """The negative control: by the quantized model's self-test, noise in the weights shows."""
    spec = written.spec
    spoilt = original.model.clone()
    for value in spoilt.graph.initializers.values():
        if value.const_value is not None and value.const_value.size > 1000:
            array = value.const_value.numpy()
            value.const_value = ir.Tensor(array * np.float32(1.3), name=value.name)
    from cnntk.exporters.session import GraphSession
    from cnntk.runtime.artifact.self_test import run_self_test

    result = run_self_test(GraphSession(spoilt).run, spec, "spoilt")
    assert not result.holds


def test_nothing_is_written_if_the_self_test_fails(
    original: Original, config: QuantConfig, model: ir.Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        module, "values_text", lambda array, stride: " ".join(["9"] * len(array.reshape(-1)[::stride]))
    )
    with pytest.raises(ParityError, match="the quantized file fails its self-test"):
        write_quantized(original, model, tmp_path / "q.onnx", config=config, logit_step=STEP, record={})
    assert list(tmp_path.iterdir()) == []


def test_a_changed_byte_is_detected(written: QuantizedFile) -> None:
    data = bytearray(written.path.read_bytes())
    data[len(data) // 3] ^= 1
    written.path.write_bytes(data)
    with pytest.raises(ArtifactCorrupt):
        Engine(written.path)


def test_an_original_without_a_self_test(
    original: Original, config: QuantConfig, model: ir.Model, tmp_path: Path
) -> None:
    engine = Engine(original.file)
    assert engine.spec is not None
    engine.spec = replace(engine.spec, self_test=None)
    bare = replace(original, engine=engine)
    with pytest.raises(UnsupportedArtifact, match="has no self-test"):
        write_quantized(bare, model, tmp_path / "q.onnx", config=config, logit_step=STEP, record={})


def test_weights_that_can_saturate_are_refused_for_every_cpu(
    original: Original, config: QuantConfig, calibration: CalibrationData, tmp_path: Path
) -> None:
    """The same graph, calibration and file name; all 8 bits of the weights, said to be for any CPU."""
    wide = replace(config, target="vnni")
    unsafe = quantize_graph(original.model, wide, calibration)
    with pytest.raises(ExportCheckError, match=r"can saturate 16-bit sums.*Nothing was written"):
        write_quantized(original, unsafe, tmp_path / "q.onnx", config=config, logit_step=STEP, record={})
    assert list(tmp_path.iterdir()) == []
    assert write_quantized(
        original, unsafe, tmp_path / "q.onnx", config=wide, logit_step=STEP, record={}
    ).path.exists()


def test_a_portable_file(
    original: Original, config: QuantConfig, calibration: CalibrationData, tmp_path: Path
) -> None:
    plan = replace(config, format="portable")
    graph = quantize_graph(original.model, plan, calibration)
    file = write_quantized(original, graph, tmp_path / "q.onnx", config=plan, logit_step=STEP, record={})
    assert verify(file.path).holds
    assert {o.domain for o in onnx.load(file.path).opset_import} == {""}
    assert file.spec.quantization is not None
    assert file.spec.quantization["operators"].startswith("standard ONNX operators")
    before = original.engine.spec
    assert before is not None
    counts = [sum(layer.weights != () for layer in spec.layers) for spec in (before, file.spec)]
    assert counts[0] == counts[1] > 0


def test_the_self_test_of_a_portable_file_holds_in_openvino(
    original: Original, config: QuantConfig, calibration: CalibrationData, tmp_path: Path
) -> None:
    openvino = pytest.importorskip("openvino")
    plan = replace(config, format="portable")
    graph = quantize_graph(original.model, plan, calibration)
    file = write_quantized(original, graph, tmp_path / "q.onnx", config=plan, logit_step=STEP, record={})
    scales = next(v for name, v in graph.graph.initializers.items() if name.endswith("conv2d_1_scales"))
    assert scales.const_value is not None
    scales.const_value = ir.Tensor(scales.const_value.numpy() * np.float32(2), name=scales.name)
    ir.save(graph, tmp_path / "other.onnx")

    def holds(path: Path) -> bool:
        """Of images that need no resize, whose antialias OpenVINO ignores."""
        compiled = openvino.Core().compile_model(str(path), "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
        names = [output.any_name for output in compiled.outputs]
        result = run_self_test(
            lambda inputs: dict(zip(names, compiled(inputs).values(), strict=True)), file.spec, "openvino"
        )
        checks = [check for check in result.checks if "H=16, W=16" in check.case]
        assert len(checks) > 4
        return all(check.holds for check in checks)

    assert holds(file.path)
    assert not holds(tmp_path / "other.onnx")


def test_other_operators_are_refused_in_a_portable_file(
    original: Original, config: QuantConfig, model: ir.Model, tmp_path: Path
) -> None:
    plan = replace(config, format="portable")
    with pytest.raises(ExportCheckError, match=r"com\.microsoft\..*not of the ONNX standard.*Nothing was"):
        write_quantized(original, model, tmp_path / "q.onnx", config=plan, logit_step=STEP, record={})
    assert list(tmp_path.iterdir()) == []
