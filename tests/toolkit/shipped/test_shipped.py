"""The LeNet that ships reads handwriting that it was not trained on: scikit-learn's digits."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from sklearn.datasets import load_digits

from cnntk.runtime import Classifier, Engine
from cnntk.runtime.errors import UsageError
from cnntk.shipped import copy_shipped_model, shipped_checkpoint, shipped_model

ENOUGH = 0.85  # strangers' digits, scanned at 8x8; a mirrored digit, or the wrong polarity, is read far worse


@pytest.fixture(scope="module")
def digits() -> tuple[list[np.ndarray], list[str]]:
    """White on black, in MNIST's frame: the 8x8 digit fills the middle 20 of 28."""
    data = load_digits()
    images = [(np.clip(i, 0, 16) * 255 / 16).astype(np.uint8) for i in data.images[:300]]
    large = [np.asarray(Image.fromarray(i).resize((20, 20), Image.Resampling.BICUBIC)) for i in images]
    return [np.pad(i, 4) for i in large], [str(t) for t in data.target[:300]]


def accuracy(images: list[np.ndarray], labels: list[str]) -> float:
    result = Classifier(shipped_model(), threads=1).many(images)
    return float(np.mean([p.best.label == label for p, label in zip(result, labels, strict=True)]))


def scaled(image: np.ndarray, size: int) -> np.ndarray:
    return np.asarray(Image.fromarray(image).resize((size, size), Image.Resampling.BICUBIC))


def test_both_polarities_and_all_sizes(digits: tuple[list[np.ndarray], list[str]]) -> None:
    images, labels = digits
    assert accuracy(images, labels) > ENOUGH
    assert accuracy([255 - i for i in images], labels) == accuracy(images, labels)
    for size in (20, 57, 200):
        assert accuracy([255 - scaled(i, size) for i in images], labels) > ENOUGH


def test_control_mirrored_digits_are_not_read(digits: tuple[list[np.ndarray], list[str]]) -> None:
    images, labels = digits
    assert accuracy([i[:, ::-1] for i in images], labels) < 0.8


def test_its_spec_says_how_it_was_trained() -> None:
    spec = Engine(shipped_model()).spec
    assert spec.preprocessing.invert == "light-background"
    assert spec.provenance["data"] == "mnist"
    assert spec.provenance["accuracy"] >= 0.99
    assert all(p["holds"] for p in spec.check_results["parity"])


def test_the_checkpoint_is_the_artifacts(tmp_path: Path) -> None:
    from cnntk import export

    export(shipped_checkpoint(), tmp_path / "again.onnx")
    x = np.random.default_rng(0).integers(0, 256, (4, 28, 28, 1), dtype=np.uint8)
    again, shipped = (
        Engine(p).run({"image": x})["logits"] for p in (tmp_path / "again.onnx", shipped_model())
    )
    assert np.array_equal(again, shipped)


def test_a_copy(tmp_path: Path) -> None:
    path = copy_shipped_model(tmp_path / "mine.onnx")
    assert path.read_bytes() == shipped_model().read_bytes()
    with pytest.raises(UsageError, match="exists already"):
        copy_shipped_model(path)
