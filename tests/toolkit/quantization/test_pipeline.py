"""From a file to a smaller one, with networks that were trained on digits; only the clock is not real."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import digit_nets
import numpy as np
import onnx
import pytest
from PIL import Image

from cnntk.benchmark.compare import Comparison
from cnntk.exporters import export
from cnntk.quantization import pipeline, search
from cnntk.quantization.config import QuantConfig
from cnntk.quantization.options import QuantizeOptions
from cnntk.quantization.pipeline import preview_quantize, quantize
from cnntk.runtime.classifier import Classifier
from cnntk.runtime.codec import as_json, decode
from cnntk.runtime.engine import Engine
from cnntk.runtime.errors import DataError, UnsupportedArtifact, UsageError
from cnntk.shipped import shipped_model
from cnntk.verification.artifact import verify


def clock(ratio: float) -> Callable[..., Comparison]:
    return lambda *_: Comparison(ratio, 0.99 * ratio, 1.01 * ratio, ratio, 1.0, 60)


FASTER, SLOWER = clock(2.0), clock(0.5)


@pytest.fixture
def digits(tmp_path: Path) -> Path:
    file = tmp_path / "digits.onnx"
    file.write_bytes(digit_nets.artifact())
    return file


@pytest.fixture
def output(tmp_path: Path) -> Path:
    return tmp_path / "small.onnx"


def test_faster_and_within_the_limit(digits: Path, output: Path) -> None:
    stages: list[tuple[str, int, int]] = []
    report = quantize(
        digits,
        calibration="digits",
        output=output,
        calibration_images=40,
        compare_calls=FASTER,
        progress=lambda *a: stages.append(a),
    )
    assert report.changed
    assert report.accuracy is not None
    assert report.accuracy.within(0.5)
    assert report.speed is not None
    assert report.speed.ratio == 2
    assert set(report.photograph_speeds) == {"500x375", "1920x1080"}
    assert "500x375: 2.00x faster than the original" in "\n".join(
        text for _, text in report.sections()[0].lines
    )
    assert {layer.precision for layer in report.layers} >= {"int8"}
    assert report.setup.calibration_images == 40
    assert report.size_bytes == output.stat().st_size < report.original_size_bytes
    assert verify(output).holds
    assert ("calibrating", 40, 40) in stages
    assert ("comparing outputs", 359, 359) in stages


def test_the_file_records_how_it_was_quantized(digits: Path, output: Path) -> None:
    report = quantize(
        digits, calibration="digits", output=output, calibration_images=40, compare_calls=FASTER
    )
    spec = Engine(output).spec
    assert spec is not None
    record = spec.quantization
    assert record is not None
    assert record["calibration"] == {"data": "digits", "images": 40}
    assert record["speed"]["ratio"] == 2
    assert record["speed"]["machine"] == report.setup.machine
    assert record["accuracy"]["images"] == 359
    precisions = {
        n: layer.precision for n, layer in decode(QuantConfig, record["config"], "config").layers.items()
    }
    assert precisions == {layer.node: layer.precision for layer in report.layers}
    assert report.digest == spec.digest


def test_the_prediction_is_that_of_the_original(digits: Path, output: Path) -> None:
    quantize(digits, calibration="digits", output=output, calibration_images=40, compare_calls=FASTER)
    image = np.zeros((20, 20, 3), np.uint8)
    image[4:16, 9:12] = 255
    before, after = Classifier(digits)(image).top(1)[0], Classifier(output)(image).top(1)[0]
    assert before.label == after.label


@pytest.mark.parametrize("copy", [False, True])
def test_the_original_stays_if_integers_are_slower(digits: Path, output: Path, copy: bool) -> None:
    report = quantize(
        digits, calibration="digits", output=output, calibration_images=40, compare_calls=SLOWER, copy=copy
    )
    assert not report.changed
    assert report.file_to_ship == str(digits)
    assert report.reason.startswith("speed: ")
    assert report.accuracy is None
    assert report.path == (str(output) if copy else None)
    assert output.exists() is copy
    assert not copy or output.read_bytes() == digits.read_bytes()
    assert all(layer.precision == "float32" and layer.reason for layer in report.layers)


def test_the_smallest_model_is_written_at_any_speed(digits: Path, output: Path) -> None:
    report = quantize(
        digits,
        calibration="digits",
        output=output,
        calibration_images=40,
        prefer="size",
        compare_calls=SLOWER,
    )
    assert report.changed
    assert report.size_bytes < 0.35 * report.original_size_bytes


def test_a_network_that_8_bits_damage_stays_within_the_limit(tmp_path: Path, output: Path) -> None:
    file = tmp_path / "lopsided.onnx"
    file.write_bytes(digit_nets.artifact("lopsided"))
    report = quantize(file, calibration="digits", output=output, calibration_images=40, compare_calls=FASTER)
    if report.changed:
        assert report.accuracy is not None
        assert report.accuracy.within(0.5)
    else:
        assert report.reason.startswith("accuracy: ")
    answers = [Engine(f).run({"image": np.full((1, 16, 16, 1), 200, np.uint8)}) for f in (file, output)]
    assert answers[0]["logits"].argmax() == answers[1]["logits"].argmax()


def test_without_labels_changed_predictions_are_weighed(digits: Path, output: Path, tmp_path: Path) -> None:
    folder = tmp_path / "photos"
    folder.mkdir()
    rng = np.random.default_rng(0)
    for i in range(40):
        Image.fromarray(rng.integers(0, 256, (16, 16), np.uint8)).save(folder / f"{i}.png")
    report = quantize(digits, calibration=str(folder), output=output, compare_calls=FASTER, max_drop=2)
    assert report.setup.calibration_images == 20
    assert report.candidates[0].accuracy is not None
    assert report.candidates[0].accuracy.images == 20
    assert report.candidates[0].accuracy.drop is None
    assert any("no labels" in note for note in report.notes)


def test_a_foreign_file_is_exported_first(digits: Path, output: Path, tmp_path: Path) -> None:
    file = tmp_path / "foreign.onnx"
    side = digit_nets.SIDE
    export(digit_nets.trained(), file, input_shape=(1, side, side), preprocess="none")
    model = onnx.load(file)
    del model.metadata_props[:], model.graph.node[-1], model.graph.output[-1]
    onnx.save(model, file)
    report = quantize(
        file,
        calibration="digits",
        output=output,
        calibration_images=40,
        preprocessing={"scale": "1/255"},
        compare_calls=FASTER,
    )
    assert report.changed
    assert report.accuracy is not None
    assert report.accuracy.before is not None
    assert report.accuracy.before.top1 > 90
    assert verify(output).holds
    assert {p.name for p in tmp_path.iterdir()} >= {"foreign.onnx", "small.onnx"}
    assert not [p for p in tmp_path.iterdir() if p.name.startswith(".")]


ARRAYS = {"calibration": "digits", "calibration_images": 40, "compare_calls": FASTER}


def test_an_artifact_without_preprocessing_takes_the_stated_one(tmp_path: Path, output: Path) -> None:
    """The new file states it; the original stays as it is."""
    file, side = tmp_path / "arrays.onnx", digit_nets.SIDE
    export(digit_nets.trained(), file, input_shape=(1, side, side), preprocess="none", labels="ABCDEFGHIJ")
    before = file.read_bytes()
    report = quantize(file, output=output, preprocessing="unit", **ARRAYS)
    assert report.accuracy.before.top1 > 90
    spec = Engine(output).spec
    assert spec.labels == tuple("ABCDEFGHIJ")
    assert spec.preprocessing.scale == 1 / 255
    assert verify(output).holds
    assert file.read_bytes() == before
    with pytest.raises(UnsupportedArtifact, match=r"arrays\.onnx: does not state how images become") as error:
        quantize(file, output=tmp_path / "b.onnx", **ARRAYS)
    assert error.value.missing_arguments == ("--preprocessing", "mnist")


def test_a_search_resumes(
    digits: Path, output: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "work" / "deep"
    first = quantize(
        digits,
        calibration="digits",
        output=output,
        calibration_images=40,
        work_folder=folder,
        compare_calls=FASTER,
    )
    assert {p.name for p in folder.iterdir()} == {"calibration.json", "measurements.json"}

    def compare_calls(*_: object) -> Comparison:
        raise AssertionError("timed again")

    stages: list[str] = []
    monkeypatch.setattr(pipeline, "_SAVE_INTERVAL", 1)
    again = quantize(
        digits,
        calibration="digits",
        output=output,
        calibration_images=40,
        work_folder=folder,
        force=True,
        compare_calls=compare_calls,
        progress=lambda stage, *_: stages.append(stage),
    )
    assert again.candidates == first.candidates
    assert "calibrating" not in stages
    with pytest.raises(UsageError, match="was started with calibration images 40, now it is 30"):
        quantize(
            digits,
            calibration="digits",
            output=output,
            calibration_images=30,
            work_folder=folder,
            force=True,
            compare_calls=compare_calls,
        )


def test_ctrl_c_writes_the_best_so_far(digits: Path, output: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(search, "_SMALL_SHARE", 0.5)  # so that there is a layer to try at the end
    timed: list[int] = []

    def compare_calls(*_: object) -> Comparison:
        timed.append(1)
        if len(timed) > 1:
            raise KeyboardInterrupt
        return FASTER()

    report = quantize(
        digits, calibration="digits", output=output, calibration_images=40, compare_calls=compare_calls
    )
    assert report.interrupted
    assert any("interrupted" in note for note in report.notes)
    assert verify(output).holds


def test_ctrl_c_before_any_accepted_candidate_writes_nothing(digits: Path, output: Path) -> None:
    def compare_calls(*_: object) -> Comparison:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        quantize(
            digits, calibration="digits", output=output, calibration_images=40, compare_calls=compare_calls
        )
    assert {p.name for p in output.parent.iterdir()} == {"digits.onnx"}


def test_a_quantized_artifact_is_refused(digits: Path, output: Path, tmp_path: Path) -> None:
    quantize(digits, calibration="digits", output=output, calibration_images=40, compare_calls=FASTER)
    with pytest.raises(UsageError, match="is quantized already"):
        quantize(output, calibration="digits", output=tmp_path / "twice.onnx", calibration_images=40)


def test_a_preview_writes_nothing(digits: Path, output: Path) -> None:
    report = preview_quantize(digits, calibration="digits", output=output, calibration_images=40)
    assert report.setup.labeled
    assert (report.setup.calibration_images, report.setup.evaluation_images) == (40, 359)
    assert 0 < report.min_seconds < report.max_seconds
    assert any(layer.precision == "int8" for layer in report.layers)
    assert not output.exists()
    json.dumps(as_json(report))


def test_the_report_is_json(digits: Path, output: Path) -> None:
    report = quantize(
        digits, calibration="digits", output=output, calibration_images=40, compare_calls=FASTER
    )
    data = json.loads(json.dumps(as_json(report)))
    assert data["accuracy"]["images"] == 359
    assert data["candidates"][0]["verdict"] == "accepted"
    assert data["layers"][1]["title"] == "2"


def test_folders_of_the_user_are_not_recorded() -> None:
    assert pipeline._without_folder("mnist:/home/me/data/mnist") == "mnist:mnist"
    assert pipeline._without_folder("/home/me/photos") == "photos"
    assert pipeline._without_folder("digits") == "digits"


def test_existing_files_are_not_replaced(digits: Path, output: Path) -> None:
    output.write_text("mine")
    with pytest.raises(UsageError, match="exists already; --force replaces it"):
        quantize(digits, calibration="digits", output=output)
    with pytest.raises(UsageError, match="is the model itself"):
        quantize(digits, calibration="digits", output=digits, force=True)
    assert output.read_text() == "mine"


def boxes(file: Path) -> Path:
    """The file with one output, which is no classifier's by its name."""
    model = onnx.load(file)
    del model.graph.output[1:]
    model.graph.node.append(onnx.helper.make_node("Identity", ["logits"], ["boxes"]))
    model.graph.output[0].name = "boxes"
    onnx.save(model, file.with_name("boxes.onnx"))
    return file.with_name("boxes.onnx")


