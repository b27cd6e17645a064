"""CIFAR-10: 32x32 color photos, as folders of images, as the original python batches, or an archive of these.

The batches are pickles, and a pickle can run any code when it is read. So only the types of the original
files are allowed: numpy arrays in plain containers. https://www.cs.toronto.edu/~kriz/cifar.html
"""

from __future__ import annotations

import io
import pickle
import tarfile
import zlib
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cnntk.data.dataset import Dataset, Split
from cnntk.data.folder import read_classes
from cnntk.data.images import ArrayImages
from cnntk.runtime.errors import DataError, ImageError
from cnntk.runtime.images.reading import read_image

__all__ = ["open_cifar10", "read_pickle"]

_TRAIN_BATCHES = tuple(f"data_batch_{i}" for i in range(1, 6))
_SIZE = (32, 32)
_VALUES = 3 * 32 * 32
_MAX_FILES, _MAX_BYTES = 100_000, 500_000_000
"""What an archive may hold: CIFAR-10 has 60,000 images and 184 MB."""

# Errors of reading a damaged pickle, by the documentation of pickle and by experiment.
_PICKLE_ERRORS = (
    pickle.UnpicklingError,
    ArithmeticError,
    AttributeError,
    EOFError,
    LookupError,
    MemoryError,
    TypeError,
    ValueError,
)


def open_cifar10(path: Path) -> Split:
    """Opens CIFAR-10 in any of its forms.

    Args:
        path: Folder with ``train`` and ``test``, each with a folder per class, or with the python batches,
            or with the folder ``cifar-10-batches-py`` that contains them; or a ``.tar.gz`` archive of these.

    Raises:
        DataError: Files are missing or damaged; the message names them.
    """
    return _open_archive(path) if path.is_file() else _open_folder(path)


def _open_archive(file: Path) -> Split:
    """Reads the files of an archive into memory; of their names only the last parts count.

    Raises:
        DataError: The archive is damaged, larger than CIFAR-10 can be, or holds something else.
    """
    try:
        with tarfile.open(file) as archive:
            files: dict[tuple[str, ...], bytes] = {}
            size_bytes = 0
            for member in archive:
                size_bytes += member.size
                if len(files) > _MAX_FILES or size_bytes > _MAX_BYTES:
                    raise DataError(f"{file}: is larger than CIFAR-10 can be; name its own archive")
                if member.isfile() and (stream := archive.extractfile(member)) is not None:
                    files[PurePosixPath(member.name).parts[-3:]] = stream.read()
    except (tarfile.TarError, EOFError, OSError, zlib.error) as error:
        raise DataError(f"{file}: not a valid .tar.gz archive ({error}); download it again") from error
    batches = {name[-1]: data for name, data in files.items()}
    if "batches.meta" in batches:
        return _open_batches(file, batches)
    return Split("cifar10", _decoded(file, files, "train"), _decoded(file, files, "test"))


def _decoded(file: Path, files: Mapping[tuple[str, ...], bytes], part: str) -> Dataset:
    """The images below ``train`` or ``test``, whose folder names their class."""
    names = sorted(name for name in files if name[0] == part and len(name) == 3)
    if not names:
        raise DataError(f"{file}: has neither {part}/ with a folder per class nor batches.meta")
    classes = tuple(sorted({name[1] for name in names}))
    pixels = np.empty((len(names), *_SIZE, 3), np.uint8)
    for image, name in zip(pixels, names, strict=True):
        try:
            decoded = read_image(files[name])
        except ImageError as error:
            raise DataError(f"{file}: {'/'.join(name)}: {error.for_option('')}") from error
        if decoded.shape[:2] != _SIZE:
            height, width = decoded.shape[:2]
            raise DataError(f"{file}: {'/'.join(name)}: is {width}x{height}, expected 32x32")
        image[:] = decoded
    labels = np.array([classes.index(name[1]) for name in names], np.int64)
    return Dataset(ArrayImages(pixels), labels, classes)


def _open_folder(folder: Path) -> Split:
    if (folder / "train").is_dir():
        train = read_classes(folder / "train", size=(32, 32))
        return Split("cifar10", train, read_classes(folder / "test", train.classes, size=(32, 32)))
    for path in (folder, folder / "cifar-10-batches-py"):
        if (path / "batches.meta").is_file():
            return _open_batches(path)
    raise DataError(f"{folder}: has neither train/ and test/ with a folder per class nor batches.meta")


