"""Splits that can't be trained on are refused; a fingerprint tells data apart."""

import numpy as np
import pytest

from cnntk.data.dataset import Dataset, Split
from cnntk.data.images import ArrayImages
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