def test_unsuitable_models_and_options_are_refused(digits: Path, output: Path, foreign_onnx: Path) -> None:
    with pytest.raises(
        UnsupportedArtifact,
        match="does not state how images become its input",
    ):
        quantize(foreign_onnx, calibration="digits", output=output)
    with pytest.raises(
        UnsupportedArtifact, match=r"boxes\.onnx: is not a classifier: .*named boxes\. quantize"
    ):
        quantize(boxes(foreign_onnx), calibration="digits", output=output)
    with pytest.raises(UsageError, match="no such file"):
        quantize("nothing.onnx", calibration="digits", output=output)
    with pytest.raises(UsageError, match="max_drop: expected 0 to 100"):
        quantize(digits, calibration="digits", output=output, max_drop=-1)
    with pytest.raises(UsageError, match="states its own preprocessing, with scale "):
        quantize(digits, calibration="digits", output=output, preprocessing={"scale": "1"})
    with pytest.raises(DataError, match="at least 10 are needed"):
        quantize(digits, calibration="digits", output=output, calibration_images=3)
    assert not output.exists()


def test_a_quantized_foreign_file_is_refused(digits: Path, output: Path, tmp_path: Path) -> None:
    model = onnx.parser.parse_model(
        '<ir_version: 10, opset_import: ["" : 18]>'
        "g (float[N, 1, 1, 2] x) => (float[N, 2] logits) <int8[2, 2] q = {1, 2, 3, 4}, float s = {0.5}>"
        "{ w = DequantizeLinear (q, s) f = Flatten (x) logits = MatMul (f, w) }"
    )
    file = tmp_path / "qdq.onnx"
    file.write_bytes(model.SerializeToString())
    with pytest.raises(UsageError, match="is quantized already"):
        quantize(file, calibration="digits", output=output, preprocessing={"scale": "1/255"})


