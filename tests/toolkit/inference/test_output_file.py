import json
import os
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest

from cnntk.inference import InferenceSummary, infer, infer_to_file
from cnntk.inference.journal import Journal
from cnntk.inference.output_file import part_file
from cnntk.runtime.errors import MissingDependency, UsageError
from cnntk.runtime.image_engine import ImageEngine


def expected(model: Path, images: list[str], top: int = 3) -> list[dict[str, object]]:
    return [result.row(top) for result in infer(model, images, batch=8)]


def test_a_row_for_each_image(tiny_onnx: Path, images: list[str], tmp_path: Path) -> None:
    output, numbers = tmp_path / "out.json", []
    files = [*images, "gone.png"]
    done = infer_to_file(tiny_onnx, files, output, top=2, progress=numbers.append)
    assert done == InferenceSummary(str(output), images=22, failed=1, resumed=0)
    assert numbers == list(range(1, 23))
    assert json.loads(output.read_text()) == expected(tiny_onnx, files, top=2)
    assert os.listdir(tmp_path).count("out.json") == 1
    assert not [name for name in os.listdir(tmp_path) if name.endswith((".tmp", ".part"))]


@pytest.mark.parametrize("name", ["out.json", "out.jsonl", "out.csv", "out.parquet"])
def test_resuming_gives_the_same_file(tiny_onnx: Path, images: list[str], tmp_path: Path, name: str) -> None:
    if name.endswith("parquet"):
        pytest.importorskip("pyarrow")
    direct, resumed = tmp_path / name, tmp_path / f"resumed-{name}"
    infer_to_file(tiny_onnx, images, direct, batch=4)

    def interrupted() -> Iterator[str]:
        yield from images[:20]
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        infer_to_file(tiny_onnx, interrupted(), resumed, batch=4, threads=1, resume=True)
    assert not resumed.exists()
    done = infer_to_file(tiny_onnx, images, resumed, batch=4, resume=True)
    assert resumed.read_bytes() == direct.read_bytes()
    assert (done.images, done.failed) == (21, 0)
    assert not Path(f"{resumed}.part").exists()
    again = infer_to_file(tiny_onnx, images, resumed, batch=4, resume=True)
    assert again == replace(done, resumed=21, finished_before=True)
    with pytest.raises(UsageError, match=rf"has finished it, with a row for .* where {images[1]} is now"):
        infer_to_file(tiny_onnx, images[1:], resumed, batch=4, resume=True)
    with pytest.raises(
        UsageError, match=r"with a row for no image where more.png is now; --force replaces it"
    ):
        infer_to_file(tiny_onnx, [*images, "more.png"], resumed, batch=4, resume=True)


