from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from cnntk.cli import progress
from cnntk.shipped import shipped_model


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A bar, which is a one, and a frame, which is no four."""
    for label, columns in (("1", slice(13, 16)), ("4", slice(0, 28))):
        pixels = np.zeros((28, 28), np.uint8)
        pixels[5:23, columns] = 255
        (tmp_path / "data" / label).mkdir(parents=True)
        Image.fromarray(pixels).save(tmp_path / "data" / label / "a.png")
    return tmp_path / "data"


def test_text(cnntk: Callable) -> None:
    done = cnntk("evaluate", "--data", "digits", "--max-images", "100")
    assert done.status == 0
    assert "model: lenet.onnx (the LeNet that ships with cnntk)" in done.err
    assert "100 of 359 images are used, balanced by class, seed 0 (--max-images)" in done.err
    text = " ".join(done.out.split())
    assert "images 100 of digits" in text
    assert "(95 % interval" in text
    assert "Most confused class predicted images" in text
    assert "Worst mistakes image class predicted confidence" in text
    assert text.count("number ") == 5


def test_json_is_one_document(cnntk: Callable) -> None:
    done = cnntk("evaluate", "--data", "digits", "--json")
    assert done.status == 0
    assert done.json["models"][0]["images"] == 359
    assert done.json["unreadable"] == []


def test_unreadable_images_are_named_and_the_status_is_1(cnntk: Callable, folder: Path) -> None:
    assert cnntk("evaluate", "--data", folder).status == 0
    (folder / "4" / "b.png").write_bytes(b"\x89PNG\r\n\x1a\nxx")
    done = cnntk("evaluate", "--data", folder)
    assert done.status == 1
    assert "b.png" in done.err
    assert "1 images, which count nowhere" in " ".join(done.out.split())
    for i in range(9):
        shutil.copy(folder / "4" / "b.png", folder / "4" / f"c{i}.png")
    assert "10 images cannot be read; --json names all of them" in cnntk("evaluate", "--data", folder).err
    assert len(cnntk("evaluate", "--data", folder, "--json").json["unreadable"]) == 10


def test_several_models(cnntk: Callable) -> None:
    for name in ("a.onnx", "b.onnx"):
        shutil.copy(shipped_model(), name)
    done = cnntk("evaluate", "a.onnx", "b.onnx", "--data", "digits")
    assert "b.onnx: no difference can be seen with 359 images" in done.out
    assert "Classes" not in done.out


def test_calibrate(cnntk: Callable) -> None:
    shutil.copy(shipped_model(), "a.onnx")
    done = cnntk("evaluate", "a.onnx", "--data", "digits", "--calibrate")
    assert done.status == 0
    assert "wrote a-calibrated.onnx" in " ".join(done.out.split())
    assert cnntk("verify", "a-calibrated.onnx").status == 0
    again = cnntk("evaluate", "a-calibrated.onnx", "--data", "digits", "--calibrate", "-o", "x.onnx")
    assert again.status == 1
    assert not Path("x.onnx").exists()
    assert cnntk("evaluate", "a.onnx", "--data", "digits", "--calibrate").status == 2


@pytest.mark.parametrize(
    ("args", "message"),
    [
        ((), "Missing option '--data'"),
        (("--data", "nowhere"), "data 'nowhere': no such folder; expected one of digits"),
        (("--data", "digits", "-o", "x.onnx"), "belongs to --calibrate"),
        (("missing.onnx", "--data", "digits"), "missing.onnx: no such file"),
        (("--data", "digits", "--max-images", "0"), "--max-images"),
    ],
)
def test_wrong_use(cnntk: Callable, args: tuple[str, ...], message: str) -> None:
    done = cnntk("evaluate", *args)
    assert (done.status, done.out) == (2, "")
    assert message in done.err


def test_classes_that_the_model_does_not_know(cnntk: Callable, folder: Path) -> None:
    (folder / "1").rename(folder / "one")
    done = cnntk("evaluate", "--data", folder)
    assert done.status == 2
    assert "lenet.onnx's labels ('0', '1', '2', '3', ... (10)); name each class by its label" in done.err


def test_long_work_says_how_far_it_is(cnntk: Callable, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress, "LOG_EVERY_S", 0)
    done = cnntk("evaluate", "--data", "digits")
    assert "images: 359 of 359 (100 %)" in done.err