def read_pickle(file: Path, content: bytes | None = None) -> Any:
    """Reads a pickle of numpy arrays, numbers, text, bytes, lists and dicts; text of Python 2 becomes bytes.

    Args:
        file: Path of the file, or its name for messages.
        content: Content of the file, if it was read already.

    Raises:
        DataError: The file is damaged, or contains other types.
    """
    try:
        content = file.read_bytes() if content is None else content
        return _ArraysOnly(io.BytesIO(content), encoding="bytes").load()
    except FileNotFoundError as error:
        raise DataError(f"{file}: is missing; download the data again") from error
    except OSError as error:
        raise DataError(f"{file}: can't be read ({error.strerror})") from error
    except _PICKLE_ERRORS as error:
        raise DataError(f"{file}: not a valid CIFAR-10 batch ({error}); download the data again") from error


def _empty_array(kind: type, shape: tuple[int, ...], _typecode: bytes) -> NDArray[Any]:
    if kind is not np.ndarray:
        raise pickle.UnpicklingError("it asks for an array of another class")
    return np.ndarray(shape, np.int8)


def _latin1(text: str, encoding: str = "latin1") -> bytes:
    """Decodes bytes that Python 3 pickled for Python 2."""
    if encoding != "latin1":
        raise pickle.UnpicklingError(f"it asks for the codec {encoding!r}")
    return text.encode("latin1")


_ALLOWED = {
    ("numpy.core.multiarray", "_reconstruct"): _empty_array,
    ("numpy._core.multiarray", "_reconstruct"): _empty_array,
    ("numpy", "ndarray"): np.ndarray,
    ("numpy", "dtype"): np.dtype,
    ("_codecs", "encode"): _latin1,
}


class _ArraysOnly(pickle.Unpickler):
    def find_class(self, module_name: str, global_name: str) -> Any:
        if (module_name, global_name) not in _ALLOWED:
            raise pickle.UnpicklingError(f"it asks for {module_name}.{global_name}, which is refused")
        return _ALLOWED[module_name, global_name]


def _open_batches(folder: Path, contents: Mapping[str, bytes] | None = None) -> Split:
    """Opens the batches in a folder, or those in an archive, whose ``contents`` were read already."""

    def read(name: str) -> Any:
        if contents is not None and name not in contents:
            raise DataError(f"{folder / name}: is missing; download the data again")
        return read_pickle(folder / name, None if contents is None else contents[name])

    classes = _class_names(folder / "batches.meta", read("batches.meta"))
    train = [_batch(folder / name, read(name), len(classes)) for name in _TRAIN_BATCHES]
    test = [_batch(folder / "test_batch", read("test_batch"), len(classes))]
    return Split("cifar10", _joined(train, classes), _joined(test, classes))


def _class_names(file: Path, content: Any) -> tuple[str, ...]:
    names = _field(content, "label_names", file)
    if not isinstance(names, list) or not all(isinstance(name, str | bytes) for name in names):
        raise DataError(f"{file}: label_names is not a list of names; download the data again")
    return tuple(name.decode() if isinstance(name, bytes) else name for name in names)


def _field(content: Any, name: str, file: Path) -> Any:
    """Value of a field, whose name is text or, from Python 2, bytes."""
    for key in (name, name.encode()):
        if isinstance(content, dict) and key in content:
            return content[key]
    raise DataError(f"{file}: has no field {name!r}; download the data again")


def _batch(file: Path, content: Any, classes: int) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Pixels, uint8 (N, 32, 32, 3), and labels, int64 (N,), of one batch."""
    data, labels = _field(content, "data", file), _field(content, "labels", file)
    if not isinstance(data, np.ndarray) or data.dtype != np.uint8 or data.shape[1:] != (_VALUES,):
        kind = f"{data.dtype}{list(data.shape)}" if isinstance(data, np.ndarray) else type(data).__name__
        raise DataError(f"{file}: data is {kind}, not uint8[N, {_VALUES}]; download the data again")
    if not isinstance(labels, list) or len(labels) != len(data):
        raise DataError(f"{file}: labels are not a list of length {len(data)}; download the data again")
    if wrong := [v for v in labels if not isinstance(v, int) or not 0 <= v < classes]:
        raise DataError(f"{file}: label {wrong[0]!r}; expected 0 to {classes - 1}")
    return data.reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1), np.array(labels, dtype=np.int64)


def _joined(batches: list[tuple[NDArray[np.uint8], NDArray[np.int64]]], classes: tuple[str, ...]) -> Dataset:
    pixels = np.concatenate([pixels for pixels, _ in batches])
    return Dataset(ArrayImages(pixels), np.concatenate([labels for _, labels in batches]), classes)
