import json
from pathlib import Path

import numpy as np
import onnx
import pytest
from PIL import Image

from cnntk.runtime import Classifier, Engine, ImageError, Prediction, UnsupportedArtifact

DARK = np.zeros((4, 4), dtype=np.uint8)
LIGHT = 255 - DARK
LEFT = np.tile(np.array([255, 255, 0, 0], dtype=np.uint8), (4, 1))


@pytest.mark.parametrize(("pixels", "label"), [(DARK, "dark"), (LIGHT, "light"), (LEFT, "left")])
def test_classifies(tiny_onnx: Path, tmp_path: Path, pixels: np.ndarray, label: str) -> None:
    path = tmp_path / "image.png"
    Image.fromarray(pixels).resize((64, 64), Image.Resampling.NEAREST).save(path)
    classify = Classifier(tiny_onnx)
    assert classify(path).best.label == label
    assert classify(pixels).best == classify(path.read_bytes()).best


def test_logits_where_the_model_returns_them(tiny_onnx: Path, tmp_path: Path) -> None:
    images = [DARK, np.resize(LEFT, (9, 5)), LIGHT]
    for predictions in Classifier(tiny_onnx).many(images):
        assert predictions.logits is not None
        e = np.exp(predictions.logits - predictions.logits.max())
        np.testing.assert_allclose(predictions.probabilities, e / e.sum(), atol=1e-6)
    model = onnx.load(tiny_onnx)
    del model.graph.output[0]
    onnx.save(model, tmp_path / "alone.onnx")
    assert Classifier(tmp_path / "alone.onnx")(LEFT).logits is None


def test_top_is_sorted_and_whole(tiny_onnx: Path) -> None:
    predictions = Classifier(tiny_onnx)(LEFT)
    top = predictions.top(99)
    assert [p.probability for p in top] == sorted((p.probability for p in top), reverse=True)
    assert len(top) == 3
    assert sum(p.probability for p in top) == pytest.approx(1, abs=1e-6)
    assert list(predictions) == top
    assert isinstance(top[0], Prediction)
    json.dumps(top[0].probability)  # a plain float


def test_many_equals_one_by_one(tiny_onnx: Path) -> None:
    classify = Classifier(Engine(tiny_onnx))
    images = [DARK, np.resize(LEFT, (9, 5)), LIGHT]
    together = classify.many(images)
    for image, predictions in zip(images, together, strict=True):
        np.testing.assert_allclose(predictions.probabilities, classify(image).probabilities, atol=1e-6)
    assert classify.many([]) == []


def test_a_broken_image_is_named(tiny_onnx: Path, tmp_path: Path) -> None:
    path = tmp_path / "note.png"
    path.write_text("no image")
    with pytest.raises(ImageError, match=r"note\.png"):
        Classifier(tiny_onnx)(path)


def test_a_foreign_file_does_not_say_how_to_preprocess(foreign_onnx: Path) -> None:
    with pytest.raises(UnsupportedArtifact, match="has no preprocessing in its spec"):
        Classifier(foreign_onnx)


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [("preprocessing", None, "takes arrays only"), ("head", "none", "not a classifier")],
)
def test_what_is_no_image_classifier(tiny_onnx: Path, field: str, value: object, message: str) -> None:
    model = onnx.load(tiny_onnx)
    entry = model.metadata_props[0]
    entry.value = json.dumps({**json.loads(entry.value), field: value})
    with pytest.raises(UnsupportedArtifact, match=message):
        Classifier(model.SerializeToString())
