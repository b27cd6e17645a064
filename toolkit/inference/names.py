"""Names of images that a user gives: files, folders, patterns, and ``-`` for standard input."""

from __future__ import annotations

import glob
import os
from collections.abc import Iterator, Sequence

from cnntk.runtime.errors import UsageError

__all__ = ["STANDARD_INPUT", "check_names", "matching_files"]

STANDARD_INPUT = "-"

_SHOWN = 4
"""Missing names that a message lists."""


def check_names(names: Sequence[str]) -> None:
    """Refuses names of nothing, all of them at once, before any work.

    Raises:
        UsageError: A name is of no file, a pattern matches none, or ``-`` is named twice.
    """
    if names.count(STANDARD_INPUT) > 1:
        raise UsageError("- is named twice: standard input can be read only once")
    missing = [name for name in names if name != STANDARD_INPUT and not os.path.lexists(name)]
    patterns = [name for name in missing if glob.has_magic(name)]
    problems = [f"{name}: no such file" for name in missing if name not in patterns]
    problems += [
        f"{p}: no file matches this pattern" for p in patterns if next(matching_files(p), None) is None
    ]
    if problems:
        more = f"; and {len(problems) - _SHOWN} more" if len(problems) > _SHOWN else ""
        raise UsageError("; ".join(problems[:_SHOWN]) + more)


def matching_files(pattern: str) -> Iterator[str]:
    """Yields the files that match a pattern, in no order."""
    return (file for file in glob.iglob(pattern, recursive=True) if not os.path.isdir(file))