@pytest.mark.parametrize("name", ["out.jsonl", "out.csv"])
def test_a_finished_file_of_something_else(tiny_onnx: Path, tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text("hello, world\n1,2\n")
    with pytest.raises(UsageError, match="has no rows of cnntk infer; --force replaces it"):
        infer_to_file(tiny_onnx, ["a.png"], tmp_path / name, resume=True)
    assert (tmp_path / name).read_text().startswith("hello")


def test_arrays_are_entries_of_their_files(tiny_onnx: Path, images: list[str], tmp_path: Path) -> None:
    output = tmp_path / "out.npz"
    files = [*images[:3], images[0], "gone.png"]
    done = infer_to_file(tiny_onnx, files, output)
    assert (done.images, done.failed) == (5, 1)
    model = ImageEngine(tiny_onnx)
    with np.load(output) as arrays:
        names = [f"{file}/{name}" for file in images[:3] for name in ("logits", "probabilities")]
        assert arrays.files == [*names, "gone.png/error"]
        for file in images[:3]:
            for name, array in model.run(file).items():
                np.testing.assert_array_equal(arrays[f"{file}/{name}"], array)
        assert "no such file" in str(arrays["gone.png/error"])
    with pytest.raises(UsageError, match="npz can't be resumed"):
        infer_to_file(tiny_onnx, files, tmp_path / "other.npz", resume=True)


def test_another_preprocessing_does_not_resume(foreign_onnx: Path, images: list[str], tmp_path: Path) -> None:
    output = tmp_path / "out.csv"

    def stop(done: int) -> None:
        if done == 18:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        infer_to_file(foreign_onnx, images, output, batch=4, resume=True, preprocessing="unit", progress=stop)
    with pytest.raises(UsageError, match="was started with preprocessing"):
        infer_to_file(foreign_onnx, images, output, batch=4, resume=True, preprocessing="none")
    assert (
        infer_to_file(foreign_onnx, images, output, batch=4, resume=True, preprocessing="unit").resumed == 16
    )


def test_what_is_done_is_not_done_again(tiny_onnx: Path, images: list[str], tmp_path: Path) -> None:
    output = tmp_path / "out.csv"
    part = Path(f"{output}.part")

    def stop(done: int) -> None:
        if done == 18:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        infer_to_file(tiny_onnx, images, output, batch=4, resume=True, progress=stop)
    assert len(part.read_text().splitlines()) == 1 + 16
    for file in images[:16]:
        Path(file).unlink()
    done = infer_to_file(tiny_onnx, images, output, batch=4, resume=True)
    assert (done.images, done.resumed, done.failed) == (21, 16, 0), (
        "the files that are gone were not asked for"
    )


def killed(command: list[object], part: Path, rows: int, stop: signal.Signals) -> subprocess.Popen[str]:
    """Stops a run that can't end by itself when its journal has so many rows."""
    process = subprocess.Popen(
        [sys.executable, "-m", "cnntk", *map(str, command)], stderr=subprocess.PIPE, text=True
    )
    deadline = time.monotonic() + 60
    while not part.exists() or len(part.read_bytes().splitlines()) < 1 + rows:
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.01)
    process.send_signal(stop)
    return process


def test_killed_in_the_middle_it_goes_on(tiny_onnx: Path, images: list[str], tmp_path: Path) -> None:
    direct, output, pipe = tmp_path / "direct.csv", tmp_path / "out.csv", tmp_path / "images/10-pipe.png"
    os.mkfifo(pipe)
    files = [*images[:10], str(pipe), *images[10:]]
    part = Path(f"{output}.part")
    command = ["infer", "-m", tiny_onnx, *files, "-o", output, "--resume", "--batch", "2", "--threads", "2"]
    process = killed(command, part, 10, signal.SIGKILL)
    assert process.communicate()[1] == ""
    assert process.returncode == -signal.SIGKILL
    assert not output.exists()
    with part.open("ab") as stream:
        stream.write(b'{"file": "torn')
    pipe.unlink()
    pipe.write_bytes(Path(images[0]).read_bytes())
    done = infer_to_file(tiny_onnx, files, output, resume=True, batch=2)
    assert (done.images, done.resumed) == (22, 10)
    infer_to_file(tiny_onnx, files, direct, batch=2)
    assert output.read_bytes() == direct.read_bytes()


@pytest.mark.parametrize("resume", [True, False])
def test_ctrl_c_leaves_what_can_be_resumed_or_nothing(
    tiny_onnx: Path, images: list[str], tmp_path: Path, resume: bool
) -> None:
    folder, pipe = tmp_path / "out", tmp_path / "pipe.png"
    folder.mkdir()
    os.mkfifo(pipe)
    watched = folder / "out.csv"
    command = ["infer", "-m", tiny_onnx, *images[:8], pipe, "-o", watched, "--batch", "2", "--threads", "2"]
    process = subprocess.Popen(
        [sys.executable, "-m", "cnntk", *map(str, command), *(["--resume"] if resume else [])],
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(
            signal.SIGINT, signal.SIG_DFL
        ),  # a shell's background job ignores it
    )
    with pipe.open("wb"):  # it is being read: the run is in its midst, and can't end
        assert not watched.exists()
        assert len(os.listdir(folder)) == 1
        process.send_signal(signal.SIGINT)
    err = process.communicate(timeout=60)[1]
    assert process.returncode == 130
    assert "Traceback" not in err
    assert err.endswith("cnntk: interrupted\n")
    assert os.listdir(folder) == (["out.csv.part"] if resume else [])
    assert ("continues from them" in err) is resume


