import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest

from cnntk.benchmark._isolated import run_isolated
from cnntk.runtime.errors import InferenceError, InferenceTimeout, UsageError

HELPER = """
import os, signal, socket, subprocess, sys, time
from cnntk.runtime.errors import UsageError

def chatty(n):
    print("noise")
    os.system("echo more noise")
    return {"n": n, "pid": os.getpid()}

def wrong(): raise UsageError("batch 0 must be positive")
def broken(): return 1 // 0
def killed(): os.kill(os.getpid(), signal.SIGKILL)
def leaves(): sys.stderr.write("no such library\\n"); os._exit(3)
def unpicklable(): return lambda: 1
def waits(file):
    open(file, "w").write(str(os.getpid()))
    time.sleep(60)
def calls(port):
    with socket.create_connection(("127.0.0.1", port)) as line:
        line.sendall(b"here")
        time.sleep(60)
def length(text): return len(text)
def leaves_files():
    import tempfile
    print(tempfile.mkdtemp(), flush=True)
    os._exit(1)
def killed_with_files():
    import tempfile
    print(tempfile.mkdtemp(), flush=True)
    killed()
def reads(): return sys.stdin.read() + subprocess.run(["cat"], capture_output=True, text=True).stdout
"""


@pytest.fixture(autouse=True)
def helper(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "helper_of_isolated.py").write_text(HELPER)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))


def test_answers_from_another_process() -> None:
    result = run_isolated("helper_of_isolated:chatty", {"n": [1, "ü", None]})
    assert result["n"] == [1, "ü", None]
    assert result["pid"] != os.getpid()


def test_our_errors_arrive_as_they_are() -> None:
    with pytest.raises(UsageError, match=r"^batch 0 must be positive$"):
        run_isolated("helper_of_isolated:wrong", {})


@pytest.mark.parametrize(
    ("function", "says"),
    [("broken", "ZeroDivisionError"), ("unpicklable", "ickl"), ("missing", "missing")],
)
def test_a_fault_says_where(function: str, says: str) -> None:
    with pytest.raises(RuntimeError, match=f"helper_of_isolated:{function}: failed in its process: .*{says}"):
        run_isolated(f"helper_of_isolated:{function}", {})


def test_a_fault_brings_its_trace() -> None:
    with pytest.raises(RuntimeError) as caught:
        run_isolated("helper_of_isolated:broken", {})
    assert "def broken" in caught.value.__notes__[0]


@pytest.mark.parametrize(
    ("function", "says"),
    [
        ("helper_of_isolated:killed", r"its process was killed: out of memory\?"),
        ("os:abort", "its process was ended by SIGABRT"),
        ("helper_of_isolated:leaves", "its process ended with status 3, .*output: no such library"),
    ],
)
@pytest.mark.skipif(os.name != "posix", reason="signals are POSIX")
def test_a_process_that_ends_without_an_answer(function: str, says: str) -> None:
    with pytest.raises(InferenceError, match=says):
        run_isolated(function, {})


def test_time_is_bounded(tmp_path: Path) -> None:
    with pytest.raises(InferenceTimeout, match=r"was killed after 1\.5 s"):
        run_isolated("helper_of_isolated:waits", {"file": str(tmp_path / "pid")}, timeout_s=1.5)
    assert not _alive(int((tmp_path / "pid").read_text()))


@pytest.mark.skipif(os.name != "posix", reason="signals are POSIX")
def test_ctrl_c_ends_the_child_too(tmp_path: Path) -> None:
    file = tmp_path / "pid"
    code = (
        "from cnntk.benchmark._isolated import run_isolated; "
        f"run_isolated('helper_of_isolated:waits', {{'file': {str(file)!r}}})"
    )
    parent = subprocess.Popen([sys.executable, "-c", code], stderr=subprocess.PIPE, text=True)
    while not (file.exists() and file.read_text()):
        time.sleep(0.02)
    parent.send_signal(signal.SIGINT)  # to the parent alone, as a terminal would not
    assert "KeyboardInterrupt" in parent.communicate(timeout=60)[1]
    assert not _alive(int(file.read_text()))


@pytest.mark.parametrize("way", ["kill", "terminate"])
def test_the_child_ends_when_its_parent_is_gone(way: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(60)
        port = server.getsockname()[1]
        call = f"run_isolated('helper_of_isolated:calls', {{'port': {port}}})"
        code = f"from cnntk.benchmark._isolated import run_isolated; {call}"
        with subprocess.Popen([sys.executable, "-c", code]) as parent, server.accept()[0] as line:
            assert line.recv(4) == b"here"
            line.settimeout(0.5)
            with pytest.raises(TimeoutError):
                line.recv(1)  # as long as the parent lives, so does the child
            getattr(parent, way)()
            line.settimeout(20)
            assert line.recv(1) == b""  # the child's end closed it; it would sleep for 60 s


def test_much_is_sent_while_much_is_printed(tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text("import sys; sys.stderr.write('x' * 1_000_000)")
    assert run_isolated("helper_of_isolated:length", {"text": "y" * 1_000_000}, timeout_s=60) == 1_000_000


@pytest.mark.skipif(os.name != "posix", reason="cat is POSIX")
def test_the_function_has_nothing_to_read() -> None:
    assert run_isolated("helper_of_isolated:reads", {}, timeout_s=60) == ""


def test_a_process_that_never_reads_is_ended_in_time(tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text("import time; time.sleep(60)")
    with pytest.raises(InferenceTimeout):
        run_isolated("helper_of_isolated:length", {"text": "y"}, timeout_s=0.5)


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


@pytest.mark.skipif(os.name != "posix", reason="signals are POSIX")
@pytest.mark.parametrize("ends", ["leaves_files", "killed_with_files"])
def test_what_a_child_leaves_is_removed(ends: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "temporary").mkdir()
    monkeypatch.setenv("TMPDIR", str(tmp_path / "temporary"))
    monkeypatch.setattr(tempfile, "tempdir", None)
    with pytest.raises(InferenceError, match=rf"output: {tmp_path / 'temporary'}/\.cnntk\."):
        run_isolated(f"helper_of_isolated:{ends}", {})
    assert list((tmp_path / "temporary").iterdir()) == []
