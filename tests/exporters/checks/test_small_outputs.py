from collections.abc import Callable

import numpy as np
import onnx_ir as ir
import pytest
import torch
from torch import nn

from cnntk.exporters.checks._candidate import Candidate
from cnntk.exporters.checks._inputs import CheckInputs
from cnntk.exporters.checks._parity import check_small_outputs
from cnntk.exporters.checks.reference import Outputs, ProgramReference
from cnntk.runtime.errors import ParityError

EPS = float(np.finfo(np.float32).eps)


@pytest.fixture
def shrinking(captured: Callable, candidate_of: Callable, inputs: CheckInputs) -> Callable:
    """A network whose outputs shrink by 1e-20 a layer; scale and bound of its outputs by kind."""
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(144, 3))
    with torch.no_grad():
        for p in network.parameters():
            p.mul_(1e-20)
    result = captured(network)
    reference = ProgramReference(result.program, {"logits": str(result.model.graph.outputs[0].name)})

    def make(**kinds: tuple[float, float]) -> Candidate:
        outputs = {"logits": np.array([[scale] * 3 for scale, _ in kinds.values()])}
        bounds = {"logits": np.array([bound for _, bound in kinds.values()])}
        expected = Outputs(CheckInputs(tuple(kinds), {}, (1,)), outputs, outputs, bounds)
        return candidate_of(expected, model=result.model, reference=reference, inputs=inputs, eps=EPS)

    return make


LARGE, SMALL = (1.0, 1e-6), (1e-40, 1.2e-38)


def test_one_kind_of_input_with_large_outputs_is_enough(shrinking: Callable) -> None:
    assert check_small_outputs(shrinking(noise=LARGE, black=SMALL)) is None


def test_layers_are_compared_where_outputs_vanish(shrinking: Callable) -> None:
    check = check_small_outputs(shrinking(noise=SMALL, white=(1.0, np.nan)))
    assert check is not None
    assert check.detail == "logits at most 1e-40, too small to compare: each layer compared"


def test_outputs_that_torch_overflows_are_not_small(shrinking: Callable) -> None:
    assert check_small_outputs(shrinking(noise=(1e-40, np.nan))) is None


def test_a_layer_that_differs_is_refused(shrinking: Callable) -> None:
    candidate = shrinking(noise=SMALL)
    conv = next(n for n in candidate.model.graph if n.op_type == "Conv")
    weight = conv.inputs[1]
    weight.const_value = ir.tensor(np.zeros_like(weight.const_value.numpy()), name=weight.name)
    with pytest.raises(ParityError, match=r"too small to be compared.*first at Conv.*Nothing was written"):
        check_small_outputs(candidate)
