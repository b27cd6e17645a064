"""What is said of an error in code that is not ours: a user's network, another distribution's module."""

from __future__ import annotations

import sysconfig
import traceback
from pathlib import Path

__all__ = ["describe_error"]


def describe_error(error: BaseException) -> str:
    """``error`` in one line: its type, its message's first line, and the user's file and line.

    The place is the innermost one of the user's own code. Where no such code ran, it is the first of an
    installed package, and there is none where only cnntk and Python's importing were at work.
    """
    message = (error.msg if isinstance(error, SyntaxError) else str(error)).strip().partition("\n")[0]
    place = _place(error)
    return type(error).__name__ + (f": {message}" if message else "") + (f" ({place})" if place else "")


def _place(error: BaseException) -> str | None:
    if isinstance(error, SyntaxError):
        return f"{error.filename}:{error.lineno}" if error.filename else None
    places = [
        (frame.f_code.co_filename, line)
        for frame, line in traceback.walk_tb(error.__traceback__)
        if not _is_machinery(frame.f_globals.get("__name__", ""), frame.f_code.co_filename)
    ]
    own = [place for place in places if not _is_installed(place[0])]
    chosen = own[-1] if own else next(iter(places), None)
    return f"{chosen[0]}:{chosen[1]}" if chosen else None


def _is_machinery(module: str, file: str) -> bool:
    """Whether it is cnntk, Python's importing, or no file at all."""
    return module.partition(".")[0] in ("cnntk", "importlib") or file.startswith("<")


def _is_installed(file: str) -> bool:
    homes = (sysconfig.get_path(kind) for kind in ("stdlib", "purelib", "platlib"))
    return any(Path(file).is_relative_to(home) for home in homes)
