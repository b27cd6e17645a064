"""Optimized models are kept, found again, and never trusted blindly."""

import logging
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest

from cnntk.runtime.artifact import digest
from cnntk.runtime.engine import Engine
from cnntk.runtime.errors import ArtifactCorrupt, UsageError
from cnntk.runtime.session import _cache as caching
from cnntk.runtime.session._cache import cache_key
from cnntk.runtime.session.devices import Device
from cnntk.shipped import shipped_model

BATCH = np.random.default_rng(0).random((3, 1, 4, 4), dtype=np.float32)
CPU = Device("cpu", "CPUExecutionProvider")


@pytest.fixture(autouse=True)
def _log(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    with caplog.at_level(logging.INFO, logger="cnntk.runtime"):
        yield


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "made" / "cache"


def answers(model: Path | bytes, **settings: object) -> bytes:
    actual = Engine(model, threads=1, **settings).run({"input": BATCH})
    return actual["logits"].tobytes() + actual["probabilities"].tobytes()


def entry_in(folder: Path) -> Path:
    (entry,) = folder.iterdir()
    return entry


@pytest.mark.parametrize("share", [False, True], ids=["one file", "shared"])
@pytest.mark.parametrize("kind", ["path", "bytes", "foreign"])
def test_answers_are_the_same_to_the_bit(
    sealed_onnx: Path,
    foreign_onnx: Path,
    folder: Path,
    kind: str,
    share: bool,
    caplog: pytest.LogCaptureFixture,
) -> None:
    model = {"path": sealed_onnx, "bytes": sealed_onnx.read_bytes(), "foreign": foreign_onnx}[kind]
    expected = answers(model)
    caplog.clear()
    for _ in range(3):
        assert answers(model, cache=folder, share_weights=share) == expected
    assert len(list(folder.iterdir())) == 1
    assert "cache" not in caplog.text


def test_lenet_is_the_same_to_the_bit(folder: Path) -> None:
    images = np.random.default_rng(0).integers(0, 256, (5, 28, 28, 1), dtype=np.uint8)
    ways = ((None, False), (folder, False), (folder, False), (folder, True), (folder, True))
    engines = [Engine(shipped_model(), threads=1, cache=c, share_weights=s) for c, s in ways]
    expected, *others = ({k: v.tobytes() for k, v in e.run({"image": images}).items()} for e in engines)
    assert all(other == expected for other in others)
    assert engines[2].spec == engines[0].spec
    assert engines[2].self_test().holds


def test_it_is_the_entry_that_runs(sealed_onnx: Path, foreign_onnx: Path, folder: Path) -> None:
    """An entry in another one's place answers as that other model does."""
    other = onnx.load(foreign_onnx)
    other.graph.initializer[1].CopyFrom(onnx.numpy_helper.from_array(np.ones(3, np.float32), "bias"))
    other_model, expected = other.SerializeToString(), answers(sealed_onnx)
    assert answers(other_model, cache=folder) != expected
    key = cache_key(str(sealed_onnx), CPU, sharing=False)
    entry_in(folder).rename(folder / key)
    assert answers(sealed_onnx, cache=folder) == answers(other_model)
    shutil.rmtree(folder / key)
    assert answers(sealed_onnx, cache=folder) == expected


@pytest.mark.parametrize("share", [False, True], ids=["one file", "shared"])
def test_damaged_entries_are_created_again(
    sealed_onnx: Path, folder: Path, share: bool, caplog: pytest.LogCaptureFixture
) -> None:
    expected = answers(sealed_onnx, cache=folder, share_weights=share)
    entry = entry_in(folder)
    for file in sorted(entry.iterdir()):
        whole = file.read_bytes()
        for at in range(0, len(whole), max(1, len(whole) // 60)):
            file.write_bytes(whole[:at] + bytes([whole[at] ^ 4]) + whole[at + 1 :])
            caplog.clear()
            assert answers(sealed_onnx, cache=folder, share_weights=share) == expected
            assert "the entry is created again" in caplog.text
            whole = file.read_bytes()
    caplog.clear()
    assert answers(sealed_onnx, cache=folder, share_weights=share) == expected
    assert "again" not in caplog.text


@pytest.mark.parametrize("damage", ["empty file", "empty folder", "no folder", "short"])
def test_truncated_entries_are_created_again(sealed_onnx: Path, folder: Path, damage: str) -> None:
    expected = answers(sealed_onnx, cache=folder, share_weights=True)
    entry = entry_in(folder)
    model = entry / "model.onnx"
    if damage == "empty file":
        model.write_bytes(b"")
    elif damage == "short":
        model.write_bytes(model.read_bytes()[:-1])
    else:
        shutil.rmtree(entry)
        if damage == "no folder":
            entry.write_bytes(b"a file")
        else:
            entry.mkdir()
    for _ in range(2):
        assert answers(sealed_onnx, cache=folder, share_weights=True) == expected
    assert model.stat().st_size > 100


@pytest.mark.parametrize("damage", ["missing", "short", "changed", "a hard link"])
def test_weights_of_entries_are_checked(pair: Path, folder: Path, damage: str) -> None:
    images = np.random.default_rng(0).random((2, 3, 8, 8), dtype=np.float32)
    expected = Engine(pair, cache=folder, share_weights=True).run({"input": images})["logits"]
    data = entry_in(folder) / "model.data"
    whole = data.read_bytes()
    data.unlink()
    if damage == "a hard link":
        (other := folder.parent / "other").write_bytes(whole)
        data.hardlink_to(other)
    elif damage != "missing":
        data.write_bytes(whole[:-1] if damage == "short" else whole[:9999] + b"\x77" + whole[10000:])
    actual = Engine(pair, cache=folder, share_weights=True).run({"input": images})["logits"]
    assert np.array_equal(actual, expected)
    assert data.read_bytes() == whole
    assert data.stat().st_nlink == 1


def test_the_key_holds_all_that_matters(
    sealed_onnx: Path, foreign_onnx: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = str(sealed_onnx)
    cuda = Device("cuda:0", "CUDAExecutionProvider", {"use_tf32": "0"})
    keys = [
        cache_key(path, CPU, sharing=False),
        cache_key(path, CPU, sharing=True),
        cache_key(str(foreign_onnx), CPU, sharing=False),
        cache_key(foreign_onnx.read_bytes() + b"\0", CPU, sharing=False),
        cache_key(path, cuda, sharing=False),
        cache_key(path, Device(cuda.name, cuda.provider, {"use_tf32": "1"}), sharing=False),
    ]
    assert cache_key(sealed_onnx.read_bytes(), CPU, sharing=False) == keys[0]
    assert cache_key(foreign_onnx.read_bytes(), CPU, sharing=False) == keys[2]
    for where, name, value in (
        (onnxruntime, "__version__", "9.9"),
        (onnxruntime, "get_build_info", lambda: "another build"),
        (caching, "_cpu", lambda: ["another CPU"]),
        (caching, "_cnntk_version", lambda: "9.9"),
    ):
        with monkeypatch.context() as patch:
            patch.setattr(where, name, value)
            keys.append(cache_key(path, CPU, sharing=False))
    assert len(set(keys)) == len(keys) == 10
    assert cache_key(path, CPU, sharing=False) == keys[0]


def test_a_damaged_model_is_never_cached(
    sealed_onnx: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A large one is built while it is hashed; its entry would stand for the sound model."""
    monkeypatch.setattr(digest, "LARGE_BYTES", 0)
    expected, whole = answers(sealed_onnx), sealed_onnx.read_bytes()
    weight = whole.index(np.array([-1, 1, 2], np.float32).tobytes())
    for _ in range(5):
        sealed_onnx.write_bytes(whole[:weight] + b"\1" + whole[weight + 1 :])
        with pytest.raises(ArtifactCorrupt, match="embedded digest"):
            Engine(sealed_onnx, cache=folder)
        assert list(folder.iterdir()) == []
    sealed_onnx.write_bytes(whole)
    assert answers(sealed_onnx, cache=folder) == expected


def test_a_damaged_model_with_a_valid_entry_is_detected(sealed_onnx: Path, folder: Path) -> None:
    answers(sealed_onnx, cache=folder)
    whole = sealed_onnx.read_bytes()
    sealed_onnx.write_bytes(whole[:300] + bytes([whole[300] ^ 1]) + whole[301:])
    with pytest.raises(ArtifactCorrupt):
        Engine(sealed_onnx, cache=folder)


WRITER = """
import sys
import numpy as np
from cnntk.runtime.engine import Engine

model, folder, share = sys.argv[1:]
print("ready", flush=True)
sys.stdin.buffer.readline()
engine = Engine(model, threads=1, cache=folder, share_weights=share == "True")
batch = np.frombuffer(sys.stdin.buffer.read(), np.float32).reshape(-1, 1, 4, 4)
actual = engine.run({"input": batch})
print((actual["logits"].tobytes() + actual["probabilities"].tobytes()).hex())
"""


@pytest.mark.parametrize("share", [False, True], ids=["one file", "shared"])
def test_many_may_write_at_once(sealed_onnx: Path, folder: Path, share: bool) -> None:
    command = [sys.executable, "-c", WRITER, str(sealed_onnx), str(folder), str(share)]
    writers = [
        subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0) for _ in range(6)
    ]
    for writer in writers:
        assert writer.stdout.readline() == b"ready\n"
    for writer in writers:
        writer.stdin.write(b"\n")
    actual = {writer.communicate(BATCH.tobytes(), timeout=60)[0].decode().strip() for writer in writers}
    assert actual == {answers(sealed_onnx).hex()}
    assert [f.name for f in folder.iterdir()] == [cache_key(str(sealed_onnx), CPU, sharing=share)]
    assert answers(sealed_onnx, cache=folder, share_weights=share) == answers(sealed_onnx)


def test_a_file_is_no_folder(sealed_onnx: Path) -> None:
    for wrong in (sealed_onnx, sealed_onnx / "below"):
        with pytest.raises(UsageError, match=r"cache \S+: is a file, or inside one; name a folder"):
            Engine(sealed_onnx, cache=wrong)


@pytest.mark.parametrize("wrong", ["/proc/nothing/here", "/proc/self"])
def test_a_folder_that_can_not_be_written_to(
    sealed_onnx: Path, wrong: str, caplog: pytest.LogCaptureFixture
) -> None:
    assert answers(sealed_onnx, cache=wrong) == answers(sealed_onnx)
    assert f"cache {wrong}: " in caplog.text
    assert "optimized each time" in caplog.text


def test_an_artifact_with_weights_beside_it(
    pair: Path, folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    images = np.random.default_rng(0).random((2, 3, 8, 8), dtype=np.float32)
    expected = Engine(pair).run({"input": images})["logits"]
    for _ in range(2):
        assert np.array_equal(Engine(pair, cache=folder).run({"input": images})["logits"], expected)
    assert caplog.text == ""
    assert (entry_in(folder) / "model.data").exists()
    data = pair.parent / Engine(pair).spec.data.file
    data.write_bytes(bytes(data.stat().st_size))
    with pytest.raises(ArtifactCorrupt, match=data.name):
        Engine(pair, cache=folder)


def test_a_foreign_model_with_external_weights_is_not_cached(
    foreign_onnx: Path, folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    expected = answers(foreign_onnx)
    model = onnx.load(foreign_onnx)
    onnx.save(model, foreign_onnx, save_as_external_data=True, location="w.data", size_threshold=0)
    assert answers(foreign_onnx, cache=folder) == expected
    assert "is not cached, because its external weights have no digest" in caplog.text
    assert list(folder.iterdir()) == []
