"""Keeps the chatter of torch and its kin off the terminal, for as long as one call takes."""

from __future__ import annotations

import contextlib
import io
import logging
import sys
import threading
import warnings
from collections.abc import Iterator
from typing import Any, TextIO

__all__ = ["suppress_output"]

_LOGGERS = ("torch", "onnxscript", "onnx_ir", "transformers", "timm")


@contextlib.contextmanager
def suppress_output() -> Iterator[io.StringIO]:
    """Yields what this thread prints on standard error meanwhile; other threads' output passes.

    torch warns of its own deprecations and of a missing torchvision, and prints graphs before it raises.
    None of it is for users: what goes wrong arrives as an exception.
    """
    loggers = [logging.getLogger(name) for name in _LOGGERS]
    levels = [logger.level for logger in loggers]
    kept, stream = io.StringIO(), sys.stderr
    for logger in loggers:
        logger.setLevel(logging.CRITICAL + 1)
    try:
        sys.stderr = _ThreadOutput(stream, kept)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield kept
    finally:
        sys.stderr = stream
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


class _ThreadOutput:
    """Standard error, but for the thread that made it."""

    def __init__(self, stream: TextIO, kept: io.StringIO) -> None:
        self._stream, self._kept, self._thread = stream, kept, threading.get_ident()

    def write(self, text: str) -> int:
        mine = threading.get_ident() == self._thread
        return self._kept.write(text) if mine else self._stream.write(text)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)
