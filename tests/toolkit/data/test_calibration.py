"""The same images every time, of all classes alike, decoded only as they are drawn."""

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from cnntk.data import open_data
from cnntk.data.calibration import calibration_images
from cnntk.runtime.errors import DataError, UsageError
from cnntk.runtime.images.reading import read_image


def save(file: Path, level: int) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.full((3, 4, 3), level, np.uint8)).save(file)


@pytest.fixture
def bare(tmp_path: Path) -> Path:
    """Nine photos, some of them in an inner folder, and what is none."""
    for i in range(6):
        save(tmp_path / f"{i}.png", i)
    for i in range(6, 9):
        save(tmp_path / "more" / f"{i}.png", i)
    (tmp_path / "notes.txt").write_text("no image")
    return tmp_path


@pytest.fixture
def uneven(tmp_path: Path) -> Path:
    """A folder per class: 3, 20 and 20 photos."""
    for name, count in (("few", 3), ("many", 20), ("more", 20)):
        for i in range(count):
            save(tmp_path / "train" / name / f"{i:02}.png", i)
            save(tmp_path / "test" / name / f"{i:02}.png", i)
    return tmp_path


def test_digits_are_drawn_from_the_training_images() -> None:
    images, train = calibration_images("digits", 50), open_data("digits").train
    assert len(images) == 50
    assert Counter(images.labels) == dict.fromkeys(range(10), 5)
    assert images.classes == train.classes
    for index, image in zip(images.chosen, images, strict=True):
        assert image.label == train.labels[index]
        assert image.name == f"number {index + 1}"
        assert image.pixels.shape == (8, 8, 1)
    assert images.chosen == calibration_images("digits", 50).chosen


def test_any_beginning_has_all_classes() -> None:
    assert set(calibration_images("digits", 500).labels[:10]) == set(range(10))


def test_all_are_taken_where_the_limit_allows(uneven: Path) -> None:
    images = calibration_images(f"folder:{uneven}", 1000)
    assert sorted(images.chosen) == list(range(43))


def test_classes_get_alike_as_far_as_they_go(uneven: Path) -> None:
    images = calibration_images(f"folder:{uneven}", 20)
    assert Counter(images.labels) == {0: 3, 1: 9, 2: 8}
    levels = [int(image.pixels[0, 0, 0]) for image in images if image.label == 1]
    assert levels == sorted(set(levels))
    assert levels[0] < 3
    assert levels[-1] > 16


def test_a_bare_folder_is_read_through(bare: Path) -> None:
    images = list(calibration_images(str(bare), 100))
    assert [Path(image.name).name for image in images] == [f"{i}.png" for i in range(9)]
    assert [int(image.pixels[0, 0, 0]) for image in images] == list(range(9))
    assert {image.label for image in images} == {None}
    few = calibration_images(str(bare), 3)
    assert [Path(image.name).name for image in few] == ["1.png", "4.png", "7.png"]


def test_a_folder_may_bear_the_name_of_a_form(
    bare: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save(tmp_path / "mnist" / "a.png", 1)
    monkeypatch.chdir(tmp_path)
    assert len(calibration_images("mnist", 5)) == 1


def test_those_before_are_not_decoded(bare: Path) -> None:
    images = calibration_images(str(bare), 100)
    (bare / "0.png").write_bytes(b"no longer an image")
    assert [Path(image.name).name for image in images.after(7)] == ["7.png", "8.png"]
    with pytest.raises(DataError, match=r"0\.png.*; or remove it from the data"):
        next(iter(images))


def test_transparency_lies_on_the_given_background(tmp_path: Path) -> None:
    Image.fromarray(np.zeros((2, 2, 4), np.uint8)).save(tmp_path / "clear.png")
    (image,) = calibration_images(str(tmp_path), 1, background=(10, 20, 30))
    assert np.array_equal(image.pixels, read_image(tmp_path / "clear.png", background=(10, 20, 30)))
    assert image.pixels[0, 0].tolist() == [10, 20, 30]


@pytest.mark.parametrize("data", ["mnst:here", "nowhere", "./nowhere"])
def test_what_is_no_data_is_refused(data: str) -> None:
    with pytest.raises(UsageError, match="no such folder; expected one of digits, mnist:DIR"):
        calibration_images(data, 5)


def test_empty_or_missing_data_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="holds no image"):
        calibration_images(str(tmp_path), 5)
    with pytest.raises(DataError, match="no such folder"):
        calibration_images(f"folder:{tmp_path / 'gone'}", 5)
    with pytest.raises(ValueError, match="limit: expected at least 1"):
        calibration_images("digits", 0)
