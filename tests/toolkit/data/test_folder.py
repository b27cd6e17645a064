"""Folders of photos: classes by name, and errors that name the file or folder."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from cnntk.data.folder import open_folder
from cnntk.data.images import FileImages
from cnntk.runtime.artifact.spec import Preprocessing
from cnntk.runtime.errors import DataError

SMALL = Preprocessing("rgb", 8, 8, "shortest", mean=(0.0,) * 3, std=(1.0,) * 3)


def names(images: object) -> list[str]:
    assert isinstance(images, FileImages)
    return [f"{p.parent.name}/{p.name}" for p in images.paths]


def test_classes_are_sorted_and_a_fifth_is_held_out(photo_folder: Path) -> None:
    split = open_folder(photo_folder)
    assert split.classes == ("ant", "zebra")
    assert (split.train.labels.tolist(), split.test.labels.tolist()) == ([0] * 4 + [1] * 4, [0, 1])
    assert not set(names(split.train.images)) & set(names(split.test.images))
    assert names(open_folder(photo_folder).test.images) == names(split.test.images), "always the same"
    assert (split.resize, split.handwriting, split.train.images.channels) == ("shortest", False, 3)


@pytest.mark.parametrize("held_out", ["test", "val"])
def test_existing_sets_are_used(photo_folder: Path, tmp_path: Path, held_out: str) -> None:
    whole = tmp_path / "whole"
    for part in ("train", held_out):
        for name in ("ant", "zebra"):
            (whole / part / name).mkdir(parents=True)
            Image.new("L", (9, 9)).save(whole / part / name / "a.png")
    split = open_folder(whole)
    assert (len(split.train), len(split.test), split.train.images.channels) == (2, 2, 1)


def test_train_alone_is_split(photo_folder: Path, tmp_path: Path) -> None:
    whole = tmp_path / "whole"
    (whole / "train").mkdir(parents=True)
    for name in ("ant", "zebra"):
        (photo_folder / name).rename(whole / "train" / name)
    assert len(open_folder(whole).test) == 2


def test_hidden_files_and_folders_are_ignored(photo_folder: Path) -> None:
    (photo_folder / "ant" / ".DS_Store").write_bytes(b"x")
    (photo_folder / ".cache").mkdir()
    assert len(open_folder(photo_folder).train) == 8


def test_files_are_images_by_content(photo_folder: Path) -> None:
    (photo_folder / "ant" / "0.png").rename(photo_folder / "ant" / "0")
    (photo_folder / "ant" / "Thumbs.db").write_bytes(b"\xd0\xcf\x11\xe0")
    (photo_folder / "zebra" / "labels.csv").write_text("file,label\n")
    assert len(open_folder(photo_folder).train) == 8


def test_images_that_cannot_be_read_are_named_with_what_to_do(photo_folder: Path) -> None:
    (photo_folder / "ant" / "8.svg").write_text("<svg/>")
    (photo_folder / "ant" / "9").write_bytes(b"\0\0\0\x0cJXL \r\n\x87\n")
    message = (
        r"8\.svg: is an SVG drawing: render it as PNG; or remove it from the data \(2 of 7 images are of"
    )
    with pytest.raises(DataError, match=message):
        open_folder(photo_folder)


def test_images_are_prepared_by_the_runtime(photo_folder: Path) -> None:
    pixels = open_folder(photo_folder).train.images.take(np.arange(8), SMALL)
    assert (pixels.shape, pixels.dtype) == ((8, 8, 8, 3), np.uint8)


def test_an_empty_class_is_named(photo_folder: Path) -> None:
    (photo_folder / "bee").mkdir()
    with pytest.raises(DataError, match="bee: class 'bee' has no image"):
        open_folder(photo_folder)


def test_one_class_only(photo_folder: Path) -> None:
    (photo_folder / "ant").rename(photo_folder / ".ant")
    with pytest.raises(DataError, match=r"one class only \(zebra\)"):
        open_folder(photo_folder)


def test_one_image_can_not_be_split(photo_folder: Path) -> None:
    for file in sorted((photo_folder / "ant").iterdir())[1:]:
        file.unlink()
    with pytest.raises(DataError, match="class 'ant' is empty: there is no training image of it"):
        open_folder(photo_folder)


def test_no_classes(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("nothing here")
    with pytest.raises(DataError, match="has no folder per class"):
        open_folder(tmp_path)
    with pytest.raises(DataError, match="nowhere: no such folder"):
        open_folder(tmp_path / "nowhere")


def test_classes_that_differ(tmp_path: Path) -> None:
    for part, name in (("train", "ant"), ("train", "bee"), ("test", "ant"), ("test", "cow")):
        (tmp_path / part / name).mkdir(parents=True)
        Image.new("L", (9, 9)).save(tmp_path / part / name / "a.png")
    with pytest.raises(DataError, match="test: class 'bee' is in only one of training and test images"):
        open_folder(tmp_path)


@pytest.mark.parametrize("damage", ["text", "empty", "truncated"])
def test_an_unreadable_image_is_named(photo_folder: Path, damage: str) -> None:
    file = photo_folder / "ant" / "0.png"
    whole = file.read_bytes()
    file.write_bytes({"text": b"not an image", "empty": b"", "truncated": whole[: len(whole) // 2]}[damage])
    split = open_folder(photo_folder)
    images = next(i for i in (split.train.images, split.test.images) if "ant/0.png" in names(i))
    with pytest.raises(DataError, match=r"ant/0\.png: .*or remove it"):
        images.take(range(len(images)), SMALL)
