"""Suppresses what torch and related libraries print, for the duration of one call."""

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
    """Suppresses log messages, warnings and standard error of this thread; other threads' output passes.

    torch warns of its own deprecations and of a missing torchvision, and prints graphs before it raises. None
    of it is for users: errors arrive as exceptions.

    Yields:
        Buffer that collects this thread's standard error.
    """
    loggers = [logging.getLogger(name) for name in _LOGGERS]
    levels = [logger.level for logger in loggers]
    captured, stream = io.StringIO(), sys.stderr
    for logger in loggers:
        logger.setLevel(logging.CRITICAL + 1)
    try:
        sys.stderr = _ThreadOutput(stream, captured)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield captured
    finally:
        sys.stderr = stream
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


class _ThreadOutput:
    """Standard error of all threads but the one that created it."""

    def __init__(self, stream: TextIO, captured: io.StringIO) -> None:
        self._stream, self._captured, self._thread = stream, captured, threading.get_ident()

    def write(self, text: str) -> int:
        suppressed = threading.get_ident() == self._thread
        return self._captured.write(text) if suppressed else self._stream.write(text)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)
