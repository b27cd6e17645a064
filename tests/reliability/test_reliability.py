"""The reliability cases of `make soak`, few of each; and faults on purpose, which they must see.

The full record, with its numbers, is in docs/reliability.md.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Callable
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path

import pytest
from reliability import endurance
from reliability.artifacts import ARTIFACTS, TAMPERING, start_mutations, start_tampering
from reliability.controls import fixed_fault, load_unverified, logged_seeds, read_unchecked
from reliability.disk_full import disk_full_of
from reliability.graphs import GRAPHS, SPECS
from reliability.images import IMAGES
from reliability.images import start as start_images
from reliability.kills import kills_of
from reliability.page import render
from reliability.runner import Kind, Result, run
from reliability.writers import IN_PLACE, QUICK, small_artifact
from source_tree import ROOT

from cnntk.shipped import shipped_model

WORKERS = 2
OLD_ONNXRUNTIME = tuple(map(int, version("onnxruntime").split(".")[:2])) < (1, 32)
RECORD = json.loads((ROOT / "docs" / "reliability.json").read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def bundles(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The shipped LeNet, and a small artifact with a data file."""
    folder = tmp_path_factory.mktemp("bundles")
    (folder / "lenet.onnx").write_bytes(shipped_model().read_bytes())
    (folder / "pair").mkdir()
    small_artifact(0, folder / "pair" / "small.onnx", data_file=True)
    return folder


def assert_holds(result: Result, cases: int) -> None:
    assert [(f.seed, f.text) for f in result.failures] == []
    assert result.cases == cases


@pytest.mark.parametrize(
    ("kind", "cases"),
    [(ARTIFACTS, 300), (TAMPERING, 200), (IMAGES, 600), (GRAPHS, 100), (SPECS, 30)],
    ids=lambda value: value.name if isinstance(value, Kind) else str(value),
)
def test_damage_is_refused_or_harmless(kind: Kind, cases: int, bundles: Path) -> None:
    if kind is GRAPHS and OLD_ONNXRUNTIME:
        pytest.skip("this onnxruntime ends its process at graphs that 1.32 refuses (SECURITY.md)")
    result = run(kind, cases, workers=WORKERS, folder=bundles)
    assert_holds(result, cases)
    assert len([count for count in result.outcomes.values() if count]) >= min(2, len(result.outcomes))


@pytest.mark.parametrize(
    ("start", "text"),
    [
        (functools.partial(start_mutations, load=load_unverified), "silently different"),
        (functools.partial(start_tampering, load=load_unverified), "changed: runs"),
        (functools.partial(start_images, read=read_unchecked), "ValueError"),
    ],
    ids=["mutations", "tampering", "images"],
)
def test_an_unchecked_reader_is_seen(
    start: Callable[[Path, Path], Callable[[int], str]], text: str, bundles: Path
) -> None:
    kind = replace(ARTIFACTS, start=start, outcomes=IMAGES.outcomes + ARTIFACTS.outcomes)
    assert any(text in failure.text for failure in run(kind, 60, folder=bundles).failures)


def test_crashes_hangs_errors_and_memory_are_seen() -> None:
    kind = Kind("control", "", 12, fixed_fault, ("good",), limit_s=2, rss_mib=200)
    result = run(kind, 12)
    texts = {failure.seed: failure.text for failure in result.failures}
    assert "SIGSEGV" in texts[3]
    assert "no end after 8 s" in texts[5]
    assert "KeyError: 'not promised'" in texts[7]
    assert "MiB of memory, over 200" in texts[9]
    assert sorted(texts) == [3, 5, 7, 9]
    assert result.outcomes == {"good": 9}


def test_killed_writers_tear_nothing() -> None:
    assert_holds(run(kills_of(QUICK, 10), 10), 10)


def test_a_writer_that_writes_in_place_is_seen() -> None:
    result = run(kills_of([IN_PLACE], 4), 4)
    assert any("torn" in failure.text for failure in result.failures)


def test_full_disks_change_nothing() -> None:
    kind = disk_full_of(QUICK[1:3], mount=False)
    assert_holds(run(kind, 12), 12)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "cases"),
    [
        (endurance.RUNS, 4),
        (endurance.THREADS, 3),
        (endurance.FORKS, 10),
        (endurance.SPAWNS, 3),
        (endurance.SESSIONS, 120),
    ],
    ids=lambda value: value.name if isinstance(value, Kind) else str(value),
)
def test_long_use_changes_nothing(kind: Kind, cases: int) -> None:
    assert_holds(run(kind, cases), cases)


def test_the_page_is_that_of_the_record() -> None:
    assert (ROOT / "docs" / "reliability.md").read_text(encoding="utf-8") == render(RECORD)


def test_a_run_that_is_ended_leaves_out_no_seed(tmp_path: Path) -> None:
    kind = Kind("control", "", 10_000, logged_seeds, ("good",))
    result = run(kind, 10_000, first=10, workers=WORKERS, seconds=5, folder=tmp_path)
    seeds = sorted(map(int, (tmp_path / "seeds.txt").read_text().split()))
    assert result.failures == []
    assert seeds == [*range(10, 10 + result.cases)]
    assert result.cases < 10_000
