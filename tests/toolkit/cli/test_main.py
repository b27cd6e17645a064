import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from cnntk.cli import COMMANDS
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
        (["bench", "--device", "tpu"], "device 'tpu' is unknown"),
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
