"""From what a user names to image files, one after the other: a folder of millions is walked, not kept."""

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
    """The images behind files, folders (read through, in order of name) and patterns; ``-`` stays.

    A folder or pattern that holds no image becomes a result that says so, in its place; so does a folder that
    can't be read. Of each folder only the names are held, and those of one folder at a time.

    Raises:
        UsageError: none of the names holds an image, or ``-`` is named twice.
    """
    names = list(names)
    if names.count(STANDARD_INPUT) > 1:
        raise UsageError("- is named twice: standard input can be read once")
    found = chain.from_iterable(map(_expand_one, names))
    errors: list[ImageResult] = []
    for entry in found:
        if not isinstance(entry, ImageResult):
            return chain(errors, [entry], found)
        errors.append(entry)
    if errors:
        raise UsageError(str(errors[0].error))
    return iter(())


def _expand_one(name: str) -> Iterator[str | ImageResult]:
    if name == STANDARD_INPUT:
        yield name
    elif os.path.isdir(name):
        kinds = ", ".join(sorted(IMAGE_SUFFIXES))
        yield from _or_nothing(_images_in(name), name, f"holds no image ({kinds})")
    elif os.path.exists(name) or not glob.has_magic(name):
        yield name  # a missing file is told where it is read, with the others' answers
    else:
        matches = (f for f in sorted(glob.iglob(name, recursive=True)) if not os.path.isdir(f))
        yield from _or_nothing(matches, name, "no file fits this pattern")


def _or_nothing(
    found: Iterator[str | ImageResult] | Iterator[str], name: str, why: str
) -> Iterator[str | ImageResult]:
    empty = True
    for entry in found:
        empty = False
        yield entry
    if empty:
        yield ImageResult(name, None, f"{name}: {why}")


def _images_in(folder: str) -> Iterator[str | ImageResult]:
    """Links to folders are not followed, hidden files and folders are passed over."""
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
    """Names of the images and folders in ``folder``, in order, and which of them are folders."""
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
    """A file, or a link that leads nowhere, which is told where it is read; never a pipe."""
    return entry.is_file() or (entry.is_symlink() and not os.path.exists(entry.path))
