import runpy
import sys
from pathlib import Path

import numpy as np
import pytest

from cnntk.data.digits import open_digits, write_digit
from cnntk.runtime import Classifier
from cnntk.runtime.artifact.spec import Preprocessing
from cnntk.runtime.images.reading import read_image
from cnntk.shipped import shipped_model


def test_digits() -> None:
    split = open_digits()
    assert (len(split.train), len(split.test)) == (1438, 359)
    assert np.bincount(split.test.labels).min() >= 34
    pixels = split.train.images.take(range(9), Preprocessing("gray", 8, 8))
    assert (pixels.dtype, pixels.shape, pixels.min(), pixels.max()) == (np.uint8, (9, 8, 8, 1), 0, 255)
    assert (split.handwriting, split.classes) == (True, tuple("0123456789"))


@pytest.mark.parametrize("digit", range(10))
def test_a_written_digit_is_a_held_out_one(digit: int, tmp_path: Path) -> None:
    file = tmp_path / "digit.png"
    write_digit(digit, file)
    image = read_image(file)
    assert (image.shape, image[0, 0, 0]) == ((200, 200, 1), 255)
    test = open_digits().test
    pixels = test.images.take(range(len(test)), Preprocessing("gray", 200, 200, interpolation="bicubic"))
    errors = np.abs(255 - pixels.astype(int) - image).mean(axis=(1, 2, 3))
    assert errors.min() < 2
    assert test.labels[errors.argmin()] == digit


def test_the_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "seven.png"
    monkeypatch.delitem(sys.modules, "cnntk.data.digits")
    monkeypatch.setattr(sys, "argv", ["digits", "7", str(file)])
    runpy.run_module("cnntk.data.digits", run_name="__main__")
    assert Classifier(shipped_model())(file).top(1)[0].label == "7"
