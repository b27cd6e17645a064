"""Image files behind the names that a user gives, one after the other: millions of names need no list."""

from __future__ import annotations

import glob
import os
from collections.abc import Iterable, Iterator
from itertools import chain

from cnntk.inference.names import STANDARD_INPUT, check_names, matching_files
from cnntk.inference.result import ImageResult
from cnntk.runtime.errors import ImageError, UsageError
from cnntk.runtime.images.search import LeftOutFiles, find_images, readable_formats

__all__ = ["expand"]


def expand(names: Iterable[str], left_out: LeftOutFiles | None = None) -> Iterator[str | ImageResult]:
    """Yields the images behind files, folders (recursively, in order of name) and patterns; ``-`` stays.

    `find_images` says which files of a folder are images. A folder without images, or one that can't be
    read, gives a result with an error. Memory holds the names of one folder per level of the tree.

    Args:
        names: Files, folders and patterns.
        left_out: Counter of the files in folders that are not images.

    Raises:
        UsageError: A name is of no file, a pattern matches none, no folder has an image, or ``-`` is named
            twice.
    """
    names = list(names)
    check_names(names)
    entries = chain.from_iterable(_expand_one(name, left_out) for name in names)
    errors: list[ImageResult] = []
    for entry in entries:
        if not isinstance(entry, ImageResult):
            return chain(errors, [entry], entries)
        errors.append(entry)
    if errors:
        raise UsageError(str(errors[0].error))
    return iter(())


def _expand_one(name: str, left_out: LeftOutFiles | None) -> Iterator[str | ImageResult]:
    if name == STANDARD_INPUT:
        yield name
    elif os.path.isdir(name):
        yield from _or_error(_images_in(name, left_out), name, f"contains no image ({readable_formats()})")
    elif os.path.exists(name) or not glob.has_magic(name):
        yield name
    else:
        yield from sorted(matching_files(name))


def _or_error(
    entries: Iterator[str | ImageResult] | Iterator[str], name: str, error: str
) -> Iterator[str | ImageResult]:
    empty = True
    for entry in entries:
        empty = False
        yield entry
    if empty:
        yield ImageResult(name, None, f"{name}: {error}")


def _images_in(folder: str, left_out: LeftOutFiles | None) -> Iterator[str | ImageResult]:
    for image in find_images(folder, left_out):
        yield ImageResult(folder, None, str(image)) if isinstance(image, ImageError) else image
