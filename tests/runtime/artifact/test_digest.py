"""Any changed byte of an artifact is noticed, whichever it is."""

import hashlib
import re
import threading
from functools import partial
from pathlib import Path

import numpy as np
import onnx
import pytest

from cnntk.runtime.artifact import digest
from cnntk.runtime.artifact.digest import (
    compute_digest,
    embedded_digest,
    sha256_of,
    verified_while_loading,
)
from cnntk.runtime.engine import Engine
from cnntk.runtime.errors import ArtifactCorrupt

PAGE = Path(__file__).parents[3] / "docs" / "self-test.md"


def flipped(data: bytes, at: int, mask: int) -> bytes:
    return data[:at] + bytes((data[at] ^ mask,)) + data[at + 1 :]


@pytest.mark.parametrize("mask", [0x01, 0x80])
def test_every_flipped_byte_is_detected(sealed_onnx: Path, mask: int) -> None:
    data = sealed_onnx.read_bytes()
    Engine(data, threads=1)
    for at in range(len(data)):
        with pytest.raises(ArtifactCorrupt, match="<bytes>"):
            Engine(flipped(data, at, mask), threads=1)


def test_every_flipped_byte_is_detected_while_onnxruntime_loads(
    sealed_onnx: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As for a large file, which onnxruntime reads while it is hashed."""
    monkeypatch.setattr(digest, "LARGE_BYTES", 0)
    data, path = sealed_onnx.read_bytes(), sealed_onnx.with_name("flipped.onnx")
    assert Engine(sealed_onnx).spec == Engine(data).spec
    for at in range(0, len(data), 3):
        path.write_bytes(flipped(data, at, 0x10))
        with pytest.raises(ArtifactCorrupt, match=r"flipped\.onnx"):
            Engine(path, threads=1)


@pytest.mark.slow
def test_the_seal_is_not_read_as_text(sealed_onnx: Path) -> None:
    """Around the digest any other byte is damage too, such as a tab where JSON would allow one."""
    data = sealed_onnx.read_bytes()
    for at in range(len(data) - 80, len(data)):
        for byte in set(range(256)) - {data[at]}:
            with pytest.raises(ArtifactCorrupt):
                Engine(data[:at] + bytes((byte,)) + data[at + 1 :], threads=1)


def test_a_truncated_file_is_detected(sealed_onnx: Path) -> None:
    data = sealed_onnx.read_bytes()
    for length in range(1, len(data), 29):
        with pytest.raises(ArtifactCorrupt):
            Engine(data[:length], threads=1)


@pytest.mark.parametrize("more", [b"\0", b"x" * 100], ids=["a byte", "more"])
def test_bytes_after_the_end_are_detected(sealed_onnx: Path, more: bytes) -> None:
    with pytest.raises(ArtifactCorrupt):
        Engine(sealed_onnx.read_bytes() + more)


def test_a_file_rewritten_by_another_tool_is_detected(sealed_onnx: Path) -> None:
    onnx.save(onnx.load(sealed_onnx), again := sealed_onnx.with_name("again.onnx"))
    assert again.read_bytes() != sealed_onnx.read_bytes()
    with pytest.raises(ArtifactCorrupt, match="is damaged"):
        Engine(again)


def test_the_page_says_how_to_check_it(sealed_onnx: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    code = next(
        c
        for c in re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
        if "sha256" in c
    )
    monkeypatch.chdir(sealed_onnx.parent)
    sealed_onnx.rename("model.onnx")
    *lines, last = code.strip().splitlines()
    names: dict[str, object] = {}
    exec("\n".join(lines), names)
    assert eval(last, names) is True


def test_paths_and_bytes_have_one_digest(sealed_onnx: Path) -> None:
    data = sealed_onnx.read_bytes()
    assert (
        compute_digest(str(sealed_onnx))
        == compute_digest(data)
        == embedded_digest(data)
        == embedded_digest(str(sealed_onnx))
    )
    assert compute_digest(data) != hashlib.sha256(data).hexdigest()


def test_ctrl_c_ends_hashing(tmp_path: Path) -> None:
    with (tmp_path / "w.data").open("wb") as file:
        file.truncate(1 << 40)  # hours
    with pytest.raises(KeyboardInterrupt), verified_while_loading(partial(sha256_of, file.name)):
        raise KeyboardInterrupt


def test_damage_explains_whatever_the_block_made_of_it() -> None:
    def check(_: threading.Event) -> None:
        raise ArtifactCorrupt("damaged")

    with pytest.raises(ArtifactCorrupt, match="damaged"), verified_while_loading(check):
        raise RuntimeError("onnxruntime")


def test_files_without_a_seal_are_left_alone(foreign_onnx: Path, tiny_onnx: Path) -> None:
    assert Engine(foreign_onnx).spec is None
    assert embedded_digest(str(foreign_onnx)) is None
    assert embedded_digest(b"") is None
    assert embedded_digest(str(tiny_onnx)) is None
    batch = np.zeros((1, 1, 4, 4), np.float32)
    assert Engine(tiny_onnx).run({"input": batch})["logits"].shape == (1, 3)
