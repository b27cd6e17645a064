"""Images of a folder get the class index of the model."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from cnntk.data.labeled import LabeledFiles, class_indices, labeled_files, open_labeled
from cnntk.runtime.errors import DataError

LABELS = ("cat", "dog", "Tench, Tinca tinca", "crane", "crane")


def photos(folder: Path, *names: str) -> Path:
    for index, name in enumerate(names):
        (folder / name).mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.zeros((2, 2), np.uint8)).save(folder / name / f"{index}.png")
    return folder


@pytest.mark.parametrize(
    ("names", "labels"),
    [
        (("cat", "dog"), {0, 1}),
        (("0", "4"), {0, 4}),
        (("Dog", "tench_tinca_tinca"), {1, 2}),
    ],
)
def test_by_label_or_by_number(tmp_path: Path, names: tuple[str, ...], labels: set[int]) -> None:
    files = labeled_files(photos(tmp_path, *names), LABELS)
    assert set(files.labels) == labels
    assert files.notes == ()


def test_labels_that_are_numbers_are_labels_first(tmp_path: Path) -> None:
    assert set(labeled_files(photos(tmp_path, "1", "0"), ("1", "0")).labels) == {0, 1}
    assert labeled_files(photos(tmp_path / "one", "1"), ("1", "0")).labels == (0,)


def test_a_model_without_labels(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="has no labels"):
        labeled_files(str(photos(tmp_path, "1")), ())


def test_unknown_classes_are_reported(tmp_path: Path) -> None:
    files = labeled_files(photos(tmp_path, "cat", "horse", "crane"), LABELS)
    assert files.labels == (0,)
    assert "'crane', 'horse'" in files.notes[0]


def test_other_files_are_left_out_and_counted(tmp_path: Path) -> None:
    photos(tmp_path, "cat", "dog")
    (tmp_path / "cat" / "0.png").rename(tmp_path / "cat" / "0")
    (tmp_path / "dog" / "notes.txt").write_text("no image")
    files = labeled_files(tmp_path, LABELS)
    assert files.labels == (0, 1)
    assert files.notes == ("left out: 1 file that is not an image (1 .txt)",)


def test_a_table(tmp_path: Path) -> None:
    photos(tmp_path, "inner")
    (tmp_path / "labels.csv").write_text(
        "file,label\ninner/0.png,dog\ninner/gone.png,cat\n", encoding="utf-8-sig"
    )
    files = labeled_files(tmp_path, LABELS)
    assert files.labels == (1, 0)
    assert files.paths[0] == str(tmp_path / "inner" / "0.png")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "contains no row"),
        ("name,label\na.png,cat\n", "row 2 has no file or no label"),
        ("file,label\na.png,cat\nb.png,\n", "row 3 has no file or no label"),
        (
            "file,label\na.png,horse\n",
            "none of its classes is one of the model's: 'horse'; expected 'cat', 'dog'",
        ),
    ],
)
def test_a_malformed_table(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "labels.csv").write_text(text)
    with pytest.raises(DataError, match=message):
        labeled_files(tmp_path, LABELS)


def test_folders_without_images(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no such folder"):
        labeled_files(tmp_path / "nowhere", LABELS)
    with pytest.raises(DataError, match="contains no labeled image"):
        labeled_files(tmp_path, LABELS)
    photos(tmp_path, "cat")
    (tmp_path / "dog").mkdir()
    files = labeled_files(tmp_path, LABELS)
    assert files.labels == (0,)
    assert "dog: contains no image" in files.unreadable[0]


def test_a_sample_is_balanced() -> None:
    labels = (0,) * 50 + (1,) * 5 + (2,) * 20
    files = LabeledFiles(tuple(map(str, range(75))), labels)
    sample = files.sample(30, seed=0)
    assert Counter(sample.labels) in ({0: 13, 1: 5, 2: 12}, {0: 12, 1: 5, 2: 13})
    assert [labels[int(path)] for path in sample.paths] == list(sample.labels)
    assert sample == files.sample(30, seed=0)
    assert sample.paths != files.sample(30, seed=1).paths
    assert files.sample(75, seed=0) is files


def test_a_sample_of_many_classes_is_random() -> None:
    files = LabeledFiles(tuple(map(str, range(100))), tuple(range(100)))
    assert max(files.sample(10, seed=0).labels) > 30


def test_images_beside_the_class_folders_are_named(tmp_path: Path) -> None:
    photos(tmp_path, "cat", "dog")
    (tmp_path / "cat" / "0.png").rename(tmp_path / "stray.png")
    photos(tmp_path, "cat")
    (tmp_path / "notes.txt").write_text("no image")
    note = "left out, because they are in no class folder: 'stray.png'"
    assert labeled_files(tmp_path, LABELS).notes == (note,)
    assert open_labeled(str(tmp_path)).notes == (note,)


def test_data_has_its_own_classes(tmp_path: Path) -> None:
    images = open_labeled(f"folder:{photos(tmp_path, 'dog', 'cat', 'cow')}")
    assert (images.classes, images.labels.tolist()) == (("cat", "cow", "dog"), [0, 1, 2])
    assert [Path(image.file).parent.name for image in images] == ["cat", "cow", "dog"]
    assert len(images.sample(2, 0)) == 2
    digits = open_labeled("digits")
    assert (digits.image(3).file, len(digits), digits.name) == ("number 4", 359, "digits")
    sample = digits.sample(20, 0)
    assert Counter(sample.labels.tolist()) == dict.fromkeys(range(10), 2)
    assert sample.image(5).file == f"number {sample.indices[5] + 1}"


@pytest.mark.parametrize(
    ("classes", "labels", "expected"),
    [
        (("a", "b"), ("b", "a"), (1, 0)),
        (("1", "0"), ("x", "y", "z"), (1, 0)),
        (("cat", "dog"), ("0", "1"), (0, 1)),
        (("cat", "dog"), ("0", "1", "2"), "'cat' is not one of net's labels"),
        (("cat", "cow"), ("cat", "dog"), "'cow' is not one of net's labels .*; name each class"),
        (("cow", "owl"), ("cat", "dog"), "2 of its 2 classes have no label"),
        (("crane",), ("crane", "Crane"), (0,)),
        (("CRANE",), ("crane", "Crane"), "'CRANE' is several of net's labels"),
    ],
)
def test_class_indices(
    classes: tuple[str, ...], labels: tuple[str, ...], expected: tuple[int, ...] | str
) -> None:
    if isinstance(expected, str):
        with pytest.raises(DataError, match=expected):
            class_indices(classes, labels, "data", "net")
    else:
        assert class_indices(classes, labels, "data", "net") == expected
