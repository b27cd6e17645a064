"""Each broken model is repaired or refused with the right reason; each sound one passes untouched."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn
from traps.broken import BROKEN
from traps.sound import SOUND

from cnntk.exporters import export
from cnntk.runtime import Engine
from cnntk.runtime.errors import CnntkError

SHAPE = (3, 8, 8)


def constructed(make: type[nn.Module]) -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return make()


def repairs(report: object) -> list[str]:
    return [line for record in report.repairs for line in record.rewrites.applied]


@pytest.fixture(autouse=True)
def _in_an_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")


def test_the_zoo_is_as_large_as_it_says() -> None:
    assert len(BROKEN) >= 30
    assert len(SOUND) >= 15


@pytest.mark.parametrize("name", [n for n, t in BROKEN.items() if t.outcome == "refused"])
def test_refused(name: str) -> None:
    with pytest.raises(CnntkError, match=BROKEN[name].reason) as caught:
        export(constructed(BROKEN[name].make), "model.onnx", input_shape=SHAPE)
    assert "\n" not in str(caught.value)
    assert not Path("model.onnx").exists()


@pytest.mark.parametrize("name", [n for n, t in BROKEN.items() if t.outcome == "repaired"])
def test_repaired(name: str) -> None:
    trap = BROKEN[name]
    report = export(constructed(trap.make), "model.onnx", input_shape=SHAPE)
    messages = repairs(report) + list(report.notes)
    assert any(trap.reason in line for line in messages), messages
    engine = Engine("model.onnx")
    x = np.random.default_rng(0).normal(size=(4, *SHAPE)).astype(np.float32)
    answers = engine.run({"input": x})
    for output, array in answers.items():
        assert np.array_equal(array, engine.run({"input": x})[output])
        assert np.isfinite(engine.run({"input": x * 1e4})[output]).all()
    assert os.listdir() == ["model.onnx"]


@pytest.mark.parametrize("name", SOUND)
def test_sound(name: str) -> None:
    module = constructed(SOUND[name]).eval()
    report = export(module, "model.onnx", input_shape=SHAPE)
    assert repairs(report) == []
    x = np.random.default_rng(0).normal(size=(4, *SHAPE)).astype(np.float32)
    expected = module(torch.from_numpy(x)).detach().numpy()
    outputs = Engine("model.onnx").run({"input": x})
    closest = min(np.abs(a - expected).max() for a in outputs.values() if a.shape == expected.shape)
    if name == "LogSoftmaxHead":
        closest = np.abs(np.log(outputs["probabilities"]) - expected).max()
    assert closest <= 1e-5 * max(np.abs(expected).max(), 1e-12)
