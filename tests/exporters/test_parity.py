import copy
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from cnntk.exporters.artifact import write_graph
from cnntk.exporters.capture import capture
from cnntk.exporters.head import add_head
from cnntk.exporters.parity import BATCHES, Parity, check_parity, reference_answers, trial_inputs
from cnntk.runtime.engine import Engine
from cnntk.runtime.errors import ParityError
from cnntk.runtime.spec import Preprocessing

SHAPE = (3, 8, 8)


def engine_of(network: nn.Module, path: Path) -> Engine:
    model = capture(network, SHAPE, "input")
    add_head(model, "auto")
    write_graph(model, path)
    return Engine(path)


def test_a_faithful_export_holds(small_cnn: nn.Module, tmp_path: Path) -> None:
    answers = reference_answers(small_cnn, trial_inputs(SHAPE, None))
    (parity,) = check_parity(engine_of(small_cnn, tmp_path / "m.onnx"), answers)
    assert parity.holds
    assert parity.batches == BATCHES
    assert 0 < parity.onnx_error < 1e-5 * parity.scale


@pytest.mark.parametrize("relative", [1e-2, 1e-3, 1e-4])
def test_one_perturbed_weight_fails(small_cnn: nn.Module, tmp_path: Path, relative: float) -> None:
    answers = reference_answers(small_cnn, trial_inputs(SHAPE, None))
    other = copy.deepcopy(small_cnn)
    with torch.no_grad():
        weight = other[6].weight
        weight.view(-1)[weight.abs().argmax()] *= 1 + relative
    with pytest.raises(ParityError, match="differs from torch in float64"):
        check_parity(engine_of(other, tmp_path / "m.onnx"), answers)


def test_another_shape_fails(small_cnn: nn.Module, tmp_path: Path) -> None:
    answers = reference_answers(nn.Sequential(small_cnn, nn.Linear(5, 4)), trial_inputs(SHAPE, None))
    with pytest.raises(ParityError, match=r"shape \[1, 5\] at batch 1, torch answers \[1, 4\]"):
        check_parity(engine_of(small_cnn, tmp_path / "m.onnx"), answers)


def test_nan_never_passes(small_cnn: nn.Module, tmp_path: Path) -> None:
    answers = reference_answers(small_cnn, trial_inputs(SHAPE, None))
    with torch.no_grad():
        small_cnn[6].bias[0] = float("nan")
    with pytest.raises(ParityError, match="by up to nan"):
        check_parity(engine_of(small_cnn, tmp_path / "m.onnx"), answers)
    assert not Parity("y", (1,), 1.0, 0.0, float("nan"), 1.0).holds
    assert not Parity("y", (1,), 1.0, 0.0, 0.0, float("nan")).holds


def test_trial_inputs_pass_through_the_preprocessing() -> None:
    p = Preprocessing(color="rgb", height=8, width=8, mean=(0.5,) * 3, std=(0.25,) * 3)
    inputs = trial_inputs(SHAPE, p)
    assert inputs.shape == (8, *SHAPE)
    assert trial_inputs(SHAPE, None, count=5).shape == (5, *SHAPE)
    assert (inputs.min(), inputs.max()) == (-2, 2)
    assert np.array_equal(inputs, trial_inputs(SHAPE, p))
