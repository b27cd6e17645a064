"""Batches are those that `Classifier` would make."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from cnntk.data.batches import batches_of
from cnntk.data.calibration import CalibrationImage
from cnntk.runtime.artifact.spec import IMAGE_INPUT, ModelSpec, Preprocessing, TensorSpec
from cnntk.runtime.classifier import Classifier
from cnntk.runtime.engine import Engine
from cnntk.runtime.errors import UnsupportedArtifact
from cnntk.shipped import shipped_model

SIZES = [(28, 28, 1), (28, 28, 1), (28, 28, 3), (9, 17, 3), (9, 17, 1), (40, 30, 1), (28, 28, 1)]


def photos() -> list[np.ndarray]:
    random = np.random.RandomState(0)
    return [random.randint(0, 256, size).astype(np.uint8) for size in SIZES]


def images_of(arrays: list[np.ndarray]) -> list[CalibrationImage]:
    return [CalibrationImage(array, f"number {i}") for i, array in enumerate(arrays, start=1)]


@pytest.mark.parametrize("batch", [1, 3, 8])
def test_answers_are_those_of_the_classifier(batch: int, tiny_onnx: Path) -> None:
    for file in (shipped_model(), tiny_onnx):  # the graph resizes, and the host does
        engine = Engine(file)
        classify, batches = Classifier(engine), list(batches_of(engine, images_of(photos()), batch))
        assert sum(map(len, batches)) == len(SIZES)
        assert max(map(len, batches)) <= batch
        answers = np.concatenate([engine.run(b.inputs)["probabilities"] for b in batches])
        expected = [classify.classify_pixels([classify.read(photo)])[0].probabilities for photo in photos()]
        assert np.allclose(answers, expected, atol=1e-6, rtol=0)


def test_inputs_do_not_depend_on_the_batch() -> None:
    spec = Engine(shipped_model()).spec
    assert spec is not None
    alone, together = (list(batches_of(spec, images_of(photos()), n)) for n in (1, 8))
    apart = [image for b in together for image in b.inputs[IMAGE_INPUT]]
    assert all(np.array_equal(a.inputs[IMAGE_INPUT][0], b) for a, b in zip(alone, apart, strict=True))


def test_images_that_can_be_resized_first_share_a_batch() -> None:
    p = Preprocessing(color="rgb", height=8, width=8, mean=(0.0,) * 3, std=(1.0,) * 3)
    spec = ModelSpec("net", (), (TensorSpec(IMAGE_INPUT, "uint8", ("N", "H", "W", "C")),), p)
    random = np.random.RandomState(0)
    images = [random.randint(0, 256, (10 + i, 12, 3)).astype(np.uint8) for i in range(5)]
    assert [b.inputs[IMAGE_INPUT].shape for b in batches_of(spec, images_of(images), 4)] == [
        (4, 8, 8, 3),
        (1, 8, 8, 3),
    ]
    longest = replace(spec, preprocessing=replace(p, resize="longest"))
    assert [len(b) for b in batches_of(longest, images_of(images), 4)] == [1] * 5


def test_gray_images_have_the_channels_of_a_fixed_input() -> None:
    p = Preprocessing(color="rgb", height=8, width=8, mean=(0.0,) * 3, std=(1.0,) * 3)
    spec = ModelSpec("net", (), (TensorSpec(IMAGE_INPUT, "uint8", ("N", 8, 8, 3)),), p)
    image = np.random.RandomState(0).randint(0, 256, (8, 8, 1)).astype(np.uint8)
    (batch,) = batches_of(spec, images_of([image]))
    assert np.array_equal(batch.inputs[IMAGE_INPUT], np.repeat(image, 3, axis=2)[None])


def test_names_and_labels_stay_with_their_images() -> None:
    images = [CalibrationImage(p, f"{i}.png", i) for i, p in enumerate(photos())]
    batches = list(batches_of(Engine(shipped_model()), images, 2))
    assert [n for b in batches for n in b.names] == [f"{i}.png" for i in range(7)]
    assert [n for b in batches for n in b.labels] == list(range(7))


def test_images_are_drawn_as_they_are_needed() -> None:
    drawn = []

    def source() -> Iterator[CalibrationImage]:
        for image in images_of(photos()[:2] * 10):
            drawn.append(image.name)
            yield image

    next(batches_of(Engine(shipped_model()), source(), 4))
    assert len(drawn) == 5


def test_wrong_use_is_refused(foreign_onnx: Path) -> None:
    with pytest.raises(UnsupportedArtifact, match="has no preprocessing"):
        batches_of(Engine(foreign_onnx), images_of(photos()))
    with pytest.raises(ValueError, match="batch: expected at least 1"):
        batches_of(Engine(shipped_model()), images_of(photos()), 0)
