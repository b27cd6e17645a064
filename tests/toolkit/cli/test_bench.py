from collections.abc import Callable
from pathlib import Path


def test_figures(cnntk: Callable, tiny_onnx: Path) -> None:
    done = cnntk("bench", tiny_onnx, "--seconds", "0.1", "--threads", "1", "--batch", "2")
    assert done.status == 0
    for word in ("p50", "p90", "p99", "images/s", "1 thread, batch 2"):
        assert word in done.out


def test_json(cnntk: Callable, tiny_onnx: Path) -> None:
    found = cnntk("bench", tiny_onnx, "--seconds", "0.1", "--json").json
    assert 0 < found["p50_ms"] <= found["p90_ms"]
    assert found["runs"] >= 10
    assert found["device"] == "cpu"
