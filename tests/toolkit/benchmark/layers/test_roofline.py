"""What limits a layer, and the peaks of the machine, measured once."""

from __future__ import annotations

import json
import logging
from pathlib import Path

import pytest

from cnntk.benchmark.layers import roofline as module
from cnntk.benchmark.layers.roofline import (
    LayerWork,
    Peaks,
    cache_bytes,
    machine_peaks,
    roofline_limit,
    user_cache,
)
from cnntk.runtime.codec import as_json
from cnntk.runtime.errors import UsageError

PEAKS = Peaks(float32_gmacs=100, int8_gmacs=400, memory_gb_s=20, threads=2, cache_bytes=32_000_000)
BIG, SMALL = 200_000_000, 1_000_000


@pytest.mark.parametrize(
    ("work", "time_ms", "model_bytes", "expected"),
    [
        pytest.param(LayerWork(10**8, "float32", 10**6, 10**6), 2.0, BIG, ("compute", 0.5), id="convolution"),
        pytest.param(LayerWork(10**8, "int8", 10**6, 10**6), 0.5, BIG, ("compute", 0.5), id="in int8"),
        pytest.param(LayerWork(10**7, "float32", 4 * 10**7, 10**4), 4.0, BIG, ("memory", 0.5), id="dense"),
        pytest.param(
            LayerWork(10**6, "float32", 10**6, 10**4), 0.02, SMALL, ("compute", 0.5), id="weights fit"
        ),
        pytest.param(LayerWork(0, "", 0, 4 * 10**7), 4.0, SMALL, ("memory", 0.5), id="pooling of much"),
        pytest.param(LayerWork(0, "", 0, 10**6), 0.01, BIG, ("in cache", None), id="pooling of little"),
        pytest.param(LayerWork(0, "", 16, 10**6), 0.01, BIG, ("in cache", None), id="axes are no weights"),
        pytest.param(LayerWork(10**6, "float32", 3 * 10**7, 0), 0.5, 4 * 10**7, ("compute", 0.02), id="kept"),
        pytest.param(
            LayerWork(10**6, "float32", 4 * 10**7, 0), 0.5, BIG, ("memory", 4.0), id="can't be kept"
        ),
        pytest.param(
            LayerWork(0, "", 0, 4 * 10**7), 0.5, SMALL, ("in cache", None), id="pooling of what was kept"
        ),
        pytest.param(LayerWork(0, "", 0, 10**8), 0.5, SMALL, ("memory", 10.0), id="pooling of what can't be"),
        pytest.param(LayerWork(10**8, "float16", 10**6, 10**6), 2.0, BIG, (None, None), id="no such peak"),
        pytest.param(LayerWork(0, "", 0, 0), 0.001, BIG, (None, None), id="nothing"),
    ],
)
def test_what_binds_a_layer(
    work: LayerWork, time_ms: float, model_bytes: int, expected: tuple[str | None, float | None]
) -> None:
    limit, fraction = roofline_limit(work, time_ms, model_bytes, PEAKS)
    assert limit == expected[0]
    assert fraction == (expected[1] if expected[1] is None else pytest.approx(expected[1]))


def test_a_layer_that_took_no_time() -> None:
    assert roofline_limit(LayerWork(10**8, "float32", 1, 1), 0.0, BIG, PEAKS) == ("compute", None)


def test_caches_of_unknown_size_hold_nothing() -> None:
    unknown = Peaks(100, 400, 20, 2, None)
    limit, fraction = roofline_limit(LayerWork(0, "", 0, 10**6), 0.1, SMALL, unknown)
    assert (limit, fraction) == ("memory", pytest.approx(0.5))


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_PEAK_S", 0.02)
    monkeypatch.setattr(module, "_MAX_PEAK_S", 0.04)


@pytest.mark.usefixtures("quick")
def test_measured_once(tmp_path: Path) -> None:
    peaks = machine_peaks(1, folder=tmp_path / "new")
    assert min(peaks.float32_gmacs, peaks.int8_gmacs, peaks.memory_gb_s) > 0.1
    assert peaks.threads == 1
    (file,) = (tmp_path / "new").iterdir()
    assert json.loads(file.read_text()) == as_json(peaks)
    stored = as_json(peaks) | {"int8_gmacs": 123.0}
    file.write_text(json.dumps(stored))
    assert machine_peaks(1, folder=tmp_path / "new") == Peaks(**stored)


@pytest.mark.usefixtures("quick")
def test_measured_again_the_better_stays(tmp_path: Path) -> None:
    first = machine_peaks(1, folder=tmp_path)
    (file,) = tmp_path.iterdir()
    file.write_text(json.dumps(as_json(first) | {"int8_gmacs": 1e9, "float32_gmacs": 1e-9}))
    peaks = machine_peaks(1, folder=tmp_path, remeasure=True)
    assert peaks.int8_gmacs == 1e9
    assert peaks.float32_gmacs > 1e-9
    assert machine_peaks(1, folder=tmp_path) == peaks


@pytest.mark.usefixtures("quick")
def test_each_number_of_threads_has_peaks(tmp_path: Path) -> None:
    assert (machine_peaks(1, folder=tmp_path).threads, machine_peaks(2, folder=tmp_path).threads) == (1, 2)


@pytest.mark.usefixtures("quick")
def test_damaged_figures_are_measured_again(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    machine_peaks(1, folder=tmp_path)
    (file,) = tmp_path.iterdir()
    file.write_text('{"float32_gmacs": 1')
    with caplog.at_level(logging.WARNING):
        peaks = machine_peaks(1, folder=tmp_path)
    assert "measured again" in caplog.text
    assert json.loads(file.read_text()) == as_json(peaks)


@pytest.mark.usefixtures("quick")
def test_a_folder_without_permission(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "file").write_text("")
    with caplog.at_level(logging.WARNING):
        assert machine_peaks(1, folder=tmp_path / "file" / "in").threads == 1
    assert "measured each time" in caplog.text


def test_less_than_a_thread(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="threads 0"):
        machine_peaks(0, folder=tmp_path)


def test_each_type_has_its_peak() -> None:
    peaks = Peaks(1, 2, 3, 4, None)
    assert [peaks.gmacs(numbers) for numbers in ("float32", "int8", "float16")] == [1, 2, None]


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
