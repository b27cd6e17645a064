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
from cnntk.runtime import Classifier, Engine
from cnntk.runtime.errors import ExportCheckError, ParityError, UsageError
from cnntk.verification.artifact import verify

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


def test_the_default_output_is_not_the_source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    file = Net().save(tmp_path / "m.onnx")
    content = file.read_bytes()
    assert export("m.onnx", preprocess="none").path == "m-cnntk.onnx"
    assert file.read_bytes() == content
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    assert export(file, preprocess="none").path == "m.onnx"


def test_reports_of_a_foreign_file_claim_no_float64_reference(tmp_path: Path, adopt: Callable) -> None:
    report, engine = adopt(Net().save(tmp_path / "m.onnx"))
    parity = next(check.detail for check in report.checks if check.name == "parity")
    assert re.match(r"max abs error vs the original graph \(optimizations off\) \d", parity)
    text = str([(s.headline, s.method, s.lines, s.tables, s.notes) for s in report.sections()])
    assert "vs float64" not in text
    assert "network in float64" not in text
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


def photographs(count: int) -> np.ndarray:
    return np.random.default_rng(2).integers(0, 256, (count, 12, 10, 3), dtype=np.uint8)


def test_preprocessing_before_an_old_opset(tmp_path: Path, adopt: Callable) -> None:
    report, engine = adopt(Net().save(tmp_path / "m.onnx", opset=11), preprocessing={"scale": "1/255"})
    assert report.notes[0] == "converted from opset 11 to 18: the same outputs up to rounding"
    assert (report.inputs[0].name, report.head) == ("image", "classifier")
    assert engine.run({"image": photographs(2)})["probabilities"].shape == (2, 5)


@pytest.mark.parametrize("dtype", ["float32", "uint8"])
def test_preprocessing_before_channels_last(tmp_path: Path, adopt: Callable, dtype: str) -> None:
    net = Net()
    net.inputs[0] = helper.make_tensor_value_info(
        "x0", helper.np_dtype_to_tensor_dtype(np.dtype(dtype)), ["N", 8, 8, 3]
    )
    net.nodes[:0] = [
        helper.make_node("Cast", ["x0"], ["x1"], to=1),
        helper.make_node("Transpose", ["x1"], ["x"], perm=[0, 3, 1, 2]),
    ]
    file = net.save(tmp_path / "m.onnx")
    _, engine = adopt(file, preprocessing={"scale": "1", "interpolation": "nearest"})
    assert engine.spec.preprocessing.layout == "NHWC"
    pixels = photographs(3)
    resized = pixels[:, [0, 2, 3, 5, 6, 8, 9, 11]][:, :, [0, 1, 3, 4, 5, 6, 8, 9]]
    expected = Engine(file).run({"x0": resized.astype(dtype)})["p"]
    np.testing.assert_allclose(engine.run({"image": pixels})["probabilities"], expected, atol=1e-6)


def test_a_uint8_input_takes_no_normalized_pixels(tmp_path: Path, adopt: Callable) -> None:
    net = Net()
    net.inputs[0] = helper.make_tensor_value_info("x0", onnx.TensorProto.UINT8, ["N", 3, 8, 8])
    net.nodes.insert(0, helper.make_node("Cast", ["x0"], ["x"], to=1))
    with pytest.raises(UsageError, match=r"input x0 is uint8, .*; use --preprocessing none"):
        adopt(net.save(tmp_path / "m.onnx"), preprocessing={"scale": "1/255"})


@pytest.mark.parametrize("batch", [1, 3])
def test_a_freed_batch(tmp_path: Path, adopt: Callable, batch: int) -> None:
    net = Net(batch)
    net.nodes[3] = helper.make_node("Reshape", ["g", "shape"], ["f"])
    net.weights.append(numpy_helper.from_array(np.array([batch, 4]), "shape"))
    file = net.save(tmp_path / "m.onnx")
    _, engine = adopt(file)
    assert engine.inputs[0].shape == ("N", 3, 8, 8)
    assert_same(file, engine, images(5))


@pytest.mark.parametrize("batch", [1, 3])
def test_a_batch_that_stays_fixed(tmp_path: Path, adopt: Callable, batch: int) -> None:
    net = Net(batch)
    net.nodes[3:4] = [
        helper.make_node("Flatten", ["g"], ["f0"]),
        helper.make_node("Gather", ["f0", "images"], ["f"], axis=0),
    ]
    net.weights.append(numpy_helper.from_array(np.arange(batch), "images"))
    file = net.save(tmp_path / "m.onnx")
    report, engine = adopt(file)
    assert engine.inputs[0].shape == (batch, 3, 8, 8)
    assert {row.batches for row in report.parity} == {(batch,)}
    assert ("batch invariance" in {check.name for check in report.checks}) == (batch > 1)
    x = images(5)
    expected = Engine(file).run_many({"x": x})["p"]
    np.testing.assert_allclose(engine.run_many({"x": x})["probabilities"], expected, atol=1e-6)

    report = export(file, tmp_path / "images.onnx", preprocessing={"scale": "1/255"})
    assert report.inputs[0].shape == (batch, "H", "W", "C")
    classifier, pixels = Classifier(report.path), list(photographs(5))
    together = [p.probabilities for p in classifier.many(pixels)]
    np.testing.assert_allclose(together, [classifier(each).probabilities for each in pixels], atol=1e-6)