WEIGHTS = np.random.default_rng(0).standard_normal((10, 16)) * 0.1

FOREIGN = {
    "float16": "g (float16[N, 1, 4, 4] x) => (float16[N, 10] logits) { f = Flatten (x) DENSE }",
    "a fixed batch": "g (float[2, 1, 4, 4] x) => (float[2, 10] logits) <int64[2] i = {0, 1}>"
    "{ t = Flatten (x) f = Gather (t, i) DENSE }",
    "open sizes": "g (float[N, 1, H, W] x) => (float[N, 10] logits) { f = Flatten (x) DENSE }",
    "integers at the input": "g (float[N, 1, 4, 4] x) => (float[N, 10] logits) "
    "<float s = {0.01}, uint8 z = {128}>"
    "{ q = QuantizeLinear (x, s, z) d = DequantizeLinear (q, s, z) f = Flatten (d) DENSE }",
}


@pytest.mark.parametrize("kind", FOREIGN)
def test_a_foreign_file_of_each_kind(tmp_path: Path, output: Path, kind: str) -> None:
    text = FOREIGN[kind].replace("DENSE", "logits = Gemm <transB = 1> (f, w)")
    model = onnx.parser.parse_model(f'<ir_version: 8, opset_import: ["" : 18]> {text}')
    dtype = np.float16 if kind == "float16" else np.float32
    model.graph.initializer.append(onnx.numpy_helper.from_array(WEIGHTS.astype(dtype), "w"))
    onnx.save(model, tmp_path / "m.onnx")
    report = quantize(
        tmp_path / "m.onnx",
        calibration="digits",
        output=output,
        calibration_images=20,
        compare_calls=FASTER,
        max_drop=100,
        preprocessing={"scale": "1/255"},
        input_shape=(1, 4, 4) if kind == "open sizes" else None,
    )
    assert report.changed
    assert verify(output).holds
    image = np.random.default_rng(1).integers(0, 256, (4, 4, 1), np.uint8)
    logits = WEIGHTS @ (image.reshape(-1) / 255)
    expected = np.exp(logits) / np.exp(logits).sum()
    np.testing.assert_allclose(Classifier(output)(image).probabilities, expected, atol=0.03)


