"""Search of folders for image files by their content, for inference, data, calibration and samples alike."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import PurePath

from cnntk.runtime.errors import ImageError
from cnntk.runtime.images._decoding import describe_unreadable
from cnntk.runtime.images._formats import missing_decoder, readable_formats
from cnntk.runtime.images.reading import source_name
from cnntk.runtime.images.signatures import HEAD_BYTES, IMAGE_SUFFIXES, file_format, is_image

__all__ = ["LeftOutFiles", "find_images", "is_image_file", "readable_formats", "unreadable_formats"]

_SUFFIXES = tuple(IMAGE_SUFFIXES)
_ALWAYS_READ = (".bmp", ".gif", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp")
_NAMED_SUFFIXES = 4


class LeftOutFiles:
    """A count, by suffix, of the files in searched folders that are not images."""

    def __init__(self) -> None:
        self._suffixes = Counter[str]()

    def add(self, name: str) -> None:
        """Counts a file."""
        self._suffixes[PurePath(name).suffix.lower() or "without suffix"] += 1

    def __str__(self) -> str:
        """One line; empty if there are none."""
        total = self._suffixes.total()
        if not total:
            return ""
        most = self._suffixes.most_common(_NAMED_SUFFIXES)
        suffixes = ", ".join(f"{count:,} {suffix}" for suffix, count in most)
        more = ", ..." if len(self._suffixes) > len(most) else ""
        files = "1 file that is not an image" if total == 1 else f"{total:,} files that are not images"
        return f"left out: {files} ({suffixes}{more})"


def find_images(
    folder: str | os.PathLike[str], left_out: LeftOutFiles | None = None
) -> Iterator[str | ImageError]:
    """Yields the paths of all image files below a folder, in order of name.

    A file is an image if its name has a suffix of `IMAGE_SUFFIXES`, or if its first bytes are those of an
    image. Either may be of a format that can't be read, or damaged: reading it gives the reason. Hidden files
    and folders are passed over, as are links to folders and whatever is not a regular file; a broken link
    with the suffix of an image is yielded. Memory holds the names of one folder per level of the tree.

    Args:
        folder: Folder to search.
        left_out: Counter of the files that are not images.

    Yields:
        Paths, and an error, which is not raised, in the order of paths for each folder that can't be listed.
    """
    folder = os.fspath(folder)
    try:
        names, folders = _listed(folder)
    except OSError as error:
        yield ImageError(f"{folder}: can't be listed ({error.strerror})")
        return
    for name in names:
        path = os.path.join(folder, name)
        if name in folders:
            yield from find_images(path, left_out)
        elif is_image_file(path):
            yield path
        elif left_out is not None:
            left_out.add(name)


def is_image_file(path: str) -> bool:
    """Whether a file is an image by its suffix or its first bytes, of a format that is read or not."""
    return path.lower().endswith(_SUFFIXES) or _has_image_content(path)


def unreadable_formats(paths: Iterable[str]) -> Iterator[ImageError]:
    """Yields an error for each image whose format is not read here; those that only are damaged pass.

    Files with the suffix of a format that is always read are not opened.
    """
    for path in paths:
        if path.lower().endswith(_ALWAYS_READ):
            continue
        try:
            head = _head(path)
        except OSError:  # it is said where the image is read
            continue
        form = file_format(head)
        if form is None or missing_decoder(form):
            yield ImageError(f"{source_name(path)}: {describe_unreadable(head, path)}")


def _listed(folder: str) -> tuple[list[str], set[str]]:
    """Sorted names of the files and folders in ``folder``, and the set of those that are folders."""
    names, folders = [], set()
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.name.startswith("."):
                continue
            if entry.is_dir(follow_symlinks=False):
                folders.add(entry.name)
            elif not (entry.is_file() or _is_broken_link(entry)):
                continue
            names.append(entry.name)
    names.sort()
    return names, folders


def _is_broken_link(entry: os.DirEntry[str]) -> bool:
    return entry.is_symlink() and not os.path.exists(entry.path)


def _has_image_content(path: str) -> bool:
    try:
        return is_image(_head(path))
    except OSError:  # nothing says that it is an image
        return False


def _head(path: str) -> bytes:
    descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_BINARY", 0))  # half the time of `open`
    try:
        return os.read(descriptor, HEAD_BYTES)
    finally:
        os.close(descriptor)
