import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest

from cnntk.runtime import Engine, UnsupportedArtifact
from cnntk.runtime.artifact.self_test import OutputCheck, SelfTestResult, run_self_test
from cnntk.runtime.codec import as_json


def test_a_sound_file_holds(sealed_onnx: Path) -> None:
    result = Engine(sealed_onnx).self_test()
    assert result.holds
    assert [check.output for check in result.worst] == ["logits", "probabilities"]
    assert {check.case for check in result.checks} == {
        "noise 1, N=1", "noise 2, N=2", "ramp 3, N=2", "ramp 57, N=2", "constant 255, N=1", "constant 0, N=1"
    }  # fmt: skip
    assert json.loads(json.dumps(as_json(result)))["holds"] is True


def other_answers(path: Path, change: object) -> SelfTestResult:
    """The self-test of a file on a model with other weights."""
    model = onnx.load(path)
    for tensor in model.graph.initializer:
        values = onnx.numpy_helper.to_array(tensor).copy()
        change(tensor.name, values)
        tensor.raw_data = values.tobytes()
    del model.metadata_props[:]
    return run_self_test(Engine(model.SerializeToString()).run, Engine(path).spec, "m.onnx")


def test_other_weights_fail(sealed_onnx: Path) -> None:
    def one_percent(name: str, values: np.ndarray) -> None:
        if name == "weight":
            values[3, 1] *= 1.01

    def swapped(name: str, values: np.ndarray) -> None:
        if name == "weight":
            values[:, [0, 1]] = values[:, [1, 0]]

    def shifted(name: str, values: np.ndarray) -> None:
        if name == "bias":
            values[2] += 1e-3

    assert other_answers(sealed_onnx, lambda name, values: None).holds
    for change in (one_percent, swapped, shifted):
        assert not other_answers(sealed_onnx, change).holds


@pytest.mark.parametrize(
    "spoil",
    [
        lambda a: {},
        lambda a: {k: v * np.float32(np.nan) for k, v in a.items()},
        lambda a: {k: v[:, :2] for k, v in a.items()},
        lambda a: {k: v[:, ::-1] for k, v in a.items()},
        lambda a: {k: v.astype(np.float16) for k, v in a.items()},
    ],
    ids=["gone", "NaN", "shape", "order", "half precision"],
)
def test_wrong_answers_fail(sealed_onnx: Path, spoil: object) -> None:
    engine = Engine(sealed_onnx)
    result = run_self_test(lambda inputs: spoil(engine.run(inputs)), engine.spec, "m.onnx")
    assert not result.holds
    json.dumps(as_json(result), allow_nan=False)
    assert result.worst


def test_files_without_one_say_so(tiny_onnx: Path, foreign_onnx: Path) -> None:
    for path in (tiny_onnx, foreign_onnx):
        with pytest.raises(UnsupportedArtifact, match="has no self-test; export it"):
            Engine(path).self_test()


def test_nan_and_nothing_never_hold() -> None:
    assert not OutputCheck("y", "noise", math.nan, math.inf).holds
    assert not SelfTestResult(()).holds
    exact = OutputCheck("y", "noise", 0.0, 0.0)
    worst = SelfTestResult((exact, replace(exact, error=math.nan, case="ramp"))).worst
    assert [check.case for check in worst] == ["ramp"]