def limited(size: int) -> Callable[[], None]:
    def limit() -> None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))

    return limit


@pytest.mark.parametrize(("size", "status"), [(300, 2), (1 << 20, 0)])
def test_a_full_disk_leaves_nothing(
    tiny_onnx: Path, images: list[str], tmp_path: Path, size: int, status: int
) -> None:
    """A limit on the size of files is what a test can have without a disk of its own."""
    output = tmp_path / "out" / "out.csv"
    output.parent.mkdir()
    done = subprocess.run(
        [sys.executable, "-B", "-m", "cnntk", "infer", "-m", tiny_onnx, *images, "-o", output],
        capture_output=True,
        text=True,
        preexec_fn=limited(size),
    )
    assert done.returncode == status, done.stderr
    assert os.listdir(output.parent) == (["out.csv"] if status == 0 else [])
    assert status == 0 or f"cnntk: {output}: can't be written: File too large\n" in done.stderr


def test_a_full_disk_leaves_what_can_be_resumed(tiny_onnx: Path, images: list[str], tmp_path: Path) -> None:
    output = tmp_path / "out" / "out.csv"
    output.parent.mkdir()
    done = subprocess.run(
        [sys.executable, "-B", "-m", "cnntk", "infer", "-m", tiny_onnx, *images, "-o", output, "--resume"],
        capture_output=True,
        text=True,
        preexec_fn=limited(3000),
    )
    assert done.returncode == 2
    assert f"cnntk: {output}.part: can't be written: File too large\n" in done.stderr
    assert os.listdir(output.parent) == ["out.csv.part"]
    assert infer_to_file(tiny_onnx, images, output, resume=True).resumed == 8


