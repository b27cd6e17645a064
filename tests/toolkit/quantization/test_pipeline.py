"""From a file to a smaller one, on networks that were trained on digits; only the clock is given."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import digit_nets
import numpy as np
import onnx
import pytest
from PIL import Image

from cnntk.benchmark.compare import Comparison
from cnntk.exporters import export
from cnntk.quantization import pipeline as quantizing
from cnntk.quantization import search
from cnntk.quantization.config import Recipe
from cnntk.quantization.pipeline import preview_quantize, quantize
from cnntk.runtime.classifier import Classifier
from cnntk.runtime.engine import Engine
from cnntk.runtime.errors import DataError, UnsupportedArtifact, UsageError
from cnntk.shipped import shipped_model
from cnntk.verification.artifact import verify


def given(ratio: float) -> Callable[..., Comparison]:
    return lambda *_: Comparison(ratio, 0.99 * ratio, 1.01 * ratio, ratio, 1.0, 60)


FASTER, SLOWER = given(2.0), given(0.5)


@pytest.fixture
def digits(tmp_path: Path) -> Path:
    file = tmp_path / "digits.onnx"
    file.write_bytes(digit_nets.artifact())
    return file


@pytest.fixture
def output(tmp_path: Path) -> Path:
    return tmp_path / "small.onnx"


def test_faster_and_within_the_bound(digits: Path, output: Path) -> None:
    told: list[tuple[str, int, int]] = []
    found = quantize(
        digits, "digits", output=output, limit=40, racing=FASTER, progress=lambda *a: told.append(a)
    )
    assert found.changed
    assert found.accuracy is not None
    assert found.accuracy.within(0.5)
    assert found.race is not None
    assert found.race.ratio == 2
    assert {layer.kind for layer in found.layers} >= {"int8"}
    assert found.setting.calibration_images == 40
    assert found.size_bytes == output.stat().st_size < found.original_size_bytes
    assert verify(output).holds
    assert ("calibrating", 40, 40) in told
    assert ("comparing answers", 359, 359) in told


def test_the_file_says_how_it_was_made(digits: Path, output: Path) -> None:
    found = quantize(digits, "digits", output=output, limit=40, racing=FASTER)
    spec = Engine(output).spec
    assert spec is not None
    record = spec.quantization
    assert record is not None
    assert record["calibration"] == {"data": "digits", "images": 40}
    assert record["speed"]["ratio"] == 2
    assert record["speed"]["machine"] == found.setting.machine
    assert record["accuracy"]["images"] == 359
    kinds = {n: layer.kind for n, layer in Recipe.from_json(record["recipe"]).layers.items()}
    assert kinds == {layer.node: layer.kind for layer in found.layers}
    assert found.digest == spec.digest


def test_it_answers_as_the_original_does(digits: Path, output: Path) -> None:
    quantize(digits, "digits", output=output, limit=40, racing=FASTER)
    image = np.zeros((20, 20, 3), np.uint8)
    image[4:16, 9:12] = 255
    before, after = Classifier(digits)(image).top(1)[0], Classifier(output)(image).top(1)[0]
    assert before.label == after.label


def test_what_is_slower_stays_as_it_was(digits: Path, output: Path) -> None:
    found = quantize(digits, "digits", output=output, limit=40, racing=SLOWER)
    assert not found.changed
    assert found.reason.startswith("speed: ")
    assert found.accuracy is None
    assert output.read_bytes() == digits.read_bytes()
    assert all(layer.kind == "float32" and layer.reason for layer in found.layers)


def test_size_is_had_at_any_speed(digits: Path, output: Path) -> None:
    found = quantize(digits, "digits", output=output, limit=40, prefer="size", racing=SLOWER)
    assert found.changed
    assert found.size_bytes < 0.35 * found.original_size_bytes


def test_a_network_that_8_bits_ruin_stays_within_the_bound(tmp_path: Path, output: Path) -> None:
    file = tmp_path / "lopsided.onnx"
    file.write_bytes(digit_nets.artifact("lopsided"))
    found = quantize(file, "digits", output=output, limit=40, racing=FASTER)
    if found.changed:
        assert found.accuracy is not None
        assert found.accuracy.within(0.5)
    else:
        assert found.reason.startswith("accuracy: ")
    answers = [Engine(f).run({"image": np.full((1, 16, 16, 1), 200, np.uint8)}) for f in (file, output)]
    assert answers[0]["logits"].argmax() == answers[1]["logits"].argmax()


def test_without_labels_flips_are_weighed(digits: Path, output: Path, tmp_path: Path) -> None:
    folder = tmp_path / "photos"
    folder.mkdir()
    rng = np.random.default_rng(0)
    for i in range(40):
        Image.fromarray(rng.integers(0, 256, (16, 16), np.uint8)).save(folder / f"{i}.png")
    found = quantize(digits, str(folder), output=output, racing=FASTER, max_drop=2)
    assert found.setting.calibration_images == 20
    assert found.path_steps[0].accuracy is not None
    assert found.path_steps[0].accuracy.images == 20
    assert found.path_steps[0].accuracy.drop is None
    assert any("no labels" in note for note in found.notes)


def test_somebody_elses_file_is_adopted_first(digits: Path, output: Path, tmp_path: Path) -> None:
    file = tmp_path / "foreign.onnx"
    side = digit_nets.SIDE
    export(digit_nets.trained(), file, input_shape=(1, side, side), preprocess="none")
    model = onnx.load(file)
    del model.metadata_props[:], model.graph.node[-1], model.graph.output[-1]
    onnx.save(model, file)
    found = quantize(file, "digits", output=output, limit=40, image={"scale": "1/255"}, racing=FASTER)
    assert found.changed
    assert found.accuracy is not None
    assert found.accuracy.before is not None
    assert found.accuracy.before.top1 > 90
    assert verify(output).holds
    assert {p.name for p in tmp_path.iterdir()} >= {"foreign.onnx", "small.onnx"}
    assert not [p for p in tmp_path.iterdir() if p.name.startswith(".")]


def test_a_search_goes_on_where_it_was_stopped(
    digits: Path, output: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "work" / "deep"
    first = quantize(digits, "digits", output=output, limit=40, work_folder=folder, racing=FASTER)
    assert {p.name for p in folder.iterdir()} == {"calibration.json", "trials.json"}

    def racing(*_: object) -> Comparison:
        raise AssertionError("raced again")

    told: list[str] = []
    monkeypatch.setattr(quantizing, "_SAVED_EVERY", 1)
    again = quantize(
        *(digits, "digits"),
        output=output,
        limit=40,
        work_folder=folder,
        force=True,
        racing=racing,
        progress=lambda what, *_: told.append(what),
    )
    assert [s.to_json() for s in again.path_steps] == [s.to_json() for s in first.path_steps]
    assert "calibrating" not in told
    with pytest.raises(UsageError, match="was begun with calibration images 40, now it is 30"):
        quantize(digits, "digits", output=output, limit=30, work_folder=folder, force=True, racing=racing)


def test_ctrl_c_writes_the_best_so_far(digits: Path, output: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(search, "_SMALL_SHARE", 0.5)  # so that there is a layer to try at the end
    raced: list[int] = []

    def racing(*_: object) -> Comparison:
        raced.append(1)
        if len(raced) > 1:
            raise KeyboardInterrupt
        return FASTER()

    found = quantize(digits, "digits", output=output, limit=40, racing=racing)
    assert found.interrupted
    assert any("interrupted" in note for note in found.notes)
    assert verify(output).holds


def test_ctrl_c_before_anything_leaves_nothing(digits: Path, output: Path) -> None:
    def racing(*_: object) -> Comparison:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        quantize(digits, "digits", output=output, limit=40, racing=racing)
    assert {p.name for p in output.parent.iterdir()} == {"digits.onnx"}


def test_a_quantized_file_is_not_quantized_again(digits: Path, output: Path, tmp_path: Path) -> None:
    quantize(digits, "digits", output=output, limit=40, racing=FASTER)
    with pytest.raises(UsageError, match="is quantized already"):
        quantize(output, "digits", output=tmp_path / "twice.onnx", limit=40)


def test_a_preview_writes_nothing(digits: Path, output: Path) -> None:
    found = preview_quantize(digits, "digits", output=output, limit=40)
    assert found.labeled
    assert (found.setting.calibration_images, found.evaluation_images) == (40, 359)
    assert 0 < found.least_seconds < found.most_seconds
    assert any(layer.kind == "int8" for layer in found.layers)
    assert not output.exists()
    json.dumps(found.to_json())


def test_the_report_is_json(digits: Path, output: Path) -> None:
    found = quantize(digits, "digits", output=output, limit=40, racing=FASTER)
    data = json.loads(json.dumps(found.to_json()))
    assert data["accuracy"]["images"] == 359
    assert data["path_steps"][0]["verdict"] == "holds"
    assert data["layers"][1]["title"] == "2"


def test_paths_of_the_machine_stay_on_it() -> None:
    assert quantizing._without_folder("mnist:/home/me/data/mnist") == "mnist:mnist"
    assert quantizing._without_folder("/home/me/photos") == "photos"
    assert quantizing._without_folder("digits") == "digits"


def test_what_exists_stays(digits: Path, output: Path) -> None:
    output.write_text("mine")
    with pytest.raises(UsageError, match="exists already; --force replaces it"):
        quantize(digits, "digits", output=output)
    with pytest.raises(UsageError, match="is the model itself"):
        quantize(digits, "digits", output=digits, force=True)
    assert output.read_text() == "mine"


def test_what_can_not_be_quantized(digits: Path, output: Path, foreign_onnx: Path) -> None:
    with pytest.raises(UnsupportedArtifact, match="is no classifier"):
        quantize(foreign_onnx, "digits", output=output)
    with pytest.raises(UsageError, match="no such file"):
        quantize("nothing.onnx", "digits", output=output)
    with pytest.raises(UsageError, match="max_drop: expected 0 to 100"):
        quantize(digits, "digits", output=output, max_drop=-1)
    with pytest.raises(UsageError, match="says how an image becomes its input"):
        quantize(digits, "digits", output=output, image={"scale": "1"})
    with pytest.raises(DataError, match="at least 10 are needed"):
        quantize(digits, "digits", output=output, limit=3)
    assert not output.exists()


def test_foreign_integers_are_seen(digits: Path, output: Path, tmp_path: Path) -> None:
    model = onnx.parser.parse_model(
        '<ir_version: 10, opset_import: ["" : 18]>'
        "g (float[N, 1, 4, 4] x) => (float[N, 16] logits) <float s = {0.5}, uint8 z = {0}>"
        "{ q = QuantizeLinear (x, s, z) d = DequantizeLinear (q, s, z) logits = Flatten (d) }"
    )
    file = tmp_path / "qdq.onnx"
    file.write_bytes(model.SerializeToString())
    with pytest.raises(UsageError, match="is quantized already"):
        quantize(file, "digits", output=output, image={"scale": "1/255"})


def test_the_shipped_lenet_gets_small(output: Path) -> None:
    found = quantize(shipped_model(), "digits", output=output, limit=40, prefer="size", racing=SLOWER)
    assert found.size_bytes < 0.4 * found.original_size_bytes
