from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from cnntk.exporters import export
from cnntk.exporters.checks.reference import ReferenceNames, flatten_reference
from cnntk.runtime import Engine
from cnntk.runtime.errors import ParityError


class Four:
    """Answers (N, 3, 1, 1) for ``y`` and (N, 2, 2) for ``z``."""

    outputs = {"y": "a", "z": "b"}  # noqa: RUF012 - read alone
    names = ReferenceNames()

    def run_float64(self, inputs: dict, visit: object = None) -> dict:
        return {"y": np.arange(6.0).reshape(2, 3, 1, 1), "z": np.zeros((2, 2, 2))}

    run_native = run_float64

    def shapes(self) -> dict:
        return {"a": ("N", 3, 1, 1)}


def test_only_what_is_flat_is_flattened() -> None:
    reference = flatten_reference(Four(), frozenset({"y"}))
    for outputs in (reference.run_float64({}), reference.run_native({})):
        np.testing.assert_array_equal(outputs["y"], np.arange(6.0).reshape(2, 3))
        assert outputs["z"].shape == (2, 2, 2)
    assert (reference.outputs, reference.shapes()) == (Four.outputs, {"a": ("N", 3, 1, 1)})


def test_nothing_flat_is_the_reference_itself() -> None:
    four = Four()
    assert flatten_reference(four, frozenset()) is four


class Pixels(nn.Module):
    """Answers (N, 4, 1, 1); where it is captured, something else if it is told so."""

    def __init__(self, lies: bool) -> None:
        super().__init__()
        self.lies = lies
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            self.layer = nn.Conv2d(3, 4, 8)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        answer = self.layer(x)
        return answer * 1.01 if self.lies and torch.compiler.is_exporting() else answer


@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_a_classifier_of_pixels_is_proven(tmp_path: Path, dtype: str) -> None:
    path = tmp_path / "m.onnx"
    report = export(Pixels(False).eval(), path, input_shape=(3, 8, 8), head="classifier", dtype=dtype)
    assert {p.output for p in report.parity} == {"logits", "probabilities"}
    assert [o.shape for o in Engine(path).outputs] == [("N", 4), ("N", 4)]
    assert Engine(path).self_test().holds


def test_a_classifier_of_pixels_that_is_captured_wrong_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ParityError, match="the program that torch captured differs from the module"):
        export(Pixels(True).eval(), tmp_path / "m.onnx", input_shape=(3, 8, 8), head="classifier")
