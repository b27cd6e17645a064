from pathlib import Path

import numpy as np
import onnx
import onnx.parser
import pytest

from cnntk.runtime import Engine
from cnntk.runtime.batch_split import pad_batch
from cnntk.runtime.errors import InferenceError, InputError

IMAGES = np.random.default_rng(0).random((70, 1, 4, 4), dtype=np.float32)


@pytest.fixture
def fixed_onnx(foreign_onnx: Path) -> Path:
    """The tiny classifier with a batch of 4, and no other."""
    model = onnx.load(foreign_onnx)
    for value in (*model.graph.input, *model.graph.output):
        value.type.tensor_type.shape.dim[0].dim_value = 4
    onnx.save(model, foreign_onnx)
    return foreign_onnx


def single(engine: Engine, images: np.ndarray) -> np.ndarray:
    return np.concatenate([engine.run({"input": image[None]})["logits"] for image in images])


@pytest.mark.parametrize("batch_size", [None, 1, 7, 70, 1000])
def test_pieces_come_together_in_order(tiny_onnx: Path, batch_size: int | None) -> None:
    engine = Engine(tiny_onnx)
    answers = engine.run_many({"input": IMAGES}, batch_size=batch_size)
    np.testing.assert_allclose(answers["logits"], single(engine, IMAGES), rtol=1e-6)
    assert answers["probabilities"].shape == (70, 3)


@pytest.mark.parametrize("count", [1, 3, 4, 5, 70])
def test_a_fixed_batch_is_padded_and_cut(tiny_onnx: Path, fixed_onnx: Path, count: int) -> None:
    expected = single(Engine(tiny_onnx), IMAGES[:count])
    engine = Engine(fixed_onnx)
    np.testing.assert_allclose(engine.run_many({"input": IMAGES[:count]})["logits"], expected, rtol=1e-6)
    with pytest.raises(InputError, match="fixed at 4"):
        engine.run({"input": IMAGES[:5]})
    with pytest.raises(ValueError, match="must be 4, got 2"):
        engine.run_many({"input": IMAGES}, batch_size=2)


def test_none_at_all(tiny_onnx: Path, fixed_onnx: Path) -> None:
    for path in (tiny_onnx, fixed_onnx):
        answers = Engine(path).run_many({"input": IMAGES[:0]})
        assert {name: value.shape for name, value in answers.items()} == {
            "logits": (0, 3),
            "probabilities": (0, 3),
        }


def test_inputs_must_have_one_batch(tiny_onnx: Path) -> None:
    engine = Engine(tiny_onnx)
    for inputs in ({}, {"input": np.float32(1)}, {"input": IMAGES, "more": IMAGES[:2]}):
        with pytest.raises(InputError, match="one common batch"):
            engine.run_many(inputs)
    with pytest.raises(ValueError, match="at least 1, got 0"):
        engine.run_many({"input": IMAGES}, batch_size=0)


def test_an_output_without_a_batch_dimension_is_an_error() -> None:
    model = onnx.parser.parse_model(
        '<ir_version: 10, opset_import: ["" : 18]> g (float[N,3] x) => (float y) '
        "{ y = ReduceSum <keepdims = 0> (x) }"
    )
    with pytest.raises(InferenceError, match="output y has no batch dimension; use run"):
        Engine(model.SerializeToString()).run_many({"x": np.ones((5, 3), np.float32)})


def test_padding_repeats_the_last_image() -> None:
    images = np.arange(3)[:, None]
    assert pad_batch({"x": images}, 5)["x"].ravel().tolist() == [0, 1, 2, 2, 2]
    assert pad_batch({"x": images}, 3)["x"] is images
