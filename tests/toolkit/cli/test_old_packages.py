"""Packages that are too old, put before the installed ones: each command names them in one line."""

import os
import subprocess
import sys
from pathlib import Path

import pytest


def run(folder: Path, *arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "cnntk", *map(str, arguments)]
    environment = {**os.environ, "PYTHONPATH": str(folder)}
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)


def install(folder: Path, name: str, version: str, code: str) -> None:
    module, information = folder / name, folder / f"{name}-{version}.dist-info"
    module.mkdir(parents=True)
    information.mkdir()
    (module / "__init__.py").write_text(code)
    (information / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")


@pytest.mark.parametrize(
    ("code", "message"),
    [
        ('__version__ = "1.20.1"', "onnxruntime 1.20.1 is too old; cnntk needs 1."),
        ("", "onnxruntime's folder is empty; uninstall onnxruntime and install it again"),
    ],
)
def test_an_onnxruntime_that_is_too_old_or_empty(tmp_path: Path, code: str, message: str) -> None:
    install(tmp_path, "onnxruntime", "1.20.1", code)
    done = run(tmp_path, "inspect")
    assert done.returncode == 2
    assert done.stderr.splitlines()[-1].startswith(f"cnntk: {message}")
    assert "Traceback" not in done.stderr
    done = run(tmp_path, "doctor")
    assert (done.returncode, done.stderr) == (1, "")
    assert message[:30] in done.stdout


def test_another_package_that_is_too_old_explains_a_failure(tmp_path: Path) -> None:
    install(tmp_path, "onnx_ir", "0.0.1", "def __getattr__(name): raise KeyError(name)")
    done = run(tmp_path, "export", "lenet", "--random")
    assert done.returncode == 2
    assert done.stderr.splitlines()[-1].startswith("cnntk: onnx-ir 0.0.1 is too old; cnntk[export] needs ")
    (tmp_path / "onnx_ir-0.0.1.dist-info/METADATA").write_text("Name: onnx_ir\nVersion: 99\n")
    done = run(tmp_path, "export", "lenet", "--random")
    assert done.returncode == 70
    assert "internal error, KeyError" in done.stderr
