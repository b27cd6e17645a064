"""A function in a process of its own: what a measurement must not share with the one that asks for it.

JSON goes in and JSON comes out; nothing is pickled. The child starts as a fresh interpreter and loads, before
the function's own module, nothing but this one, which is light. Its standard input stays open as long as
somebody waits for the answer: where it closes, however the parent came to its end, the child ends too. The
child's temporary files lie in a folder of the parent's, which removes it however the child came to its end.
"""

from __future__ import annotations

import importlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import traceback
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import IO, Any, cast

from cnntk.runtime import errors
from cnntk.runtime.errors import CnntkError, InferenceError, InferenceTimeout

__all__ = ["apart"]

_CHILD = "from cnntk.benchmark.isolated import _serve; _serve()"
_LAST_CHARACTERS = 300


def apart(function: str, arguments: Mapping[str, Any], *, timeout_s: float | None = None) -> Any:
    """Calls a function in a new process and returns what it returned.

    Args:
        function: ``package.module:function``; it takes and returns JSON data.
        arguments: of the function, by name.
        timeout_s: seconds after which the process is killed; None for as long as it takes.

    Raises:
        CnntkError: the function raised it; of the same kind as there.
        InferenceTimeout: the time was over.
        InferenceError: the process ended without an answer: its exit status or signal is named.
        RuntimeError: the function raised something else, which is a fault of cnntk.
    """
    request = json.dumps({"function": function, "arguments": dict(arguments)})
    # -P: a file of the user's in this folder must not stand for a module.
    with (
        tempfile.TemporaryDirectory(prefix="cnntk-", ignore_cleanup_errors=True) as folder,
        subprocess.Popen(
            [sys.executable, "-P", "-c", _CHILD],
            env={**os.environ, "TMPDIR": folder},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            encoding="utf-8",
            errors="replace",
        ) as child,
        _asking(child, request),
    ):
        try:
            answer, noise = child.communicate(timeout=timeout_s)
        except subprocess.TimeoutExpired:
            child.kill()
            raise InferenceTimeout(
                f"{function}: its process was ended after {timeout_s:g} s; allow it more"
            ) from None
        except BaseException:  # Ctrl-C, too
            child.kill()
            raise
    return _result(function, child.returncode, answer, noise)


@contextmanager
def _asking(child: subprocess.Popen[str], request: str) -> Iterator[None]:
    """Sends the request, and keeps the pipe open, which `communicate` would close.

    A thread sends it: before it reads, the child may write more to its standard error than a pipe holds.
    """
    pipe, child.stdin = cast("IO[str]", child.stdin), None

    def send() -> None:
        with suppress(OSError):  # it ended without reading; its status tells
            pipe.write(f"{request}\n")
            pipe.flush()

    sender = threading.Thread(target=send, daemon=True)
    sender.start()
    try:
        yield
    finally:
        sender.join()
        with suppress(OSError):
            pipe.close()


def _result(function: str, status: int, answer: str, noise: str) -> Any:
    if status or not answer:
        said = " ".join(noise.split())[-_LAST_CHARACTERS:]
        raise InferenceError(
            f"{function}: its process {_end(status)}" + (f"; it said: {said}" if said else "")
        )
    found = json.loads(answer)
    if "result" in found:
        return found["result"]
    kind = getattr(errors, found["kind"], None)
    if isinstance(kind, type) and issubclass(kind, CnntkError):
        raise kind(found["message"])
    fault = RuntimeError(f"{function}: failed in its process: {found['kind']}: {found['message']}")
    fault.add_note(found["trace"])
    raise fault


def _end(status: int) -> str:
    """How a process ended that gave no answer."""
    if status >= 0:
        return f"ended with status {status}, without an answer"
    name = next((s.name for s in signal.Signals if s == -status), f"signal {-status}")
    return "was killed: out of memory?" if name == "SIGKILL" else f"was ended by {name}"


def _serve() -> None:
    """In the child: what libraries print goes to the standard error, so that the answer stands alone."""
    answer = os.dup(1)
    os.dup2(2, 1)
    request = json.loads(sys.stdin.buffer.readline())
    pipe = os.dup(0)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)  # what the function starts must not hold the pipe
    threading.Thread(target=_end_with_parent, args=(pipe,), daemon=True).start()
    with open(answer, "w", encoding="utf-8") as stream:
        stream.write(_called(request["function"], request["arguments"]))


def _end_with_parent(pipe: int) -> None:
    """Blocked in the system until the pipe closes; the descriptor's own read holds no lock of Python's."""
    os.read(pipe, 1)
    os._exit(1)


def _called(function: str, arguments: dict[str, Any]) -> str:
    module, _, name = function.partition(":")
    try:
        return json.dumps({"result": getattr(importlib.import_module(module), name)(**arguments)})
    except Exception as error:
        found = {"kind": type(error).__name__, "message": str(error), "trace": traceback.format_exc()}
        return json.dumps(found)
