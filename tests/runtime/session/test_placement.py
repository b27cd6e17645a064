from pathlib import Path

import numpy as np
import onnx.parser
import pytest

from cnntk.runtime import Engine
from cnntk.runtime.codec import as_json
from cnntk.runtime.errors import InputError, UsageError
from cnntk.runtime.session.placement import Placement, ProviderShare


def test_all_runs_on_the_cpu(tiny_onnx: Path) -> None:
    placement = Engine(tiny_onnx).placement()
    (row,) = placement.providers
    assert row == ProviderShare("CPUExecutionProvider", 3, 1.0)
    assert placement.of("CUDAExecutionProvider") == ProviderShare("CUDAExecutionProvider", 0, 0.0)
    assert as_json(placement)["providers"][0]["nodes"] == 3


def test_nodes_that_never_run_count_and_take_no_time() -> None:
    model = onnx.parser.parse_model(
        """<ir_version: 10, opset_import: ["" : 18]>
        g (float[N,3] x, bool c) => (float[N,3] y) {
            y = If (c) <then_branch = a () => (float[N,3] p) { p = Exp (x) },
                        else_branch = b () => (float[N,3] q) { q = Neg (x) }>
        }"""
    )
    inputs = {"x": np.ones((1, 3), np.float32), "c": np.array(True)}
    (row,) = Engine(model.SerializeToString()).placement(inputs).providers
    assert row.nodes == 3
    assert row.share == 1.0


def test_nothing_is_left_behind(tiny_onnx: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Engine(tiny_onnx).placement()
    assert list(tmp_path.glob("*.json")) == []


def test_open_sizes_need_inputs() -> None:
    model = onnx.parser.parse_model(
        '<ir_version: 10, opset_import: ["" : 18]> g (float[N,H] x) => (float[N,H] y) { y = Exp (x) }'
    )
    engine = Engine(model.SerializeToString())
    with pytest.raises(UsageError, match="has free dimensions"):
        engine.placement()
    assert engine.placement({"x": np.ones((2, 5), np.float32)}).providers[0].nodes == 1
    with pytest.raises(InputError):
        engine.placement({"x": np.ones(5, np.float32)})


def test_rows_are_by_time() -> None:
    rows = (ProviderShare("a", 1, 0.9), ProviderShare("b", 5, 0.1))
    assert Placement(rows).of("b").nodes == 5


@pytest.mark.gpu
def test_most_of_the_time_goes_to_cuda(tiny_onnx: Path) -> None:
    row = Engine(tiny_onnx, "cuda").placement().of("CUDAExecutionProvider")
    assert row.nodes >= 2
    assert row.share > 0
