import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from cnntk.cli import COMMANDS
from cnntk.shipped import shipped_model
from cnntk.version import __version__


def test_help_names_every_command(cnntk: Callable) -> None:
    done = cnntk("--help")
    assert done.status == 0
    for command in COMMANDS:
        assert f"\n  {command} " in done.out


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help_json_and_debug(cnntk: Callable, command: str) -> None:
    done = cnntk(command, "--help")
    assert done.status == 0
    assert "--json" in done.out
    assert "--debug" in done.out


def test_version(cnntk: Callable) -> None:
    assert __version__ in cnntk("--version").out


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["nonsense"], "No such command 'nonsense'"),
        (["bench", "--device", "tpu"], "unknown device 'tpu'"),
        (["bench", "--batch", "0"], "--batch"),
        (["bench", "--secnds", "1"], "--secnds"),
        (["bench", "gone.onnx"], "gone.onnx: no such file"),
        (["infer"], "IMAGE"),
        (["infer", "x.png", "--format", "yaml"], "yaml"),
        (["export", "nosuch", "--random"], "unknown network 'nosuch'"),
        (["export", "lenet", "--input", "28x28", "--random"], "--input '28x28'"),
        (["export", "lenet", "--kwargs", "=3", "--random"], "name=value"),
    ],
)
def test_wrong_use_is_one_line_and_exit_2(cnntk: Callable, args: list[str], message: str) -> None:
    done = cnntk(*args)
    assert done.status == 2
    assert done.out == ""
    lines = [line for line in done.err.splitlines() if not line.startswith("model:")]
    assert len(lines) == 1
    assert lines[0].startswith("cnntk: ")
    assert message in lines[0]


def test_debug_shows_the_traceback(cnntk: Callable) -> None:
    assert "Traceback" not in cnntk("bench", "gone.onnx").err
    assert "Traceback" in cnntk("bench", "gone.onnx", "--debug").err


def test_as_a_module_and_as_a_script() -> None:
    for command in ([sys.executable, "-m", "cnntk"], [Path(sys.executable).with_name("cnntk")]):
        done = subprocess.run([*command, "bench", "gone.onnx"], capture_output=True, text=True, check=False)
        assert done.returncode == 2
        assert done.stderr == "cnntk: gone.onnx: no such file (expected an ONNX model)\n"


def test_a_closed_pipe_is_no_error() -> None:
    command = f"{sys.executable} -m cnntk inspect 2>/dev/null | head -n 1; exit ${{PIPESTATUS[0]}}"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=False)
    assert done.returncode == 0
    assert done.stderr == ""


@pytest.mark.skipif(os.name != "posix", reason="signals are POSIX")
def test_sigterm_ends_a_command_and_takes_its_files_away(tmp_path: Path) -> None:
    """Sent twice, as ``timeout`` does; while a folder of a child's is there."""
    environment = {**os.environ, "TMPDIR": str(tmp_path), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "cnntk", "bench", str(shipped_model()), "--seconds", "0.2"]
    with subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True) as running:
        while running.poll() is None and not list(tmp_path.glob(".cnntk.*.tmp")):
            time.sleep(0.01)
        for _ in range(2):
            running.send_signal(signal.SIGTERM)
        message = running.communicate(timeout=60)[1]
    assert running.returncode == 143
    assert message.strip() == "cnntk: terminated"
    assert list(tmp_path.glob(".cnntk.*.tmp")) == []


def test_who_handles_sigterm_keeps_their_handler(cnntk: Callable) -> None:
    before = signal.signal(signal.SIGTERM, signal.SIG_IGN)
    try:
        assert cnntk("--version").status == 0
        assert signal.getsignal(signal.SIGTERM) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGTERM, before)
    assert cnntk("--version").status == 0
    assert signal.getsignal(signal.SIGTERM) is before


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("cnntk ver", "plain,verify"),
        ("cnntk verify --dev", "plain,--device"),
        ("cnntk quantize --prefer s", "plain,speed\nplain,size"),
        ("cnntk verify len", "file,len"),
        ("cnntk export --weights len", "file,len"),
    ],
)
def test_shells_complete_commands_options_and_files(words: str, expected: str) -> None:
    request = {"COMP_WORDS": words, "COMP_CWORD": str(words.count(" "))}
    environment = {**os.environ, "_CNNTK_COMPLETE": "bash_complete", **request}
    done = subprocess.run(
        [sys.executable, "-m", "cnntk"], env=environment, capture_output=True, text=True, check=True
    )
    assert (done.stdout.strip(), done.stderr) == (expected, "")
