"""Time limits: functions run in other threads, so that callers return in time whatever happens there."""

from __future__ import annotations

import math
import os
import threading
from collections.abc import Callable
from queue import Empty, SimpleQueue
from typing import Any, TypeVar

from cnntk.runtime.errors import InferenceTimeout

__all__ = ["TimedCalls", "clamp_timeout"]

LONGEST_TIMEOUT_S = 1e8
"""Longest time limit, three years: timers accept it without overflow."""

GRACE_S = 0.5
"""Time to end after the limit, once asked to."""

T = TypeVar("T")


class TimedCalls:
    """Calls functions with a time limit, but none while one that exceeded it still runs.

    onnxruntime ends a run after the node that is running, which may take hours, and can't be ended at all.
    """

    def __init__(self) -> None:
        self._overrun: _Worker | None = None

    def call(self, function: Callable[[], T], seconds: float, name: str, cancel: Callable[[], None]) -> T:
        """Calls a function in another thread, and ``cancel`` if that takes longer than ``seconds``.

        Costs two changes of the thread, 50 to 90 µs on two busy cores. ``seconds`` are from `clamp_timeout`;
        ``name`` says in messages what the function does.

        Raises:
            InferenceTimeout: The function did not end half a second after ``cancel``, or an earlier one still
                runs. Interpreter exit does not wait for it, but may abort.
        """
        if (overrun := self._overrun) is not None:
            if overrun.results.empty():
                raise InferenceTimeout(
                    f"{name} is refused: one that exceeded its time limit has not ended yet"
                )
            self._overrun = None  # its result may hold large arrays
        try:
            worker = _idle.pop()
        except IndexError:
            worker = _Worker()
        worker.functions.put(function)
        try:
            value, error = _result(worker, seconds, cancel)
        except BaseException as stopped:  # including Ctrl-C; it is raised again
            worker.functions.put(None)
            if not isinstance(stopped, Empty):
                raise
            self._overrun = worker
            raise InferenceTimeout(
                f"{name} exceeded its limit of {seconds:g} s, and goes on: onnxruntime can't end the node "
                "that it runs. To end it, end the process"
            ) from None
        _idle.append(worker)
        if error is not None:
            try:
                raise error
            finally:
                del error  # which refers to this frame, and so to the arrays
        return value  # type: ignore[no-any-return]


class _Worker:
    """A thread that calls one function after the other, until it receives None."""

    def __init__(self) -> None:
        self.functions: SimpleQueue[Callable[[], Any] | None] = SimpleQueue()
        self.results: SimpleQueue[tuple[Any, BaseException | None]] = SimpleQueue()
        threading.Thread(target=self._work, name="cnntk-timed", daemon=True).start()

    def _work(self) -> None:
        while (function := self.functions.get()) is not None:
            result: tuple[Any, BaseException | None]
            try:
                result = function(), None
            except BaseException as error:  # the caller raises it
                result = None, error
            self.results.put(result)
            del function, result  # an idle worker holds no arrays


_idle: list[_Worker] = []


def _result(worker: _Worker, seconds: float, cancel: Callable[[], None]) -> tuple[Any, BaseException | None]:
    try:
        return worker.results.get(timeout=seconds)
    except BaseException as error:  # late, or Ctrl-C
        cancel()
        if not isinstance(error, Empty):
            raise
    return worker.results.get(timeout=GRACE_S)


def clamp_timeout(seconds: float) -> float:
    """Returns a time limit within the range of timers, 0 to `LONGEST_TIMEOUT_S` seconds; NaN raises."""
    if math.isnan(seconds):
        raise ValueError("timeout: expected seconds, got NaN")
    return min(max(seconds, 0.0), LONGEST_TIMEOUT_S)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_idle.clear)  # a forked child has none of the threads
