"""`run_isolated`: calls a function in a fresh process, which shares no imports or memory with the caller.

The process is started by `multiprocessing`'s spawn method. It does not import the caller's main module, as
pools do: a script without ``if __name__ == "__main__"`` works, and a measurement starts without its imports.
"""

from __future__ import annotations

import importlib
import multiprocessing
import os
import signal
import sys
import threading
import traceback
import types
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any

from cnntk.runtime.errors import CnntkError, InferenceError, InferenceTimeout
from cnntk.runtime.files import scratch_folder

_LAST_CHARACTERS = 300


def run_isolated(function: str, arguments: Mapping[str, Any], *, timeout_s: float | None = None) -> Any:
    """Calls a function in a new process and returns its result.

    The process ends with its parent, whichever way that ends; its temporary files are deleted.

    Args:
        function: Name as ``package.module:function``; only that module is imported before the call.
        arguments: Arguments of the function by name; they and the result are pickled.
        timeout_s: Seconds after which the process is killed; None for no limit.

    Raises:
        CnntkError: The function raised it.
        InferenceTimeout: The time limit was exceeded.
        InferenceError: The process ended without a result; the message has its exit status or signal.
        RuntimeError: The function raised another exception, which is a bug in cnntk.
    """
    context = multiprocessing.get_context("spawn")
    receiver, sender = context.Pipe(duplex=False)
    with scratch_folder() as folder, receiver:
        output = folder / "output.txt"
        process = context.Process(target=_child, args=(sender, folder, output, function, dict(arguments)))
        try:
            with sender, _deferred_signals(), _without_main_module():
                process.start()
            if not receiver.poll(timeout_s):
                raise InferenceTimeout(
                    f"{function}: its process was killed after {timeout_s:g} s; raise the limit"
                )
            result, error = receiver.recv()
        except EOFError:
            process.join()
            text = output.read_text("utf-8", errors="replace") if output.exists() else ""
            text = " ".join(text.split())[-_LAST_CHARACTERS:]
            message = f"{function}: its process {_exit_text(process.exitcode)}"
            raise InferenceError(f"{message}; output: {text}" if text else message) from None
        finally:
            if process.pid is not None:
                process.kill()
                process.join()
    if error is not None:
        raise error
    return result


@contextmanager
def _deferred_signals() -> Iterator[None]:
    """Delivers SIGINT and SIGTERM after the block: a half-started process would print a traceback."""
    if threading.current_thread() is not threading.main_thread():  # only there signals are handled
        yield
        return
    received: list[int] = []
    handlers = {
        number: handler
        for number in (signal.SIGINT, signal.SIGTERM)
        if (handler := signal.getsignal(number)) is not None  # None: not set by Python, cannot be restored
    }
    for number in handlers:
        signal.signal(number, lambda number, frame: received.append(number))
    try:
        yield
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
    for signal_number in received:
        signal.raise_signal(signal_number)


@contextmanager
def _without_main_module() -> Iterator[None]:
    """Hides the main module from spawn, and the working directory from the new process's imports."""
    main, safe_path = sys.modules["__main__"], os.environ.get("PYTHONSAFEPATH")
    sys.modules["__main__"] = types.ModuleType("__main__")
    os.environ["PYTHONSAFEPATH"] = "1"
    try:
        yield
    finally:
        sys.modules["__main__"] = main
        del os.environ["PYTHONSAFEPATH"]
        if safe_path is not None:
            os.environ["PYTHONSAFEPATH"] = safe_path


def _exit_text(status: int | None) -> str:
    """How a process ended that returned no result."""
    if status is None or status >= 0:
        return f"ended with status {status}, without a result"
    name = next((s.name for s in signal.Signals if s == -status), f"signal {-status}")
    return "was killed: out of memory?" if name == "SIGKILL" else f"was ended by {name}"


def _child(sender: Connection, folder: Path, output: Path, function: str, arguments: dict[str, Any]) -> None:
    """In the new process: calls the function and sends its result, or the exception."""
    threading.Thread(target=_exit_with_parent, daemon=True).start()
    os.environ["TMPDIR"] = str(folder)
    descriptor = os.open(output, os.O_WRONLY | os.O_CREAT)
    for stream in (1, 2):
        os.dup2(descriptor, stream)
    try:
        module, _, name = function.partition(":")
        sender.send((getattr(importlib.import_module(module), name)(**arguments), None))
    except CnntkError as error:
        sender.send((None, error))
    except Exception as error:  # whatever it is, the caller raises it as a bug of cnntk
        fault = RuntimeError(f"{function}: failed in its process: {type(error).__name__}: {error}")
        fault.add_note(traceback.format_exc())
        sender.send((None, fault))


def _exit_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        wait([parent.sentinel])
        os._exit(1)
