"""Image files behind the names that a user gives, one after the other: millions of names need no list."""

from __future__ import annotations

import glob
import os
from collections.abc import Iterable, Iterator
from itertools import chain

from cnntk.inference.result import ImageResult
from cnntk.runtime.errors import UsageError
from cnntk.runtime.images.reading import IMAGE_SUFFIXES

__all__ = ["STANDARD_INPUT", "expand"]

STANDARD_INPUT = "-"

_SUFFIXES = tuple(IMAGE_SUFFIXES)


def expand(names: Iterable[str]) -> Iterator[str | ImageResult]:
    """Yields the images behind files, folders (recursively, in order of name) and patterns; ``-`` stays.

    A folder or pattern without images, or a folder that can't be read, gives a result with an error. Memory
    holds the names of one folder per level of the tree.

    Raises:
        UsageError: None of the names gives an image, or ``-`` is named twice.
    """
    names = list(names)
    if names.count(STANDARD_INPUT) > 1:
        raise UsageError("- is named twice: standard input can be read only once")
    entries = chain.from_iterable(map(_expand_one, names))
    errors: list[ImageResult] = []
    for entry in entries:
        if not isinstance(entry, ImageResult):
            return chain(errors, [entry], entries)
        errors.append(entry)
    if errors:
        raise UsageError(str(errors[0].error))
    return iter(())


def _expand_one(name: str) -> Iterator[str | ImageResult]:
    if name == STANDARD_INPUT:
        yield name
    elif os.path.isdir(name):
        kinds = ", ".join(sorted(IMAGE_SUFFIXES))
        yield from _or_error(_images_in(name), name, f"contains no image ({kinds})")
    elif os.path.exists(name) or not glob.has_magic(name):
        yield name  # a missing file is reported where it is read, among the other results
    else:
        matches = (f for f in sorted(glob.iglob(name, recursive=True)) if not os.path.isdir(f))
        yield from _or_error(matches, name, "no file matches this pattern")


def _or_error(
    entries: Iterator[str | ImageResult] | Iterator[str], name: str, error: str
) -> Iterator[str | ImageResult]:
    empty = True
    for entry in entries:
        empty = False
        yield entry
    if empty:
        yield ImageResult(name, None, f"{name}: {error}")


def _images_in(folder: str) -> Iterator[str | ImageResult]:
    """Images below ``folder``, without hidden ones and without those behind links to folders."""
    try:
        names, folders = _listed(folder)
    except OSError as error:
        yield ImageResult(folder, None, f"{folder}: can't be listed ({error.strerror})")
        return
    for name in names:
        path = os.path.join(folder, name)
        if name in folders:
            yield from _images_in(path)
        else:
            yield path


def _listed(folder: str) -> tuple[list[str], set[str]]:
    """Sorted names of the images and folders in ``folder``, and the set of those that are folders."""
    names, folders = [], set()
    with os.scandir(folder) as entries:
        for entry in entries:
            name = entry.name
            if name.startswith("."):
                continue
            if entry.is_dir(follow_symlinks=False):
                folders.add(name)
            elif not (name.lower().endswith(_SUFFIXES) and _may_be_read(entry)):
                continue
            names.append(name)
    names.sort()
    return names, folders


def _may_be_read(entry: os.DirEntry[str]) -> bool:
    """Whether it is a file, or a broken link, which is reported where it is read; a pipe is not."""
    return entry.is_file() or (entry.is_symlink() and not os.path.exists(entry.path))
