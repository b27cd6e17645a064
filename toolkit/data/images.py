"""Images of a data set: in memory, or in files that are decoded on demand, and resized for a network."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from cnntk.runtime.artifact.spec import Preprocessing
from cnntk.runtime.errors import DataError, ImageError
from cnntk.runtime.images.reading import Pixels, read_image
from cnntk.runtime.images.search import find_images, unreadable_formats
from cnntk.runtime.preprocessing.preprocess import resize_and_crop
from cnntk.runtime.session.cores import usable_cores

__all__ = [
    "MEMORY_BYTES",
    "ArrayImages",
    "FileImages",
    "Images",
    "PreparedImages",
    "image_files",
    "prepare",
    "read_file",
]

Indices = Sequence[int] | NDArray[np.int64]

MEMORY_BYTES = 2**30
"""Size up to which a prepared data set is stored in memory."""

# Formats whose header says whether an image is gray; others are decoded.
_HEADERS = ("BMP", "GIF", "JPEG", "PNG", "PPM", "TIFF", "WEBP")
_GRAY = ("1", "L", "I", "I;16", "I;16B", "I;16L")


class Images(Protocol):
    """The images of a data set.

    Both kinds prepare their pixels with the runtime's own `fit`, so a network is trained on the very
    pixels that it will see at inference.
    """

    def __len__(self) -> int:
        """Number of images."""
        ...

    @property
    def channels(self) -> int:
        """Number of color channels: 1 where the images are gray, else 3."""
        ...

    @property
    def size(self) -> tuple[int, int] | None:
        """Height and width of all images; None where they may differ."""
        ...

    def digest(self) -> bytes:
        """SHA-256 of the pixels in memory, or of the names and sizes of files."""
        ...

    def select(self, indices: Indices) -> Images:
        """Only the images at ``indices``."""
        ...

    def take(self, indices: Indices, preprocessing: Preprocessing) -> Pixels:
        """The images at ``indices``, all but the normalization done: uint8 (n, height, width, C)."""
        ...


@dataclass(frozen=True, eq=False)
class ArrayImages:
    """Images of one size in memory.

    Attributes:
        pixels: Pixels, uint8 (N, H, W, C), RGB or gray.
    """

    pixels: Pixels

    def __len__(self) -> int:
        return len(self.pixels)

    @property
    def channels(self) -> int:
        """Number of color channels: 1 for gray, 3 for RGB."""
        return int(self.pixels.shape[3])

    @property
    def size(self) -> tuple[int, int]:
        """Height and width."""
        return self.pixels.shape[1], self.pixels.shape[2]

    def digest(self) -> bytes:
        """SHA-256 over shape and pixels."""
        digest = hashlib.sha256(repr(self.pixels.shape).encode())
        digest.update(np.ascontiguousarray(self.pixels).data)
        return digest.digest()

    def select(self, indices: Indices) -> ArrayImages:
        """Only the images at ``indices``."""
        return ArrayImages(self.pixels[np.asarray(indices, dtype=np.int64)])

    def take(self, indices: Indices, preprocessing: Preprocessing) -> Pixels:
        """The images at ``indices``, prepared: uint8 (n, height, width, C)."""
        chosen = self.pixels[np.asarray(indices, dtype=np.int64)]
        if self._is_identity(preprocessing):
            return chosen
        return _stack((resize_and_crop(image, preprocessing) for image in chosen), len(chosen), preprocessing)

    def _is_identity(self, p: Preprocessing) -> bool:
        same_color = p.color == ("gray" if self.channels == 1 else "rgb")
        return same_color and self.size == (p.height, p.width) and p.invert == "never" and p.crop_ratio == 1


@dataclass(frozen=True, eq=False)
class FileImages:
    """Images in files of any format and size, decoded when they are taken, on all cores.

    Attributes:
        paths: Paths of the files.
        size: Height and width of all images; None where they may differ.
    """

    paths: tuple[Path, ...]
    size: tuple[int, int] | None = None

    def __len__(self) -> int:
        return len(self.paths)

    @property
    def channels(self) -> int:
        """Number of color channels: 1 where all files are gray, else 3, by their headers.

        Raises:
            DataError: A file can't be read.
        """
        return 1 if all(_is_gray(path) for path in self.paths) else 3

    def digest(self) -> bytes:
        """SHA-256 over each file's name, below the folder of all, and its size in bytes.

        Raises:
            DataError: A file no longer exists.
        """
        digest = hashlib.sha256()
        folder = os.path.commonpath([path.parent for path in self.paths]) if self.paths else ""
        for path in self.paths:
            name = path.relative_to(folder).as_posix()
            digest.update(f"{name}\0{_size_bytes(path)}\0".encode())
        return digest.digest()

    def select(self, indices: Indices) -> FileImages:
        """Only the images at ``indices``."""
        return FileImages(tuple(self.paths[i] for i in indices), self.size)

    def take(self, indices: Indices, preprocessing: Preprocessing) -> Pixels:
        """The images at ``indices``, decoded and prepared: uint8 (n, height, width, C).

        Raises:
            DataError: A file can't be read; the message names it.
        """
        paths = [self.paths[i] for i in indices]

        def prepared(path: Path) -> Pixels:
            return resize_and_crop(read_file(path, preprocessing.background), preprocessing)

        return _stack(_in_threads(prepared, paths), len(paths), preprocessing)


@dataclass(frozen=True, eq=False)
class PreparedImages:
    """Images with all preprocessing but the normalization.

    Attributes:
        images: Images before the preprocessing.
        preprocessing: Preprocessing.
        pixels: Pixels of all images, uint8 (N, height, width, C); None where they don't fit in memory.
    """

    images: Images
    preprocessing: Preprocessing
    pixels: Pixels | None

    def __len__(self) -> int:
        return len(self.images)

    def take(self, indices: Indices) -> Pixels:
        """The images at ``indices``: uint8 (n, height, width, C)."""
        if self.pixels is None:
            return self.images.take(indices, self.preprocessing)
        return self.pixels[np.asarray(indices, dtype=np.int64)]


def prepare(images: Images, preprocessing: Preprocessing, memory_bytes: int = MEMORY_BYTES) -> PreparedImages:
    """Prepares all images now where the result fits in ``memory_bytes``.

    Raises:
        DataError: An image can't be read.
    """
    p = preprocessing
    size_bytes = len(images) * p.height * p.width * p.channels
    if size_bytes > memory_bytes:
        return PreparedImages(images, p, None)
    everything = images.take(np.arange(len(images)), p)
    # Pixels that needed no preprocessing are a second copy: store only one.
    if isinstance(images, ArrayImages) and everything.shape == images.pixels.shape:
        images = ArrayImages(everything)
    return PreparedImages(images, p, everything)


def image_files(folder: Path) -> tuple[Path, ...]:
    """The image files below a folder, in order of name.

    Raises:
        DataError: A folder can't be listed, or images are of formats that are not read here: the message has
            their number, and names the first with what to do.
    """
    files = []
    for image in find_images(folder):
        if isinstance(image, ImageError):
            raise DataError(str(image))
        files.append(image)
    if errors := list(unreadable_formats(files)):
        others = f" ({len(errors)} of {len(files)} images are of formats that are not read)"
        raise DataError(f"{errors[0]}; or remove it from the data{others}")
    return tuple(map(Path, files))


def _is_gray(path: Path) -> bool:
    """What `read_image` makes of the file, as far as the header tells; else it is asked."""
    try:
        with Image.open(path, formats=_HEADERS) as image:
            if image.mode in _GRAY:
                return not image.has_transparency_data
            if image.mode != "F":
                return False
    except Exception:  # Pillow may raise any on a damaged header; the runtime's message is better
        pass
    return int(read_file(path, (255, 255, 255)).shape[2]) == 1


def _size_bytes(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError as error:
        raise DataError(f"{path}: can't be read: {error.strerror or error}") from error


def read_file(path: Path, background: tuple[int, ...]) -> Pixels:
    """Decodes a file; DataError says which can't be read."""
    try:
        return read_image(path, background=background)
    except ImageError as error:
        raise DataError(f"{error.for_option('')}; or remove it from the data") from error


def _in_threads(prepared: Callable[[Path], Pixels], paths: list[Path]) -> Iterable[Pixels]:
    pool = ThreadPoolExecutor(max_workers=usable_cores())
    try:
        yield from pool.map(prepared, paths)
    finally:
        pool.shutdown(cancel_futures=True)  # after an unreadable file the rest need not be decoded


def _stack(images: Iterable[Pixels], count: int, p: Preprocessing) -> Pixels:
    batch = np.empty((count, p.height, p.width, p.channels), dtype=np.uint8)
    for i, image in enumerate(images):
        batch[i] = image
    return batch
