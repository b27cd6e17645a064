import os
import re
import socket
import stat
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from cnntk.runtime.errors import UsageError
from cnntk.runtime.files import (
    atomic_write,
    check_output,
    check_writable,
    is_temporary,
    model_file,
    readable_file,
    write_bytes,
)


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


def test_a_model_is_a_regular_file_of_a_size_that_can_be_read(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for name, size in (("model", (1 << 31) - 1), ("large", 50 << 30)):
        with (tmp_path / name).open("wb") as file:
            file.truncate(size)
    assert model_file(tmp_path / "model") == tmp_path / "model"
    for path, message in (
        (tmp_path / "pipe", "is a pipe or a device, not an ONNX model"),
        ("/dev/null", "is a pipe or a device"),
        (tmp_path / "large", r"has 53\.7 GB, .* the format allows 2 GB"),
        (tmp_path, "is a folder"),
    ):
        with pytest.raises(UsageError, match=message):
            model_file(path)


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="needs /proc")
def test_a_folder_that_takes_no_files_whatever_its_rights() -> None:
    with pytest.raises(UsageError, match="can't create files in the folder /proc"):
        check_writable(Path("/proc/page.html"))


def test_looking_leaves_nothing_behind(tmp_path: Path) -> None:
    check_writable(tmp_path / "page.html")
    assert os.listdir(tmp_path) == []


def file_mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


@pytest.fixture
def umask() -> Iterator[None]:
    before = os.umask(0o027)
    yield
    os.umask(before)


@pytest.mark.skipif(os.name == "nt", reason="modes of POSIX")
@pytest.mark.usefixtures("umask")
@pytest.mark.parametrize("mode", [None, 0o600, 0o640, 0o666, 0o755])
def test_mode_of_the_target(tmp_path: Path, mode: int | None) -> None:
    target = tmp_path / "model.onnx"
    if mode is not None:
        target.write_bytes(b"old")
        target.chmod(mode)
    expected = 0o640 if mode is None else mode
    with atomic_write(target) as temporary:
        assert file_mode(temporary) & ~expected == 0
        temporary.unlink()  # as writers that rename files of their own
        temporary.write_bytes(b"new")
        temporary.chmod(0o666)
    assert (target.read_bytes(), file_mode(target)) == (b"new", expected)


@pytest.mark.skipif(os.name == "nt" or os.geteuid() != 0, reason="only the administrator may change owners")
def test_owner_of_the_target(tmp_path: Path) -> None:
    target = tmp_path / "model.onnx"
    target.write_bytes(b"old")
    os.chown(target, 1234, 2345)
    write_bytes(target, b"new")
    assert (target.stat().st_uid, target.stat().st_gid) == (1234, 2345)


def test_links_are_followed(tmp_path: Path) -> None:
    folder = tmp_path / "there"
    folder.mkdir()
    (tmp_path / "link").symlink_to("second")
    (tmp_path / "second").symlink_to(folder / "file")
    for data in (b"new", b"newer"):  # a link to nothing creates its target
        write_bytes(tmp_path / "link", data)
        assert (folder / "file").read_bytes() == data
    assert sorted(os.listdir(tmp_path)) == ["link", "second", "there"]
    assert os.listdir(folder) == ["file"]
    assert (tmp_path / "link").is_symlink()
    with pytest.raises(UsageError, match="link: exists already; --force replaces it"):
        check_output(tmp_path / "link", force=False)
    check_output(tmp_path / "link", force=True)


def test_other_names_of_a_file_keep_its_content(tmp_path: Path) -> None:
    target, other = tmp_path / "a", tmp_path / "b"
    target.write_bytes(b"old")
    os.link(target, other)
    write_bytes(target, b"new")
    assert (target.read_bytes(), other.read_bytes()) == (b"new", b"old")


def test_refused_targets(tmp_path: Path) -> None:
    (tmp_path / "circle").symlink_to("circle")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(os.path.relpath(tmp_path / "socket"))
        names = {"circle": "Too many levels", "socket": "is a socket", "a\0b": "null", "x" * 300: "too long"}
        for name, message in names.items():
            for check in (check_writable, lambda target: write_bytes(target, b"")):
                with pytest.raises(UsageError, match=message) as info:
                    check(tmp_path / name)
                assert "\n" not in str(info.value)
    assert sorted(os.listdir(tmp_path)) == ["circle", "socket"]


def test_a_pipe_receives_all_bytes_or_none(tmp_path: Path) -> None:
    pipe, data = tmp_path / "pipe", os.urandom(1 << 20)
    os.mkfifo(pipe)
    check_output(pipe, force=False)

    def fail() -> None:
        with atomic_write(pipe) as temporary:
            temporary.write_bytes(b"half")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fail()
    with ThreadPoolExecutor(1) as pool:
        received = pool.submit(pipe.read_bytes)
        write_bytes(pipe, data)
    assert received.result() == data
    assert os.listdir(tmp_path) == ["pipe"]


