"""MNIST and Fashion-MNIST: images and labels in IDX files, plain or gzip.

An IDX file is 0, 0, the type (8: unsigned byte), the number of dimensions, each dimension as a big-endian
uint32, then the values: http://yann.lecun.com/exdb/mnist
"""

from __future__ import annotations

import gzip
import math
import zlib
from pathlib import Path

import numpy as np

from cnntk.data.dataset import Dataset, Labels, Split
from cnntk.data.images import ArrayImages
from cnntk.runtime.errors import DataError
from cnntk.runtime.images.reading import Pixels

__all__ = ["open_fashion_mnist", "open_mnist", "read_idx"]

_DIGITS = tuple("0123456789")
_FASHION = (
    "T-shirt/top",
    "Trouser",
    "Pullover",
    "Dress",
    "Coat",
    "Sandal",
    "Shirt",
    "Sneaker",
    "Bag",
    "Ankle boot",
)
_UNSIGNED_BYTE = 8
_ADVICE = "download the file again"


def open_mnist(folder: Path) -> Split:
    """Opens MNIST: white handwritten digits on black.

    Args:
        folder: Folder with the four IDX files under their original names, with or without ``.gz``.

    Raises:
        DataError: A file is missing, damaged, or doesn't match the others; the message names it.
    """
    train, test = _open(folder, _DIGITS)
    return Split("mnist", train, test, resize="longest", handwriting=True)


def open_fashion_mnist(folder: Path) -> Split:
    """Opens Fashion-MNIST: gray clothes on black; files and errors are those of `open_mnist`."""
    train, test = _open(folder, _FASHION)
    return Split("fashion-mnist", train, test)


def read_idx(file: Path, dimensions: int) -> Pixels:
    """Reads the values of an IDX file of unsigned bytes.

    Args:
        file: Path of the file, which is gzip where the name ends in ``.gz``.
        dimensions: Expected number of dimensions: 3 for images (N, H, W), 1 for labels (N,).

    Raises:
        DataError: The file is damaged, truncated, or of another type.
    """
    data = _content(file)
    header = 4 + 4 * dimensions
    expected = bytes((0, 0, _UNSIGNED_BYTE, dimensions))
    if data[:4] != expected:
        raise DataError(f"{file}: starts with {data[:4].hex(' ')}, not {expected.hex(' ')}; {_ADVICE}")
    if len(data) < header:
        raise DataError(f"{file}: ends inside its header, after {len(data)} of {header} bytes; {_ADVICE}")
    shape = tuple(int(n) for n in np.frombuffer(data, ">u4", dimensions, offset=4))
    if len(data) - header != math.prod(shape):
        raise DataError(
            f"{file}: its header declares {list(shape)}, {math.prod(shape)} values; "
            f"it has {len(data) - header}; {_ADVICE}"
        )
    return np.frombuffer(data, np.uint8, offset=header).reshape(shape)


def _content(file: Path) -> bytes:
    try:
        data = file.read_bytes()
        return gzip.decompress(data) if file.suffix == ".gz" else data
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise DataError(f"{file}: not a valid gzip file ({error}); {_ADVICE}") from error
    except OSError as error:
        raise DataError(f"{file}: can't be read ({error.strerror})") from error


def _open(folder: Path, classes: tuple[str, ...]) -> tuple[Dataset, Dataset]:
    train, test = (_dataset(folder, prefix, classes) for prefix in ("train", "t10k"))
    if train.images.size != test.images.size:
        raise DataError(
            f"{folder}: training images are {train.images.size} pixels, "
            f"test images {test.images.size}; {_ADVICE}"
        )
    return train, test


def _dataset(folder: Path, prefix: str, classes: tuple[str, ...]) -> Dataset:
    image_file = _find(folder, f"{prefix}-images", 3)
    label_file = _find(folder, f"{prefix}-labels", 1)
    pixels, labels = read_idx(image_file, 3), read_idx(label_file, 1)
    if not pixels.size:
        raise DataError(f"{image_file}: has no pixels, its shape is {list(pixels.shape)}; {_ADVICE}")
    if len(pixels) != len(labels):
        raise DataError(
            f"{label_file}: {len(labels)} labels for the {len(pixels)} images of {image_file.name}"
        )
    return Dataset(ArrayImages(pixels[..., None]), _checked(labels, label_file, classes), classes)


def _checked(labels: Pixels, file: Path, classes: tuple[str, ...]) -> Labels:
    if labels.max() >= len(classes):
        index = int(labels.argmax())
        raise DataError(f"{file}: label {labels[index]} at index {index}; expected 0 to {len(classes) - 1}")
    return labels.astype(np.int64)


def _find(folder: Path, stem: str, dimensions: int) -> Path:
    """The file under its original name, or with a dot for the hyphen, as some tools unpack it."""
    names = [f"{stem}{mark}idx{dimensions}-ubyte{end}" for mark in "-." for end in ("", ".gz")]
    for file in (folder / name for name in names):
        if file.is_file():
            return file
    raise DataError(f"{folder}: contains neither {names[0]} nor {names[1]}")