def test_a_fixed_batch_of_images_that_see_each_other_is_refused(tmp_path: Path, adopt: Callable) -> None:
    net = Net(3)
    net.nodes[2:3] = [
        helper.make_node("ReduceMean", ["r"], ["m"], axes=[0], keepdims=1),
        helper.make_node("Add", ["r", "m"], ["s"]),
        helper.make_node("GlobalAveragePool", ["s"], ["g"]),
    ]
    with pytest.raises(ExportCheckError, match=r"an image's output changes by .* with the rest of the batch"):
        adopt(net.save(tmp_path / "m.onnx", opset=17))


SHARED = {
    "probabilities, of which the head took the logits": ({}, {"probabilities"}),
    "float16 probabilities": ({"dtype": "float16"}, {"probabilities"}),
    "a fixed batch": ({"batch": 2}, {"probabilities"}),
}


@pytest.mark.parametrize("preprocessing", [None, {"scale": "1/255"}], ids=["arrays", "images"])
@pytest.mark.parametrize("kind", SHARED)
def test_an_adopted_file_is_verified_against_its_original(
    tmp_path: Path, adopt: Callable, kind: str, preprocessing: dict[str, str] | None
) -> None:
    options, shared = SHARED[kind]
    file = Net(**options).save(tmp_path / "m.onnx")
    report, _ = adopt(file, preprocessing=preprocessing)
    result = verify(report.path, file)
    assert result.holds
    assert {check.output for check in result.comparison.outputs} == shared

    model = onnx.load(file)
    changed = numpy_helper.to_array(model.graph.initializer[1]) * np.array(1.5).astype(model_dtype(model))
    model.graph.initializer[1].CopyFrom(numpy_helper.from_array(changed, "w2"))
    onnx.save(model, tmp_path / "changed.onnx")
    assert not verify(report.path, tmp_path / "changed.onnx").holds


def model_dtype(model: onnx.ModelProto) -> np.dtype:
    return numpy_helper.to_array(model.graph.initializer[1]).dtype


def test_further_outputs_are_verified_too(tmp_path: Path, adopt: Callable) -> None:
    net = Net()
    net.nodes.append(helper.make_node("ArgMax", ["p"], ["label"], axis=1, keepdims=0))
    net.outputs.append(helper.make_tensor_value_info("label", onnx.TensorProto.INT64, ["N"]))
    report, _ = adopt(net.save(tmp_path / "m.onnx"))
    result = verify(report.path, tmp_path / "m.onnx")
    assert result.holds
    assert "label" in {check.output for check in result.comparison.outputs}


def test_two_nodes_of_one_name(tmp_path: Path, adopt: Callable) -> None:
    net = Net()
    for node in net.nodes[:2]:
        node.name = "same"
    file = net.save(tmp_path / "m.onnx", save_as_external_data=True, location="w.bin", size_threshold=0)
    _, engine = adopt(file)
    assert_same(file, engine, images(3))


@pytest.mark.parametrize("batch", ["N", 1])
def test_dropout_in_training_mode_is_removed(tmp_path: Path, adopt: Callable, batch: int | str) -> None:
    net = Net(batch)
    net.nodes[3:4] = [
        helper.make_node("Flatten", ["g"], ["f0"]),
        helper.make_node("Dropout", ["f0", "ratio", "training"], ["f"]),
    ]
    constants = {"ratio": np.float32(0.5), "training": np.array(True)}
    net.weights += [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()]
    report, engine = adopt(net.save(tmp_path / "m.onnx", opset=17), preprocessing={"scale": "1/255"})
    assert [p.name for p in report.repairs] == ["dropout"]
    assert engine.inputs[0].shape[0] == "N"
    for node in net.nodes:
        if node.op_type == "Dropout":
            del node.input[1:]
    file = net.save(tmp_path / "sound.onnx", opset=17)
    x = np.moveaxis(photographs(2)[:, :8, :8] / np.float32(255), -1, 1)
    expected = Engine(file).run_many({"x": x})["p"]
    actual = engine.run({"image": photographs(2)[:, :8, :8]})["probabilities"]
    np.testing.assert_allclose(actual, expected, atol=1e-6)
