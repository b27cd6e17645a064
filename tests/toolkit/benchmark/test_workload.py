from pathlib import Path
from typing import Any

import pytest

from cnntk.benchmark.workload import Workload
from cnntk.runtime.errors import UsageError


@pytest.mark.parametrize("wrong", [{"batch": 0}, {"seconds": 0}, {"seconds": float("nan")}])
def test_nothing_to_measure(wrong: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match="must be a positive number"):
        Workload("any.onnx", **wrong)


def test_the_engine_has_its_settings(tiny_onnx: Path) -> None:
    engine = Workload(tiny_onnx, threads=2).engine()
    assert (engine.name, engine.device, engine.threads) == (str(tiny_onnx), "cpu", 2)