def test_several_inputs_can_not_be_calibrated(tmp_path: Path, output: Path) -> None:
    model = onnx.parser.parse_model(
        '<ir_version: 8, opset_import: ["" : 18]>'
        "g (float[N, 1, 2, 2] x, float[N, 4] y) => (float[N, 4] logits)"
        "{ f = Flatten (x) logits = Add (f, y) }"
    )
    file, artifact, stated = tmp_path / "m.onnx", tmp_path / "artifact.onnx", {"scale": "1/255"}
    onnx.save(model, file)
    with pytest.raises(UnsupportedArtifact, match=r"takes 2 inputs \(x, y\), not one image"):
        quantize(file, calibration="digits", output=output, preprocessing=stated)
    export(file, artifact, preprocessing=stated, head="classifier")
    with pytest.raises(UnsupportedArtifact, match=r"takes several inputs \(image, y\)"):
        quantize(artifact, calibration="digits", output=output)


def test_the_shipped_lenet_becomes_small(output: Path) -> None:
    report = quantize(
        shipped_model(),
        calibration="digits",
        output=output,
        calibration_images=40,
        prefer="size",
        compare_calls=SLOWER,
    )
    assert report.size_bytes < 0.4 * report.original_size_bytes


def test_fields_replace_those_of_the_options(digits: Path, output: Path) -> None:
    options = QuantizeOptions("digits", output=output, max_drop=1.0)
    assert preview_quantize(digits, options, max_drop=2.0).setup.options == replace(options, max_drop=2.0)
    with pytest.raises(TypeError, match="limit"):
        preview_quantize(digits, options, limit=2)
