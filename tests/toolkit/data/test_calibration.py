"""Selections are reproducible, balanced and lazily decoded; splits are disjoint."""

from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from cnntk.data import ArrayImages, open_data
from cnntk.data.calibration import (
    MAX_EVALUATION_IMAGES,
    MIN_EVALUATION_IMAGES,
    calibration_images,
    max_evaluation_images,
    split_images,
)
from cnntk.runtime.artifact.spec import IMAGE_INPUT, Layer, ModelSpec, Preprocessing, TensorSpec
from cnntk.runtime.errors import DataError, UsageError
from cnntk.runtime.images.reading import read_image

DIGITS = tuple(str(n) for n in range(10))
SPEC = ModelSpec(
    "net",
    DIGITS,
    (TensorSpec(IMAGE_INPUT, "uint8", ("N", "H", "W", "C")),),
    Preprocessing(color="gray", height=8, width=8),
)


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
    for index, image in zip(images.indices, images, strict=True):
        assert image.label == train.labels[index]
        assert image.name == f"number {index + 1}"
        assert image.pixels.shape == (8, 8, 1)
    assert images.indices == calibration_images("digits", 50).indices


def test_any_beginning_contains_all_classes() -> None:
    assert set(calibration_images("digits", 500).labels[:10]) == set(range(10))


def test_all_images_are_selected_if_the_limit_allows(uneven: Path) -> None:
    images = calibration_images(f"folder:{uneven}", 1000)
    assert sorted(images.indices) == list(range(43))


def test_classes_are_balanced_as_far_as_they_have_images(uneven: Path) -> None:
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


def test_files_are_images_by_content_and_unreadable_ones_are_named(bare: Path) -> None:
    (bare / "3.png").rename(bare / "3")
    assert [Path(image.name).name for image in calibration_images(str(bare), 100)][3] == "3"
    for name in ("a.jxl", "b.jxl"):
        (bare / name).write_bytes(b"\xff\x0a")
    message = (
        r"a\.jxl: is a JPEG XL image: convert it to PNG or JPEG; or remove it from the data \(2 of 11 images"
    )
    with pytest.raises(DataError, match=message):
        calibration_images(str(bare), 1)


def test_a_folder_can_have_the_name_of_a_form(
    bare: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save(tmp_path / "mnist" / "a.png", 1)
    monkeypatch.chdir(tmp_path)
    assert len(calibration_images("mnist", 5)) == 1


def test_skipped_images_are_not_decoded(bare: Path) -> None:
    images = calibration_images(str(bare), 100)
    (bare / "0.png").write_bytes(b"no longer an image")
    assert [Path(image.name).name for image in images.after(7)] == ["7.png", "8.png"]
    with pytest.raises(DataError, match=r"0\.png.*; or remove it from the data"):
        next(iter(images))


def test_transparent_images_are_composed_on_the_background(tmp_path: Path) -> None:
    Image.fromarray(np.zeros((2, 2, 4), np.uint8)).save(tmp_path / "clear.png")
    (image,) = calibration_images(str(tmp_path), 1, background=(10, 20, 30))
    assert np.array_equal(image.pixels, read_image(tmp_path / "clear.png", background=(10, 20, 30)))
    assert image.pixels[0, 0].tolist() == [10, 20, 30]


@pytest.mark.parametrize("data", ["mnst:here", "nowhere", "./nowhere"])
def test_unknown_data_is_refused(data: str) -> None:
    with pytest.raises(UsageError, match="no such folder; expected one of digits, mnist:DIR"):
        calibration_images(data, 5)


def test_empty_or_missing_data_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="contains no image"):
        calibration_images(str(tmp_path), 5)
    with pytest.raises(DataError, match="no such folder"):
        calibration_images(f"folder:{tmp_path / 'gone'}", 5)
    with pytest.raises(ValueError, match="max_images: expected at least 1"):
        calibration_images("digits", 0)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for i in range(20):
        Image.fromarray(np.full((4, 4), i, np.uint8)).save(tmp_path / f"{i:02d}.png")
    return tmp_path


def test_labeled_data_is_split_as_for_training() -> None:
    split = split_images("digits", SPEC, 50)
    data = open_data("digits")
    assert isinstance(split.calibration.images, ArrayImages)
    assert isinstance(split.evaluation.images, ArrayImages)
    assert isinstance(data.train.images, ArrayImages)
    assert isinstance(data.test.images, ArrayImages)
    assert np.array_equal(split.calibration.images.pixels, data.train.images.pixels)
    assert np.array_equal(split.evaluation.images.pixels, data.test.images.pixels)
    assert len(split.calibration) == 50
    assert list(split.evaluation.labels) == data.test.labels.tolist()


def test_a_bare_folder_is_split_in_halves(folder: Path) -> None:
    split = split_images(str(folder), SPEC, 100)
    first, second = ({i.name for i in part} for part in (split.calibration, split.evaluation))
    assert len(first) == len(second) == 10
    assert not first & second
    assert split.evaluation.labels == ()


def test_fewer_calibration_images_leave_more_for_evaluation(folder: Path) -> None:
    split = split_images(str(folder), SPEC, 4)
    assert (len(split.calibration), len(split.evaluation)) == (4, 16)


