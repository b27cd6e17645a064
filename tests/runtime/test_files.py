import os
import subprocess
import sys
from pathlib import Path

import pytest

from cnntk.runtime.errors import UsageError
from cnntk.runtime.files import atomic_write, check_writable, readable_file, write_bytes


def test_writes_whole(tmp_path: Path) -> None:
    target = tmp_path / "ä 文.bin"
    write_bytes(target, b"new")
    assert target.read_bytes() == b"new"
    assert os.listdir(tmp_path) == [target.name]


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
def test_a_failure_leaves_the_old_file(tmp_path: Path, error: type[BaseException]) -> None:
    target = tmp_path / "model.onnx"
    target.write_bytes(b"old")

    def write_half() -> None:
        with atomic_write(target) as temporary:
            temporary.write_bytes(b"ha")
            raise error

    with pytest.raises(error):
        write_half()
    assert target.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["model.onnx"]


def test_kill_leaves_the_old_file(tmp_path: Path) -> None:
    target = tmp_path / "model.onnx"
    target.write_bytes(b"old")
    code = """
import os, signal, sys
from pathlib import Path
from cnntk.runtime.files import atomic_write
with atomic_write(Path(sys.argv[1])) as temporary:
    temporary.write_bytes(b"half")
    os.kill(os.getpid(), signal.SIGKILL)
"""
    subprocess.run([sys.executable, "-c", code, target], check=False)
    assert target.read_bytes() == b"old"


def test_a_full_disk_is_one_line(tmp_path: Path) -> None:
    def fill() -> None:
        with atomic_write(tmp_path / "x.bin"):
            raise OSError(28, "No space left on device")

    with pytest.raises(UsageError, match=r"x\.bin: can't be written: No space left"):
        fill()


@pytest.mark.parametrize(
    ("name", "message"), [("no/such/x.onnx", "does not exist"), ("folder", "is a folder; name a file")]
)
def test_unwritable_targets(tmp_path: Path, name: str, message: str) -> None:
    (tmp_path / "folder").mkdir()
    with pytest.raises(UsageError, match=message):
        check_writable(tmp_path / name)
    check_writable(tmp_path / "fine.onnx")


@pytest.mark.parametrize(("name", "message"), [("gone", "no such file"), ("", "is a folder, not a model")])
def test_unreadable_sources(tmp_path: Path, name: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        readable_file(tmp_path / name, "a model")


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="needs /proc")
def test_a_folder_that_takes_no_files_whatever_its_rights() -> None:
    with pytest.raises(UsageError, match="can't create files in the folder /proc"):
        check_writable(Path("/proc/page.html"))


def test_looking_leaves_nothing_behind(tmp_path: Path) -> None:
    check_writable(tmp_path / "page.html")
    assert os.listdir(tmp_path) == []
