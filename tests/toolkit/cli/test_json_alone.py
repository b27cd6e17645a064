"""With ``--json``, standard output is one document, whatever the user's code prints."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from cnntk.cli import main
from cnntk.shipped import shipped_model

NOISY = """
import ctypes, os, sys
from torch import nn

def say(when):
    print("Python", when)
    print("kept", when, file=STDOUT)
    os.write(1, f"system {when}\\n".encode())
    ctypes.CDLL(None).puts(f"C {when}".encode())

STDOUT = sys.stdout
say("import")

class Net(nn.Sequential):
    def forward(self, image):
        say("forward")
        return super().forward(image)

def net(num_classes=10, **sizes):
    say("build")
    return Net(nn.Flatten(), nn.Linear(784, num_classes))
"""
PRINTED = {
    f"{how} {when}" for how in ("Python", "kept", "system", "C") for when in ("import", "build", "forward")
}


@pytest.fixture
def nets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    (tmp_path / "nets.py").write_text(NOISY)
    monkeypatch.chdir(tmp_path)
    return "nets.py:net"


def test_export_in_a_process(nets: str) -> None:
    command = [sys.executable, "-m", "cnntk", "export", nets, "--random", "--input", "1x28x28", "--json"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=600, check=True)
    assert json.loads(done.stdout)["path"] == "net.onnx"
    assert set(done.stderr.splitlines()) >= PRINTED


@pytest.mark.parametrize(
    "command",
    [
        ("verify", str(shipped_model()), "--against", "nets.py:net", "--random"),
        ("train", "nets.py:net", "--data", "digits", "--epochs", "1", "--image-size", "28"),
        ("bench", str(shipped_model()), "--seconds", "0.05", "--against", "torch:nets.py:net", "--random"),
    ],
    ids=lambda command: command[0],
)
def test_commands_that_open_a_source(
    nets: str, command: tuple[str, ...], capfd: pytest.CaptureFixture[str]
) -> None:
    main([*command, "--json"])
    out, err = capfd.readouterr()
    assert isinstance(json.loads(out), dict)
    assert set(err.splitlines()) >= {line for line in PRINTED if not line.endswith("forward")}


def test_without_json_it_is_printed(nets: str, capfd: pytest.CaptureFixture[str]) -> None:
    main(["verify", str(shipped_model()), "--against", nets, "--random"])
    assert "system import" in capfd.readouterr().out
