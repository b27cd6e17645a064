"""The model card of a page."""

from __future__ import annotations

import base64
import io
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from cnntk.data.digits import write_digit
from cnntk.reports.model_card import ModelCard, model_card
from cnntk.runtime.artifact.digest import sha256_of
from cnntk.runtime.sections import Header
from cnntk.shipped import shipped_model


def card_of(images: str = "", digests: tuple[str, ...] = ()) -> ModelCard:
    card = model_card(
        Header("lenet", "Export report", "", model=str(shipped_model()), images=images, digests=digests)
    )
    assert card is not None
    return card


def test_what_an_engineer_needs() -> None:
    card = card_of()
    facts = dict(card.lines)
    assert card.what.startswith("An image classifier with 10 classes (0, 1, 2 and 7 more). It has 13 layers")
    assert card.labels == tuple("0123456789")
    assert facts["input"] == "image: uint8 N×H×W×1, pixel values 0 to 255 of images of any size"
    assert facts["preprocessing"].startswith("inside the file: grayscale, resize longest side to fit 28×28")
    assert facts["source"] == "lenet, a network of cnntk's zoo"
    assert facts["weights"] == "trained on mnist, 60,000 images"
    assert facts["accuracy"] == "99.24 % of 10,000 test images right"
    assert "opset 18, IR 10" in facts["format"]
    assert facts["SHA-256"] == sha256_of(shipped_model())


def test_a_digit_and_its_answer(tmp_path: Path) -> None:
    write_digit(7, tmp_path / "seven.png")
    example = card_of(str(tmp_path / "seven.png")).example
    assert example is not None
    assert example.caption == "The image seven.png."
    assert example.answers[0][0] == "7"
    assert sum(p for _, p in example.answers) <= 1 + 1e-6
    with Image.open(io.BytesIO(base64.b64decode(example.png))) as picture:
        assert picture.size == (example.width, example.height) == (200, 200)


def test_of_the_data_one_image_is_shown() -> None:
    example = card_of("digits").example
    assert example is not None
    assert example.caption.startswith("An image of digits, the data of this run: number")
    assert ", whose label is" in example.caption


def test_data_that_has_moved_is_replaced_by_what_is_at_hand(tmp_path: Path) -> None:
    example = card_of(str(tmp_path / "gone")).example
    assert example is not None
    assert "scikit-learn's data set digits" in example.caption


def test_a_large_picture_is_reduced(tmp_path: Path) -> None:
    Image.fromarray(np.zeros((700, 900, 3), np.uint8)).save(tmp_path / "large.png")
    example = card_of(str(tmp_path / "large.png")).example
    assert example is not None
    assert (example.width, example.height) == (320, 249)


@pytest.mark.parametrize("name", ["", "missing.onnx"])
def test_without_a_file_there_is_no_card(name: str, tmp_path: Path) -> None:
    model = str(tmp_path / name) if name else ""
    assert model_card(Header("lenet", "Export report", "", model=model)) is None


def test_another_file_by_now_has_no_card(tmp_path: Path) -> None:
    file = tmp_path / "lenet.onnx"
    shutil.copy(shipped_model(), file)
    header = Header("lenet", "Export report", "", model=str(file), digests=("ab" * 32,))
    assert model_card(header) is None
    assert card_of(digests=(sha256_of(file),)).what
