from __future__ import annotations

import json
import logging
from pathlib import Path

import pytest

from cnntk.benchmark.layers import peaks as module
from cnntk.benchmark.layers.peaks import Peaks, cache_bytes, peaks, user_cache
from cnntk.runtime.errors import UsageError


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_SECONDS", 0.02)
    monkeypatch.setattr(module, "_MOST_SECONDS", 0.04)


@pytest.mark.usefixtures("quick")
def test_measured_once(tmp_path: Path) -> None:
    found = peaks(1, folder=tmp_path / "new")
    assert min(found.float32_gmacs, found.int8_gmacs, found.memory_gb_s) > 0.1
    assert found.threads == 1
    (file,) = (tmp_path / "new").iterdir()
    assert json.loads(file.read_text()) == found.to_json()
    kept = found.to_json() | {"int8_gmacs": 123.0}
    file.write_text(json.dumps(kept))
    assert peaks(1, folder=tmp_path / "new") == Peaks(**kept)


@pytest.mark.usefixtures("quick")
def test_measured_again_the_better_stays(tmp_path: Path) -> None:
    first = peaks(1, folder=tmp_path)
    (file,) = tmp_path.iterdir()
    file.write_text(json.dumps(first.to_json() | {"int8_gmacs": 1e9, "float32_gmacs": 1e-9}))
    found = peaks(1, folder=tmp_path, again=True)
    assert found.int8_gmacs == 1e9
    assert found.float32_gmacs > 1e-9
    assert peaks(1, folder=tmp_path) == found


@pytest.mark.usefixtures("quick")
def test_each_number_of_threads_has_its_own(tmp_path: Path) -> None:
    assert (peaks(1, folder=tmp_path).threads, peaks(2, folder=tmp_path).threads) == (1, 2)


@pytest.mark.usefixtures("quick")
def test_damaged_figures_are_measured_again(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    peaks(1, folder=tmp_path)
    (file,) = tmp_path.iterdir()
    file.write_text('{"float32_gmacs": 1')
    with caplog.at_level(logging.WARNING):
        found = peaks(1, folder=tmp_path)
    assert "measured again" in caplog.text
    assert json.loads(file.read_text()) == found.to_json()


@pytest.mark.usefixtures("quick")
def test_a_folder_that_cannot_be_made(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "file").write_text("")
    with caplog.at_level(logging.WARNING):
        assert peaks(1, folder=tmp_path / "file" / "in").threads == 1
    assert "measured each time" in caplog.text


def test_less_than_a_thread(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="threads 0"):
        peaks(0, folder=tmp_path)


def test_each_type_has_its_peak() -> None:
    found = Peaks(1, 2, 3, 4, None)
    assert [found.gmacs(numbers) for numbers in ("float32", "int8", "float16")] == [1, 2, None]


def test_the_largest_cache(tmp_path: Path) -> None:
    for i, size in enumerate(("32K", "1024K", "32M", "?")):
        (tmp_path / f"index{i}").mkdir()
        (tmp_path / f"index{i}" / "size").write_text(f"{size}\n")
    assert cache_bytes(tmp_path) == 32 << 20
    assert cache_bytes(tmp_path / "none") is None


@pytest.mark.parametrize(
    ("platform", "variable", "end"),
    [
        ("linux", "XDG_CACHE_HOME", "here/cnntk"),
        ("linux", "", ".cache/cnntk"),
        ("darwin", "", "Library/Caches/cnntk"),
        ("win32", "LOCALAPPDATA", "here/cnntk"),
        ("win32", "", "AppData/Local/cnntk"),
    ],
)
def test_where_systems_keep_caches(
    platform: str, variable: str, end: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module.sys, "platform", platform)
    for name in ("XDG_CACHE_HOME", "LOCALAPPDATA"):
        monkeypatch.delenv(name, raising=False)
    if variable:
        monkeypatch.setenv(variable, "/somewhere/here")
    assert user_cache().as_posix().endswith(end)
