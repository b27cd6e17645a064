"""On a network that was trained on digits; only the clock is given."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import digit_nets
import numpy as np
import onnx_ir as ir
import pytest

from cnntk.benchmark.compare import Comparison
from cnntk.data import ArrayImages, open_data
from cnntk.data.batches import batches_of, numbered_images
from cnntk.quantization.calibration import Calibration, calibrate
from cnntk.quantization.candidates import Original, Workbench, layer_facts
from cnntk.quantization.config import LayerPlan, Recipe, linear_layers
from cnntk.quantization.quantizer import tensors_to_watch
from cnntk.quantization.store import Store
from cnntk.runtime.artifact.spec import METADATA_KEY
from cnntk.runtime.engine import Engine


@pytest.fixture(scope="module")
def seen(original: Original) -> Calibration:
    images = open_data("digits").train.images
    assert isinstance(images, ArrayImages)
    batches = batches_of(original.engine, numbered_images(images.pixels[:40]))
    return calibrate(original.model, batches, tensors_to_watch(original.model))


@pytest.fixture
def bench(original: Original, seen: Calibration) -> Callable[..., Workbench]:
    test = open_data("digits").test
    assert isinstance(test.images, ArrayImages)
    pixels = test.images.pixels

    def made(store: Store | None = None, **options: object) -> Workbench:
        return Workbench(
            original,
            seen,
            lambda: batches_of(original.engine, numbered_images(pixels, test.labels)),
            batches_of(original.engine, numbered_images(pixels[:16])),
            store=store,
            racing=lambda *_: Comparison(2.0, 1.9, 2.1, 2.0, 1.0, 60),
            **options,
        )

    return made


def every(original: Original, kind: str = "int8") -> Recipe:
    return Recipe({str(n.name): LayerPlan(kind) for n in linear_layers(original.model)})  # type: ignore[arg-type]


def test_layers_bear_the_names_of_torch(original: Original) -> None:
    facts = layer_facts(original)
    assert [f.title for f in facts.values()] == ["0", "2", "5", "9", "11"]
    assert [f.op for f in facts.values()] == ["Conv", "Conv", "Conv", "Gemm", "Gemm"]
    assert next(iter(facts.values())).multiply_adds == 16 * 16 * 32 * 9


def test_integers_answer_nearly_the_same(bench: Callable[..., Workbench], original: Original) -> None:
    found = bench().accuracy(every(original))
    assert found.images == 359
    assert found.before is not None
    assert found.before.top1 > 90
    assert found.agreement > 98
    assert abs(found.drop or 0.0) < 1.5


def test_the_original_is_itself(bench: Callable[..., Workbench], original: Original) -> None:
    found, nothing = bench(), every(original, "float32")
    assert found.accuracy(nothing).agreement == 100
    assert found.divergence(nothing) == pytest.approx(0, abs=1e-9)


def test_a_network_that_8_bits_ruin_is_seen(tmp_path: Path) -> None:
    """The negative control: one channel is 3,000 times as large as the others."""
    file = tmp_path / "lopsided.onnx"
    file.write_bytes(digit_nets.artifact("lopsided"))
    graph = ir.load(file)
    del graph.metadata_props[METADATA_KEY]
    engine = Engine(file, threads=1)
    images = open_data("digits").test.images
    assert isinstance(images, ArrayImages)
    batches = list(batches_of(engine, numbered_images(images.pixels[:64])))
    seen = calibrate(graph, batches, tensors_to_watch(graph))
    histograms = {n: h for n, h in seen.histograms.items() if h.maximum > 100}
    assert histograms
    uneven = Workbench(Original(file, graph, engine, 1), seen, lambda: batches, batches[:2])
    recipe = Recipe({str(n.name): LayerPlan("int8") for n in linear_layers(graph)})
    even = recipe
    for node in linear_layers(graph)[1:3]:
        even = even.with_kind(str(node.name), "float32", "")
    assert uneven.accuracy(even).agreement > 95
    assert uneven.divergence(even) < 0.1


def test_four_bits_cost_more_than_eight(bench: Callable[..., Workbench], original: Original) -> None:
    recipe = every(original, "float32")
    name = next(str(n.name) for n in linear_layers(original.model) if n.op_type == "Gemm")
    found = bench()
    assert (
        0
        < found.divergence(recipe.with_kind(name, "int8", ""))
        < found.divergence(recipe.with_kind(name, "int4", ""))
    )


def test_integers_are_smaller(bench: Callable[..., Workbench], original: Original) -> None:
    found = bench().built(every(original))
    assert 0.2 * original.size_bytes < found.size_bytes < 0.4 * original.size_bytes
    assert found.refused == ()
    nothing = bench().built(every(original, "float32"))
    assert nothing.conversions == 0
    assert nothing.size_bytes == pytest.approx(original.size_bytes, rel=0.02)


def test_a_layer_that_can_not_be_had_in_integers_is_refused(
    bench: Callable[..., Workbench], original: Original
) -> None:
    """A convolution has no kernel in 4 bits."""
    name = str(linear_layers(original.model)[1].name)
    assert bench().built(every(original).with_kind(name, "int4", "")).refused == (name,)


def test_the_race_is_with_the_original(bench: Callable[..., Workbench], original: Original) -> None:
    calls: list[tuple[Recipe, dict[str, np.ndarray], dict[str, np.ndarray]]] = []

    def racing(recipe: Recipe, first: Callable[[], object], second: Callable[[], object]) -> Comparison:
        calls.append((recipe, first(), second()))  # type: ignore[arg-type]
        return Comparison(1.5, 1.4, 1.6, 3.0, 2.0, 60)

    found, recipe = bench(), every(original)
    found._racing = racing
    assert found.race(recipe).ratio == 1.5
    ((asked, before, after),) = calls
    assert asked == recipe
    assert before["logits"].shape == after["logits"].shape == (1, 10)
    assert not np.array_equal(before["logits"], after["logits"])
    plain = original.engine.run(found._inputs)
    np.testing.assert_array_equal(before["logits"], plain["logits"])


def test_what_was_measured_is_not_measured_again(
    bench: Callable[..., Workbench], original: Original, tmp_path: Path
) -> None:
    recipe, file = every(original), tmp_path / "trials.json"
    first = bench(Store(file))
    told = first.accuracy(recipe), first.race(recipe), first.divergence(recipe), first.built(recipe)
    done: list[int] = []
    again = bench(Store(file), on_images=done.append)
    assert (again.accuracy(recipe), again.race(recipe), again.divergence(recipe), again.built(recipe)) == told
    assert done == []
    assert again._warm == {}


def test_a_level_of_the_logits(bench: Callable[..., Workbench]) -> None:
    assert 0.01 < bench().logit_step() < 0.5
