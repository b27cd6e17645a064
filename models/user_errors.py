"""Descriptions of errors in code that is not cnntk's: a user's network, another distribution's module."""

from __future__ import annotations

import sysconfig
import traceback
from pathlib import Path

__all__ = ["describe_error", "one_line", "with_cause"]


def describe_error(error: BaseException) -> str:
    """Describes ``error`` in one line: its type, its message's first line, and the user's file and line.

    The location is the innermost one in the user's code. Where no such code ran, it is the first of an
    installed package; there is none where only cnntk and Python's import system were at work.
    """
    message = (error.msg if isinstance(error, SyntaxError) else str(error)).strip().partition("\n")[0]
    location = _location(error)
    return type(error).__name__ + (f": {message}" if message else "") + (f" ({location})" if location else "")


def one_line(error: BaseException) -> str:
    """Returns the message of ``error`` in one line of at most 300 characters."""
    return " ".join(str(error).split())[:300]


def with_cause(error: BaseException) -> str:
    """Returns `one_line` of ``error`` and, in brackets, of the first error that led to it."""
    cause = error
    while cause.__cause__ is not None:
        cause = cause.__cause__
    return one_line(error) if cause is error else f"{one_line(error)} ({one_line(cause)})"


def _location(error: BaseException) -> str | None:
    if isinstance(error, SyntaxError):
        return f"{error.filename}:{error.lineno}" if error.filename else None
    locations = [
        (frame.f_code.co_filename, line)
        for frame, line in traceback.walk_tb(error.__traceback__)
        if not _is_machinery(frame.f_globals.get("__name__", ""), frame.f_code.co_filename)
    ]
    user_locations = [location for location in locations if not _is_installed(location[0])]
    chosen = user_locations[-1] if user_locations else next(iter(locations), None)
    return f"{chosen[0]}:{chosen[1]}" if chosen else None


def _is_machinery(module: str, file: str) -> bool:
    """Whether it is cnntk, Python's import system, or not a file."""
    return module.partition(".")[0] in ("cnntk", "importlib") or file.startswith("<")


def _is_installed(file: str) -> bool:
    homes = (sysconfig.get_path(kind) for kind in ("stdlib", "purelib", "platlib"))
    path = Path(file)
    # Other folders of packages: pip install --user, a virtual environment with the system's, a .pth file.
    return bool({"site-packages", "dist-packages"} & set(path.parts)) or any(map(path.is_relative_to, homes))