@pytest.mark.parametrize(("inside", "judged"), [("", 10), ("test/", 4)], ids=["all of it", "its test images"])
def test_an_evaluation_folder(tmp_path: Path, inside: str, judged: int) -> None:
    for part, count in (("", 5),) if not inside else (("train/", 5), ("test/", 2)):
        for label in ("0", "1"):
            class_folder = tmp_path / part / label
            class_folder.mkdir(parents=True)
            for i in range(count):
                Image.fromarray(np.full((4, 4), i, np.uint8)).save(class_folder / f"{i}.png")
    split = split_images("digits", SPEC, 10, f"folder:{tmp_path}")
    assert len(split.evaluation) == judged
    assert set(split.evaluation.labels) == {0, 1}


def test_other_evaluation_data(folder: Path) -> None:
    split = split_images(str(folder), SPEC, 100, "digits")
    assert len(split.calibration) == 20
    assert len(split.evaluation) == 359
    assert len(split_images("digits", SPEC, 30, str(folder)).evaluation) == 20


def test_labels_are_indices_of_the_model() -> None:
    turned = replace(SPEC, labels=DIGITS[::-1])
    as_is, reversed_labels = (split_images("digits", s, 10).evaluation.labels for s in (SPEC, turned))
    assert [9 - label for label in as_is] == list(reversed_labels)


def test_classes_of_a_model_without_labels_match_by_index(tmp_path: Path) -> None:
    for i, name in enumerate(("cat", "dog")):
        for n in range(5):
            (tmp_path / name).mkdir(exist_ok=True)
            Image.fromarray(np.full((4, 4), 9 * i + n, np.uint8)).save(tmp_path / name / f"{n}.png")
    data = f"folder:{tmp_path}"
    assert set(split_images(data, replace(SPEC, labels=("0", "1")), 4).evaluation.labels) == {0, 1}
    with pytest.raises(DataError, match="its class 'cat' is not one of net's labels"):
        split_images(data, replace(SPEC, labels=("bird", "dog")), 4)


def test_one_image_cannot_be_split(tmp_path: Path) -> None:
    Image.new("L", (4, 4)).save(tmp_path / "a.png")
    with pytest.raises(DataError, match="contains 1 image"):
        split_images(str(tmp_path), SPEC, 4)


def test_data_to_split_must_have_a_form() -> None:
    with pytest.raises(UsageError, match="no such folder"):
        split_images("nowhere", SPEC, 4)


def test_large_networks_are_judged_by_fewer_images() -> None:
    def layers(work: int) -> ModelSpec:
        return replace(SPEC, layers=(Layer("a", "Conv", ("N",), 1, work),))

    assert max_evaluation_images(layers(10**6)) == MAX_EVALUATION_IMAGES
    assert max_evaluation_images(layers(10**9)) == 2000
    assert max_evaluation_images(layers(10**11)) == MIN_EVALUATION_IMAGES


def test_a_sample_of_the_held_out_images_has_all_classes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cnntk.data.calibration.max_evaluation_images", lambda _: 40)
    labels = split_images("digits", SPEC, 10).evaluation.labels
    assert len(labels) == 40
    assert min(np.bincount(labels, minlength=10)) >= 3


@pytest.fixture
def by_class(tmp_path: Path) -> Path:
    """A bare folder with a folder for each of three digits, four photos each."""
    for name in "257":
        for i in range(4):
            save(tmp_path / name / f"{i}.png", i)
    return tmp_path


def test_a_bare_folder_of_class_folders_is_labeled(by_class: Path) -> None:
    split = split_images(str(by_class), SPEC, 100)
    assert len(split.evaluation) > 0
    assert all(str(image.label) == Path(image.name).parent.name for image in split.evaluation)
    assert not {i.name for i in split.calibration} & {i.name for i in split.evaluation}
    (by_class / "other").mkdir()
    save(by_class / "other" / "0.png", 0)
    assert not split_images(str(by_class), SPEC, 100).evaluation.labels, "which is no class of the model"


def test_classes_that_only_their_order_matches_are_noted(uneven: Path) -> None:
    spec = replace(SPEC, labels=("0", "1", "2"))
    note = split_images(f"folder:{uneven}", spec, 9).evaluation.note
    assert "classes are numbered in the order of their names: 'few' is 0, 'many' is 1, 'more' is 2;" in note
    named = replace(SPEC, labels=("more", "many", "few"))
    assert split_images(f"folder:{uneven}", named, 9).evaluation.note == ""


def test_one_photo_a_class_calibrates_where_others_judge(by_class: Path, tmp_path: Path) -> None:
    few = tmp_path.parent / f"{tmp_path.name}-few"
    for name in "257":
        save(few / name / "0.png", 0)
    split = split_images(f"folder:{few}", SPEC, 100, evaluation=str(by_class))
    assert len(split.calibration) == 3
    assert len(split.evaluation) == 12
    alone = split_images(f"folder:{few}", SPEC, 100)
    assert (len(alone.calibration), len(alone.evaluation)) == (1, 2)
    assert len(alone.evaluation.labels) == 2