def test_killed_after_its_last_row(
    tiny_onnx: Path, images: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    output, part = tmp_path / "out.csv", tmp_path / "out.csv.part"

    def end_here(journal: Journal) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(Journal, "remove", end_here)
        with pytest.raises(KeyboardInterrupt):
            infer_to_file(tiny_onnx, images, output, resume=True)
    written = output.read_bytes()
    assert part.exists()
    assert infer_to_file(tiny_onnx, images, output, resume=True).finished_before
    assert output.read_bytes() == written
    assert not part.exists()
    with monkeypatch.context() as patched:
        patched.setattr(Journal, "remove", end_here)
        with pytest.raises(KeyboardInterrupt):
            infer_to_file(tiny_onnx, images, output, resume=True, force=True)
    output.write_bytes(written)  # by somebody else, so that the rows are no longer those of the journal
    output.rename(tmp_path / "other")
    (tmp_path / "copy").write_bytes(written)
    (tmp_path / "copy").rename(output)
    with pytest.raises(UsageError, match="exists already"):
        infer_to_file(tiny_onnx, images, output, resume=True)
    assert infer_to_file(tiny_onnx, images, output, resume=True, force=True).resumed == 16  # whole batches


def test_existing_files_are_refused(tiny_onnx: Path, images: list[str], tmp_path: Path) -> None:
    output = tmp_path / "out.csv"
    part = Path(f"{output}.part")
    output.write_text("mine")
    with pytest.raises(UsageError, match="exists already; --force replaces it"):
        infer_to_file(tiny_onnx, images, output)
    assert output.read_text() == "mine"
    infer_to_file(tiny_onnx, images, output, force=True)
    assert output.read_text().startswith("file,error,")
    output.unlink()
    part.write_text("of an earlier run")
    with pytest.raises(UsageError, match="--resume continues it, --force starts again"):
        infer_to_file(tiny_onnx, images, output)
    infer_to_file(tiny_onnx, images, output, force=True)
    assert not part.exists()


def test_another_model_or_option_is_refused(
    tiny_onnx: Path, other_onnx: Path, images: list[str], tmp_path: Path
) -> None:
    output = tmp_path / "out.csv"

    def stop(done: int) -> None:
        if done == 12:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        infer_to_file(tiny_onnx, images, output, resume=True, progress=stop)
    for model, options, message in (
        (other_onnx, {}, r"was started with model tiny \w{16}, not tiny \w{16}"),
        (tiny_onnx, {"top": 1}, "was started with top 3, not 1"),
        (tiny_onnx, {"batch": 4}, "was started with batch 8, not 4"),
        (tiny_onnx, {"max_megapixels": 5.0}, r"was started with max_megapixels 51\.0, not 5\.0"),
    ):
        with pytest.raises(UsageError, match=message):
            infer_to_file(model, images, output, resume=True, **options)
    assert infer_to_file(tiny_onnx, images, output, resume=True).resumed == 8


@pytest.fixture
def other_onnx(tiny_onnx: Path, tmp_path: Path) -> Path:
    """The same network with other labels."""
    model = onnx.load(tiny_onnx)
    model.metadata_props[0].value = model.metadata_props[0].value.replace('"dark"', '"black"')
    path = tmp_path / "other.onnx"
    onnx.save(model, path)
    return path


def test_it_fails_before_the_work(
    tiny_onnx: Path, images: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def never() -> Iterator[str]:
        yield pytest.fail("an image was asked for")

    with pytest.raises(UsageError, match="does not exist; create it first"):
        infer_to_file(tiny_onnx, never(), tmp_path / "no" / "out.csv")
    with pytest.raises(UsageError, match="name it"):
        infer_to_file(tiny_onnx, never(), tmp_path / "out.txt")
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(MissingDependency, match="needs pyarrow"):
        infer_to_file(tiny_onnx, never(), tmp_path / "out.parquet")
    assert os.listdir(tmp_path).count("images") == 1
    assert not list(tmp_path.glob("out*"))


def test_unfinished_rows_are_beside_the_file_behind_a_link_and_as_private(
    tiny_onnx: Path, images: list[str], tmp_path: Path
) -> None:
    folder, link = tmp_path / "there", tmp_path / "link.csv"
    folder.mkdir()
    real, part = folder / "real.csv", folder / "real.csv.part"
    real.write_text("old")
    real.chmod(0o600)
    link.symlink_to(real)

    def stop(done: int) -> None:
        if done >= 4:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        infer_to_file(tiny_onnx, images, link, batch=2, resume=True, force=True, progress=stop)
    assert part_file(link) == part
    assert (part.stat().st_mode & 0o777, real.read_text()) == (0o600, "old")
    assert infer_to_file(tiny_onnx, images, link, batch=2, resume=True, force=True).resumed == 4
    assert (real.stat().st_mode & 0o777, link.is_symlink(), os.listdir(folder)) == (0o600, True, ["real.csv"])


def test_devices_and_pipes(tiny_onnx: Path, images: list[str], tmp_path: Path) -> None:
    pipe, direct = tmp_path / "pipe", tmp_path / "direct.csv"
    os.mkfifo(pipe)
    with pytest.raises(UsageError, match="is a device or a pipe, so that --resume can't continue it"):
        infer_to_file(tiny_onnx, images, pipe, form="csv", resume=True)
    infer_to_file(tiny_onnx, images, direct)
    with ThreadPoolExecutor(1) as pool:
        received = pool.submit(pipe.read_bytes)
        assert infer_to_file(tiny_onnx, images, pipe, form="csv").images == len(images)
    assert received.result() == direct.read_bytes()
    infer_to_file(tiny_onnx, images, "/dev/null", form="parquet")
    with pytest.raises(UsageError, match="No space left"):
        infer_to_file(tiny_onnx, images, "/dev/full", form="json")
