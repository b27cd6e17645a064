"""Each part of a bench says when others used the cores meanwhile; here a process does nothing else.

What is said in which case, and that a quiet machine is not blamed, is in `statistics/test_findings`.
"""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest

from cnntk.benchmark.compare import compare_interleaved
from cnntk.benchmark.layers.report import layer_times
from cnntk.benchmark.layers.roofline import Peaks
from cnntk.benchmark.stages import measure_stages
from cnntk.benchmark.statistics.system_load import read_counters
from cnntk.benchmark.sweep import measure_sweep
from cnntk.benchmark.workload import Workload

PEAKS = Peaks(100.0, 400.0, 25.0, 1, None)

pytestmark = pytest.mark.skipif(read_counters().busy_s is None, reason="the system does not tell")


@pytest.fixture(scope="module", autouse=True)
def _busy() -> Iterator[None]:
    """So many processes that the cores of this one can't be left alone."""
    cores = read_counters().cores
    others = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(cores)]
    yield
    for other in others:
        other.kill()
        other.wait()


def _compared(_: Path) -> Sequence[str]:
    def call() -> None:
        time.sleep(0.001)

    return compare_interleaved(call, call, seconds=0.5).interference


@pytest.mark.parametrize(
    "messages",
    [
        _compared,
        lambda model: measure_sweep(Workload(model, threads=1, seconds=0.5)).notes,
        lambda model: measure_stages(Workload(model, seconds=0.5)).notes,
        lambda model: layer_times(Workload(model, threads=1, seconds=0.5), peaks=PEAKS).findings,
    ],
    ids=["against", "sweep", "stages", "layers"],
)
def test_others_are_reported(messages: Callable[[Path], Sequence[str]], tiny_onnx: Path) -> None:
    assert any(line.startswith("other processes used") for line in messages(tiny_onnx))
