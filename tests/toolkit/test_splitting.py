from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from cnntk.data import ArrayImages, open_data
from cnntk.runtime.artifact.spec import IMAGE_INPUT, Layer, ModelSpec, Preprocessing, TensorSpec
from cnntk.runtime.errors import DataError, UsageError
from cnntk.splitting import LEAST_JUDGED, MOST_JUDGED, images_for, judged_images

DIGITS = tuple(str(n) for n in range(10))
SPEC = ModelSpec(
    "net",
    DIGITS,
    (TensorSpec(IMAGE_INPUT, "uint8", ("N", "H", "W", "C")),),
    Preprocessing(color="gray", height=8, width=8),
)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for i in range(20):
        Image.fromarray(np.full((4, 4), i, np.uint8)).save(tmp_path / f"{i:02d}.png")
    return tmp_path


def test_labeled_data_is_split_as_for_training() -> None:
    parts = images_for("digits", SPEC, 50)
    split = open_data("digits")
    assert isinstance(parts.calibration.images, ArrayImages)
    assert isinstance(parts.evaluation.images, ArrayImages)
    assert isinstance(split.train.images, ArrayImages)
    assert isinstance(split.test.images, ArrayImages)
    assert np.array_equal(parts.calibration.images.pixels, split.train.images.pixels)
    assert np.array_equal(parts.evaluation.images.pixels, split.test.images.pixels)
    assert len(parts.calibration) == 50
    assert list(parts.evaluation.labels) == split.test.labels.tolist()


def test_a_bare_folder_is_split_in_halves(folder: Path) -> None:
    parts = images_for(str(folder), SPEC, 100)
    first, second = ({i.name for i in part} for part in (parts.calibration, parts.evaluation))
    assert len(first) == len(second) == 10
    assert not first & second
    assert parts.evaluation.labels == ()


def test_fewer_to_calibrate_leave_more_to_judge(folder: Path) -> None:
    parts = images_for(str(folder), SPEC, 4)
    assert (len(parts.calibration), len(parts.evaluation)) == (4, 16)


@pytest.mark.parametrize(("inside", "judged"), [("", 10), ("test/", 4)], ids=["all of it", "its test images"])
def test_a_folder_to_judge_by(tmp_path: Path, inside: str, judged: int) -> None:
    for part, count in (("", 5),) if not inside else (("train/", 5), ("test/", 2)):
        for label in ("0", "1"):
            place = tmp_path / part / label
            place.mkdir(parents=True)
            for i in range(count):
                Image.fromarray(np.full((4, 4), i, np.uint8)).save(place / f"{i}.png")
    parts = images_for("digits", SPEC, 10, f"folder:{tmp_path}")
    assert len(parts.evaluation) == judged
    assert set(parts.evaluation.labels) == {0, 1}


def test_other_data_to_judge_by(folder: Path) -> None:
    parts = images_for(str(folder), SPEC, 100, "digits")
    assert len(parts.calibration) == 20
    assert len(parts.evaluation) == 359
    assert len(images_for("digits", SPEC, 30, str(folder)).evaluation) == 20


def test_labels_are_the_models() -> None:
    turned = replace(SPEC, labels=DIGITS[::-1])
    ours, theirs = (images_for("digits", s, 10).evaluation.labels for s in (SPEC, turned))
    assert [9 - label for label in ours] == list(theirs)


def test_classes_without_names_are_taken_by_their_place(tmp_path: Path) -> None:
    for i, name in enumerate(("cat", "dog")):
        for n in range(5):
            (tmp_path / name).mkdir(exist_ok=True)
            Image.fromarray(np.full((4, 4), 9 * i + n, np.uint8)).save(tmp_path / name / f"{n}.png")
    data = f"folder:{tmp_path}"
    assert set(images_for(data, replace(SPEC, labels=("0", "1")), 4).evaluation.labels) == {0, 1}
    with pytest.raises(DataError, match="its class 'cat' is none of net's labels"):
        images_for(data, replace(SPEC, labels=("bird", "dog")), 4)


def test_one_image_can_not_be_split(tmp_path: Path) -> None:
    Image.new("L", (4, 4)).save(tmp_path / "a.png")
    with pytest.raises(DataError, match="holds 1 image"):
        images_for(str(tmp_path), SPEC, 4)


def test_data_of_no_form() -> None:
    with pytest.raises(UsageError, match="no such folder"):
        images_for("nowhere", SPEC, 4)


def test_large_networks_are_judged_by_fewer_images() -> None:
    def layers(work: int) -> ModelSpec:
        return replace(SPEC, layers=(Layer("a", "Conv", ("N",), 1, work),))

    assert judged_images(layers(10**6)) == MOST_JUDGED
    assert judged_images(layers(10**9)) == 2000
    assert judged_images(layers(10**11)) == LEAST_JUDGED


def test_a_part_of_the_held_out_is_of_all_classes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cnntk.splitting.judged_images", lambda _: 40)
    labels = images_for("digits", SPEC, 10).evaluation.labels
    assert len(labels) == 40
    assert min(np.bincount(labels, minlength=10)) >= 3
