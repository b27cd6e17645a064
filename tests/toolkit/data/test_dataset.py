"""Splits that can't be trained on are refused; a fingerprint tells data apart."""

from pathlib import Path

import numpy as np
import pytest

from cnntk.data.dataset import Dataset, Split, held_out
from cnntk.data.images import ArrayImages, FileImages, Images
from cnntk.data.source import open_data
from cnntk.runtime.errors import DataError


def dataset(labels: list[int], classes: tuple[str, ...] = ("a", "b")) -> Dataset:
    return Dataset(
        ArrayImages(np.zeros((len(labels), 2, 2, 1), np.uint8)), np.array(labels, np.int64), classes
    )


@pytest.mark.parametrize(
    ("train", "test", "message"),
    [
        (dataset([0, 0]), dataset([0, 1]), "made: class 'b' is empty"),
        (dataset([0], ("a",)), dataset([0], ("a",)), r"made: one class only \(a\)"),
        (dataset([0, 1]), dataset([]), "made: there are no test images"),
        (dataset([0, 1]), dataset([0, 1], ("a", "c")), "made: the classes .* differ"),
    ],
)
def test_refused(train: Dataset, test: Dataset, message: str) -> None:
    with pytest.raises(DataError, match=message):
        Split("made", train, test)


def test_labels_have_to_fit() -> None:
    with pytest.raises(ValueError, match=r"labels are int64\[3\], not int64\[2\]"):
        Dataset(ArrayImages(np.zeros((2, 2, 2, 1), np.uint8)), np.zeros(3, np.int64), ("a", "b"))


def test_fingerprint() -> None:
    prints = {
        Split("made", dataset([0, 1, 1]), dataset([0])).fingerprint(),
        Split("made", dataset([0, 1, 0]), dataset([0])).fingerprint(),
        Split("made", dataset([0, 1]), dataset([1, 0])).fingerprint(),
        Split("made", dataset([0, 1, 1], ("a", "c")), dataset([0], ("a", "c"))).fingerprint(),
    }
    assert len(prints) == 4
    assert Split("other", dataset([0, 1, 1]), dataset([0])).fingerprint() in prints


def test_the_fingerprint_counts_pixels() -> None:
    pixels = np.zeros((2, 2, 2, 1), np.uint8)
    labels = np.array([0, 1], np.int64)

    def fingerprint(images: Images) -> str:
        return Split("made", Dataset(images, labels, ("a", "b")), dataset([0])).fingerprint()

    same, changed = pixels.copy(), pixels.copy()
    changed[1, 1, 1, 0] = 1
    assert fingerprint(ArrayImages(pixels)) == fingerprint(ArrayImages(same))
    assert fingerprint(ArrayImages(pixels)) != fingerprint(ArrayImages(changed))
    assert fingerprint(ArrayImages(pixels)) != fingerprint(ArrayImages(pixels.reshape(2, 1, 4, 1)))


def test_the_fingerprint_counts_names_and_sizes_of_files(tmp_path: Path) -> None:
    def fingerprint(folder: Path) -> str:
        files = FileImages(tuple(sorted(folder.rglob("*.png"))))
        return Split("made", Dataset(files, np.array([0, 1]), ("a", "b")), dataset([0])).fingerprint()

    for name in ("a", "b"):
        (tmp_path / "old" / name).mkdir(parents=True)
        (tmp_path / "old" / name / "0.png").write_bytes(b"xy")
    first = fingerprint(tmp_path / "old")
    (tmp_path / "old").rename(tmp_path / "new")
    assert fingerprint(tmp_path / "new") == first, "a folder may move"
    (tmp_path / "new" / "a" / "0.png").write_bytes(b"xyz")
    larger = fingerprint(tmp_path / "new")
    (tmp_path / "new" / "a" / "0.png").rename(tmp_path / "new" / "a" / "1.png")
    assert len({first, larger, fingerprint(tmp_path / "new")}) == 3
    gone = FileImages((tmp_path / "new" / "a" / "0.png",))
    with pytest.raises(DataError, match=r"0\.png: can't be read"):
        gone.digest()


def test_a_fifth_of_every_class() -> None:
    labels = np.repeat(np.arange(3), [50, 10, 3])
    mask = held_out(labels)
    assert np.bincount(labels[mask]).tolist() == [10, 2, 1]
    np.testing.assert_array_equal(mask, held_out(labels))


def test_it_is_fixed_for_good() -> None:
    assert np.flatnonzero(held_out(np.zeros(20, np.int64))).tolist() == [1, 8, 18, 19]


@pytest.mark.parametrize("count", [1, 2, 4])
def test_at_least_one(count: int) -> None:
    assert held_out(np.zeros(count, np.int64)).sum() == 1


def test_limited_data_is_balanced_and_always_the_same() -> None:
    split = open_data("digits").limited(50)
    assert len(split.train) == len(split.test) == 50
    assert np.bincount(split.train.labels).tolist() == [5] * 10
    assert split.fingerprint() == open_data("digits").limited(50).fingerprint()
    assert split.fingerprint() != open_data("digits").fingerprint()
    assert len(open_data("digits").limited(10**6).train) == 1438
    with pytest.raises(DataError, match=r"9 images .* fewer than its 10 classes"):
        split.limited(9)
