"""Ctrl-C and SIGTERM end a command in a few seconds, whatever runs.

Python's handlers wait for the main thread, which may be in onnxruntime for hours, or wait for a thread that
is there: a loop of a hostile model never ends. So a thread watches the signals, too.
"""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from types import FrameType
from typing import Any

from cnntk.runtime.files import remove_temporaries

__all__ = ["ENDINGS", "FINISHES", "STATUS", "ended_by_signals"]

ANSWER_S, CLEANUP_S = 1.0, 2.0
"""Time for the main thread to react to a signal, and for what it does then."""

STATUS = {int(signal.SIGINT): 130, int(signal.SIGTERM): 143}
ENDINGS = {int(signal.SIGINT): "interrupted", int(signal.SIGTERM): "terminated"}
FINISHES = "finishes"
"""Key of the command's state: an interrupt ends its search, and it goes on to write the result."""

_DEFAULTS: dict[signal.Signals, Any] = {
    signal.SIGINT: signal.default_int_handler,
    signal.SIGTERM: signal.SIG_DFL,
}


@contextmanager
def ended_by_signals(state: dict[str, Any]) -> Iterator[None]:
    """Makes SIGINT and SIGTERM raise KeyboardInterrupt, so that temporary files are removed and children end.

    ``state["signal"]`` is the first signal. If the block does not end in time, or a signal comes again after
    the time to react, the process ends. Handlers of others stay.
    """
    in_main_thread = threading.current_thread() is threading.main_thread()
    watched = [number for number, handler in _DEFAULTS.items() if signal.getsignal(number) is handler]
    if not in_main_thread or not watched:
        yield
        return

    def end(number: int, frame: FrameType | None) -> None:
        if "signal" not in state:  # `timeout` sends two
            state["signal"] = number
            raise KeyboardInterrupt

    reader, writer = os.pipe()
    if hasattr(os, "set_blocking"):  # on Windows from Python 3.12 on, which does not require it
        os.set_blocking(writer, False)
    previous = signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
    threading.Thread(target=_watch, args=(reader, watched, state), daemon=True).start()
    for number in watched:
        signal.signal(number, end)
    try:
        yield
    finally:
        state["done"] = True
        for number in watched:
            signal.signal(number, _DEFAULTS[number])
        signal.set_wakeup_fd(previous)
        os.close(writer)


def _watch(reader: int, watched: Sequence[int], state: dict[str, Any]) -> None:
    """Reads the numbers of signals from ``reader``, up to its end."""
    first_s = None
    while numbers := os.read(reader, 64):
        number = next((n for n in numbers if n in watched), None)
        if number is None:
            continue
        if first_s is None:
            first_s = time.monotonic()
            threading.Thread(target=_end_if_late, args=(number, state), daemon=True).start()
        elif time.monotonic() > first_s + ANSWER_S:
            _end_process(number, state)
    os.close(reader)


def _end_if_late(number: int, state: dict[str, Any]) -> None:
    time.sleep(ANSWER_S)
    if "signal" not in state:
        _end_process(number, state)
    if not state.get(FINISHES):
        time.sleep(CLEANUP_S)
        _end_process(number, state)


def _end_process(number: int, state: dict[str, Any]) -> None:
    if not state.get("done"):
        remove_temporaries()
        os.write(2, f"cnntk: {ENDINGS[number]}\n".encode())
        os._exit(STATUS[number])
