"""IDX files: what is read, and what is refused by name."""

import gzip
import re
import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from cnntk.data.idx import open_fashion_mnist, open_mnist, read_idx
from cnntk.runtime.artifact.spec import Preprocessing
from cnntk.runtime.errors import DataError

IdxWriter = Callable[[Path, np.ndarray], None]

TRAIN_IMAGES = "train-images-idx3-ubyte.gz"
TRAIN_LABELS = "train-labels-idx1-ubyte.gz"


def unpacked(file: Path) -> bytes:
    return gzip.decompress(file.read_bytes())


def test_mnist_is_read(mnist_folder: Path) -> None:
    split = open_mnist(mnist_folder)
    assert (len(split.train), len(split.test), split.classes) == (30, 10, tuple("0123456789"))
    assert (split.handwriting, split.resize) == (True, "longest")
    pixels = split.train.images.take([29, 0], Preprocessing("gray", 6, 5))
    content = np.frombuffer(unpacked(mnist_folder / TRAIN_IMAGES), np.uint8, offset=16).reshape(30, 6, 5, 1)
    np.testing.assert_array_equal(pixels, content[[29, 0]])
    assert split.train.labels.tolist() == [i % 10 for i in range(30)]


def test_fashion_mnist_is_no_handwriting(mnist_folder: Path) -> None:
    split = open_fashion_mnist(mnist_folder)
    assert split.classes[9] == "Ankle boot"
    assert (split.handwriting, split.resize) == (False, "stretch")


@pytest.mark.parametrize("name", ["train-images-idx3-ubyte", "train-images.idx3-ubyte"])
def test_plain_files_are_read(mnist_folder: Path, name: str) -> None:
    packed = mnist_folder / TRAIN_IMAGES
    (mnist_folder / name).write_bytes(unpacked(packed))
    packed.unlink()
    assert len(open_mnist(mnist_folder).train) == 30


def test_a_missing_file_is_named(mnist_folder: Path) -> None:
    (mnist_folder / "t10k-labels-idx1-ubyte.gz").unlink()
    with pytest.raises(
        DataError, match=r"contains neither t10k-labels-idx1-ubyte nor t10k-labels-idx1-ubyte\.gz"
    ):
        open_mnist(mnist_folder)


def damage(kind: str, data: bytes) -> bytes:
    return {
        "magic": b"\x00\x00\x0d\x03" + data[4:],
        "dimensions": b"\x00\x00\x08\x01" + data[4:],
        "empty": b"",
        "in the header": data[:10],
        "cut short": data[:-7],
        "too long": data + b"\x00",
        "no images": struct.pack(">BBBBIII", 0, 0, 8, 3, 0, 6, 5),
        "no pixels": struct.pack(">BBBBIII", 0, 0, 8, 3, 30, 0, 5),
        "huge": struct.pack(">BBBBIII", 0, 0, 8, 3, 2**32 - 1, 2**32 - 1, 2**32 - 1),
    }[kind]


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("magic", "starts with 00 00 0d 03, not 00 00 08 03"),
        ("dimensions", "starts with 00 00 08 01, not 00 00 08 03"),
        ("empty", "starts with , not 00 00 08 03"),
        ("in the header", "ends inside its header, after 10 of 16 bytes"),
        ("cut short", r"its header declares \[30, 6, 5\], 900 values; it has 893"),
        ("too long", r"its header declares \[30, 6, 5\], 900 values; it has 901"),
        ("no images", r"has no pixels, its shape is \[0, 6, 5\]"),
        ("no pixels", r"has no pixels, its shape is \[30, 0, 5\]"),
        ("huge", "it has 0"),
    ],
)
def test_damaged_images_are_refused(mnist_folder: Path, kind: str, message: str) -> None:
    file = mnist_folder / TRAIN_IMAGES
    file.write_bytes(gzip.compress(damage(kind, unpacked(file))))
    with pytest.raises(DataError, match=f"{TRAIN_IMAGES}: .*{message}"):
        open_mnist(mnist_folder)


@pytest.mark.parametrize("kind", ["truncated", "flipped", "no gzip"])
def test_damaged_gzip_is_refused(mnist_folder: Path, kind: str) -> None:
    file = mnist_folder / TRAIN_IMAGES
    data = bytearray(file.read_bytes())
    if kind == "truncated":
        del data[-20:]
    elif kind == "flipped":
        data[-6] ^= 255
    else:
        data = bytearray(b"not at all")
    file.write_bytes(data)
    with pytest.raises(DataError, match=f"{TRAIN_IMAGES}: not a valid gzip file"):
        open_mnist(mnist_folder)


def test_counts_that_differ_are_refused(mnist_folder: Path, write_idx: IdxWriter) -> None:
    write_idx(mnist_folder / TRAIN_LABELS, np.arange(29, dtype=np.uint8) % 10)
    with pytest.raises(DataError, match=f"{TRAIN_LABELS}: 29 labels for the 30 images of {TRAIN_IMAGES}"):
        open_mnist(mnist_folder)


def test_a_label_out_of_range_is_refused(mnist_folder: Path, write_idx: IdxWriter) -> None:
    write_idx(mnist_folder / TRAIN_LABELS, np.array([*range(10)] * 2 + [*range(9), 10], dtype=np.uint8))
    with pytest.raises(DataError, match=f"{TRAIN_LABELS}: label 10 at index 29; expected 0 to 9"):
        open_mnist(mnist_folder)


def test_a_class_without_images_is_refused(mnist_folder: Path, write_idx: IdxWriter) -> None:
    write_idx(mnist_folder / TRAIN_LABELS, np.arange(30, dtype=np.uint8) % 9)
    with pytest.raises(DataError, match="mnist: class '9' is empty"):
        open_mnist(mnist_folder)


def test_sizes_that_differ_are_refused(mnist_folder: Path, write_idx: IdxWriter) -> None:
    write_idx(mnist_folder / "t10k-images-idx3-ubyte.gz", np.zeros((10, 5, 5), np.uint8))
    with pytest.raises(DataError, match=re.escape("training images are (6, 5) pixels, test images (5, 5)")):
        open_mnist(mnist_folder)


def test_a_folder_instead_of_a_file(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="can't be read"):
        read_idx(tmp_path, 3)