@pytest.mark.skipif(os.name == "nt" or os.geteuid() != 0, reason="only the administrator makes devices")
def test_a_device_stays(tmp_path: Path) -> None:
    null, full = tmp_path / "null", tmp_path / "full"
    try:
        os.mknod(null, 0o666 | stat.S_IFCHR, os.makedev(1, 3))
        os.mknod(full, 0o666 | stat.S_IFCHR, os.makedev(1, 7))
        null.write_bytes(b"")
    except OSError:
        pytest.skip("devices can't be made here")
    (tmp_path / "link").symlink_to(null)
    for target in (null, tmp_path / "link"):
        write_bytes(target, b"new")
        assert stat.S_ISCHR(null.stat().st_mode)
        with atomic_write(target) as temporary:
            assert temporary.parent.parent != tmp_path
            temporary.touch()
    with pytest.raises(UsageError, match="full: can't be written: No space left"):
        write_bytes(full, b"new")
    assert sorted(os.listdir(tmp_path)) == ["full", "link", "null"]


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="needs /proc")
@pytest.mark.parametrize("name", ["/dev/stdout", "/dev/fd/1", "/proc/self/fd/1", "link"])
def test_standard_output_that_is_a_file_is_continued(tmp_path: Path, name: str) -> None:
    (tmp_path / "link").symlink_to("/dev/stdout")
    (tmp_path / "log").write_bytes(b"first\n")
    code = "import sys; from pathlib import Path; from cnntk.runtime.files import check_output, write_bytes; "
    code += "check_output(Path(sys.argv[1]), force=False); write_bytes(Path(sys.argv[1]), b'second\\n')"
    with (tmp_path / "log").open("ab") as log:
        subprocess.run([sys.executable, "-c", code, name], stdout=log, cwd=tmp_path, check=True)
    assert (tmp_path / "log").read_bytes() == b"first\nsecond\n"
    assert sorted(os.listdir(tmp_path)) == ["link", "log"]


KILLED = """
import os, signal, sys
from pathlib import Path
from cnntk.runtime.files import atomic_write, temporary_folder
parent = Path(sys.argv[1])
with atomic_write(parent / "file") as temporary, temporary_folder(parent / "folder") as folder:
    temporary.write_bytes(b"half")
    (folder / "inner").write_bytes(b"half")
    print("ready", flush=True)
    if sys.argv[2] == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    sys.stdin.read()
"""


def test_the_next_write_removes_what_a_killed_process_left(tmp_path: Path) -> None:
    command = [sys.executable, "-c", KILLED, tmp_path]
    subprocess.run([*command, "kill"], check=False, stdout=subprocess.DEVNULL)
    abandoned = os.listdir(tmp_path)
    assert len(abandoned) == 2
    assert all(map(is_temporary, abandoned))
    own = [".a.tmp", ".file.1-ab.tmp", "file.tmp", f".file.{os.getpid()}-0123456789ab.tmp"]
    for name in own:
        (tmp_path / name).touch()
    with subprocess.Popen(
        [*command, "wait"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as running:
        assert running.stdout.readline() == "ready\n"
        running_files = set(os.listdir(tmp_path)) - set(abandoned) - set(own)
        assert len(running_files) == 2
        write_bytes(tmp_path / "other", b"new")
        assert set(os.listdir(tmp_path)) == {*own, *running_files, "other"}
        running.stdin.close()
    assert set(os.listdir(tmp_path)) == {*own, "other", "file"}


def renamed(name: str, pid: int | None = None, machine: str | None = None, start: str | None = None) -> str:
    """A temporary name of another process."""
    match = re.fullmatch(r"(\.file\.)([0-9]+)-(.{8})(.{8})(.{8}\.tmp)", name)
    old = match[2], match[3], match[4]
    values = [new or value for new, value in zip((pid, machine, start), old, strict=True)]
    return "{}{}-{}{}{}".format(match[1], *values, match[5])


def test_numbers_of_processes_are_used_again(tmp_path: Path) -> None:
    with atomic_write(tmp_path / "file") as temporary:
        temporary.touch()
        own = temporary.name
    other_start, other_machine = renamed(own, start="00000001"), renamed(own, machine="00000000")
    old, ended = renamed(own, machine="00000001"), renamed(own, pid=2**22 + 1)
    for name in (own, other_start, other_machine, old, ended):
        (tmp_path / name).touch()
    os.utime(tmp_path / old, (0, 0))
    write_bytes(tmp_path / "file", b"")
    unknown = () if Path("/proc/self").exists() else (other_start,)
    assert set(os.listdir(tmp_path)) == {"file", own, other_machine, *unknown}


def test_long_names_have_room_for_temporary_ones(tmp_path: Path) -> None:
    target = tmp_path / ("文" * 85)
    write_bytes(target, b"new")
    assert os.listdir(tmp_path) == [target.name]


def test_write_protected_targets(tmp_path: Path) -> None:
    target = tmp_path / "file"
    target.write_bytes(b"old")
    target.chmod(0o400)
    if os.access(target, os.W_OK):
        pytest.skip("the administrator may write everything")
    with pytest.raises(UsageError, match="is write-protected"):
        write_bytes(target, b"new")
