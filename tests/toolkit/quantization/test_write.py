"""The finished file tells what was done to it and tests itself; a file that does not is not written."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx_ir as ir
import pytest

from cnntk.data import ArrayImages, open_data
from cnntk.data.batches import batches_of, numbered_images
from cnntk.quantization import write as module
from cnntk.quantization.calibration import calibrate
from cnntk.quantization.candidates import Original
from cnntk.quantization.config import LayerPlan, Recipe, linear_layers
from cnntk.quantization.quantizer import quantized, tensors_to_watch
from cnntk.quantization.write import HOLDS_ON, Finished, finish
from cnntk.runtime.artifact.spec import ModelSpec
from cnntk.runtime.engine import Engine
from cnntk.runtime.errors import ArtifactCorrupt, ExportCheckError, ParityError, UnsupportedArtifact
from cnntk.verification.artifact import verify

STEP = 0.15


@pytest.fixture(scope="module")
def recipe(original: Original) -> Recipe:
    return Recipe({str(n.name): LayerPlan("int8", "to see") for n in linear_layers(original.model)})


@pytest.fixture(scope="module")
def model(original: Original, recipe: Recipe) -> ir.Model:
    images = open_data("digits").train.images
    assert isinstance(images, ArrayImages)
    batches = batches_of(original.engine, numbered_images(images.pixels[:40]))
    return quantized(
        original.model, recipe, calibrate(original.model, batches, tensors_to_watch(original.model))
    )


@pytest.fixture
def finished(original: Original, recipe: Recipe, model: ir.Model, tmp_path: Path) -> Finished:
    record = {"version": 1, "max_drop": 0.5}
    return finish(original, model, tmp_path / "q.onnx", recipe=recipe, step=STEP, record=record)


def test_it_is_whole(finished: Finished, original: Original) -> None:
    assert verify(finished.path).holds
    assert finished.size_bytes == finished.path.stat().st_size < 0.4 * original.size_bytes
    assert [p.name for p in finished.path.parent.iterdir()] == ["q.onnx"]


def test_the_spec_says_what_was_done(finished: Finished, original: Original, recipe: Recipe) -> None:
    spec, before = Engine(finished.path).spec, original.engine.spec
    assert spec is not None
    assert before is not None
    assert spec == finished.spec
    assert spec.quantization is not None
    assert Recipe.from_json(spec.quantization["recipe"]) == recipe
    assert spec.quantization["holds_on"] == HOLDS_ON["any"]
    assert spec.quantization["max_drop"] == 0.5
    assert spec.provenance["quantized_from"] == before.digest
    assert (spec.name, spec.labels, spec.preprocessing) == (before.name, before.labels, before.preprocessing)
    assert "parity" not in spec.check_results


def test_a_spec_without_quantization_reads_as_before(original: Original) -> None:
    spec = original.engine.spec
    assert spec is not None
    assert '"quantization"' not in spec.to_json()
    assert ModelSpec.from_json(spec.to_json(), "x") == spec


def test_the_layers_name_the_weights_that_are_there(finished: Finished, original: Original) -> None:
    there = set(ir.load(finished.path).graph.initializers)
    before = original.engine.spec
    assert before is not None
    for old, new in zip(before.layers, finished.spec.layers, strict=True):
        assert set(new.weights) <= there
        assert bool(new.weights) == bool(old.weights), new.name


def test_the_answers_are_its_own_and_the_bounds_a_step(finished: Finished, original: Original) -> None:
    test, before = finished.spec.self_test, original.engine.spec
    assert test is not None
    assert before is not None
    assert before.self_test is not None
    for case, old in zip(test.cases, before.self_test.cases, strict=True):
        assert (case.pattern, case.seed, case.sizes) == (old.pattern, old.seed, old.sizes)
        assert case.expected != old.expected
        assert STEP <= case.bounds["logits"] <= 2 * STEP + old.bounds["logits"]
    worst = max(c.error for c in Engine(finished.path).self_test().checks)
    assert worst < 1e-5


def test_another_models_answers_are_seen(finished: Finished, original: Original) -> None:
    """The negative control: by the quantized model's self-test, noise in the weights shows."""
    spec = finished.spec
    spoilt = original.model.clone()
    for value in spoilt.graph.initializers.values():
        if value.const_value is not None and value.const_value.size > 1000:
            array = value.const_value.numpy()
            value.const_value = ir.Tensor(array * np.float32(1.3), name=value.name)
    from cnntk.exporters.session import GraphSession
    from cnntk.runtime.artifact.self_test import run_self_test

    result = run_self_test(GraphSession(spoilt).run, spec, "spoilt")
    assert not result.holds


def test_nothing_is_written_where_the_file_fails_its_own_test(
    original: Original, recipe: Recipe, model: ir.Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        module, "answers_text", lambda array, stride: " ".join(["9"] * len(array.reshape(-1)[::stride]))
    )
    with pytest.raises(ParityError, match="the finished file fails its self-test"):
        finish(original, model, tmp_path / "q.onnx", recipe=recipe, step=STEP, record={})
    assert list(tmp_path.iterdir()) == []


def test_a_changed_byte_is_seen(finished: Finished) -> None:
    data = bytearray(finished.path.read_bytes())
    data[len(data) // 3] ^= 1
    finished.path.write_bytes(data)
    with pytest.raises(ArtifactCorrupt):
        Engine(finished.path)


def test_an_original_without_a_self_test(
    original: Original, recipe: Recipe, model: ir.Model, tmp_path: Path
) -> None:
    engine = Engine(original.file)
    assert engine.spec is not None
    engine.spec = replace(engine.spec, self_test=None)
    bare = replace(original, engine=engine)
    with pytest.raises(UnsupportedArtifact, match="holds no self-test"):
        finish(bare, model, tmp_path / "q.onnx", recipe=recipe, step=STEP, record={})


def test_weights_that_saturate_are_not_said_to_hold_everywhere(
    original: Original, recipe: Recipe, tmp_path: Path
) -> None:
    """The same graph, calibration and file name; all 8 bits of the weights, said to be for any CPU."""
    images = open_data("digits").train.images
    assert isinstance(images, ArrayImages)
    batches = batches_of(original.engine, numbered_images(images.pixels[:40]))
    seen = calibrate(original.model, batches, tensors_to_watch(original.model))
    wide = replace(recipe, target="vnni")
    unsafe = quantized(original.model, wide, seen)
    with pytest.raises(ExportCheckError, match=r"can saturate 16-bit sums.*Nothing was written"):
        finish(original, unsafe, tmp_path / "q.onnx", recipe=recipe, step=STEP, record={})
    assert list(tmp_path.iterdir()) == []
    assert finish(original, unsafe, tmp_path / "q.onnx", recipe=wide, step=STEP, record={}).path.exists()
