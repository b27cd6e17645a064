from collections.abc import Callable
from dataclasses import replace

import numpy as np
import onnx_ir as ir
import pytest
import torch
from torch import nn

from cnntk.exporters.checks.faint import check_faint
from cnntk.exporters.checks.inputs import Trials
from cnntk.exporters.checks.parity import Parity
from cnntk.exporters.checks.reference import ProgramReference
from cnntk.runtime.errors import ParityError

EPS = float(np.finfo(np.float32).eps)
LOUD = Parity("logits", "noise", (1,), 1.0, 1e-7, 1e-7, 1e-6)
FAINT = replace(LOUD, scale=1e-40, torch_error=0.0, onnx_error=0.0, bound=1.2e-38)


@pytest.fixture
def fading(captured: Callable) -> tuple[ir.Model, ProgramReference]:
    """Answers that shrink by 1e-20 a layer."""
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(144, 3))
    with torch.no_grad():
        for p in network.parameters():
            p.mul_(1e-20)
    found = captured(network)
    return found.model, ProgramReference(found.program, {"logits": str(found.model.graph.outputs[0].name)})


def test_an_output_that_tells_needs_no_more(fading: tuple, trials: Trials) -> None:
    assert check_faint((LOUD, replace(FAINT, kind="black")), *fading, trials, EPS) is None


def test_layers_are_compared_where_answers_vanish(fading: tuple, trials: Trials) -> None:
    check = check_faint((FAINT,), *fading, trials, EPS)
    assert check is not None
    assert check.detail == "logits at most 1e-40, too small to tell: each layer compared instead"


def test_a_layer_that_differs_is_refused(fading: tuple, trials: Trials) -> None:
    model, reference = fading
    conv = next(n for n in model.graph if n.op_type == "Conv")
    weight = conv.inputs[1]
    weight.const_value = ir.tensor(np.zeros_like(weight.const_value.numpy()), name=weight.name)
    with pytest.raises(ParityError, match=r"too small to be compared.*first at Conv.*Nothing was written"):
        check_faint((FAINT,), model, reference, trials, EPS)
