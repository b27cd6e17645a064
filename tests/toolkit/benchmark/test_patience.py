from pathlib import Path

import pytest

from cnntk.benchmark import patience
from cnntk.benchmark.latency import _session, measure_latency
from cnntk.benchmark.patience import runs_at_least


def test_slow_runs_are_fewer() -> None:
    assert runs_at_least(20, 1.5) == 3
    assert runs_at_least(20, 0.9) == 20
    assert runs_at_least(10, 60, slow=2) == 2
    assert runs_at_least(1, 60) == 1


def test_latency_of_slow_runs_has_no_percentiles(tiny_onnx: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert measure_latency(tiny_onnx, seconds=1e-6).runs == 20
    monkeypatch.setattr(patience, "SLOW_S", 0)
    found = measure_latency(tiny_onnx, seconds=1e-6)
    assert found.runs == 3
    assert set(found.percentiles_ms.values()) == {None}
    assert found.mean_ms.value > 0
    assert found.findings[0].message.startswith("3 runs are too few")
    assert len(_session(model=str(tiny_onnx), seconds=1e-6, slow_runs=5)["latencies_ms"]) == 5
