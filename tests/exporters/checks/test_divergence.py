from collections.abc import Callable

import numpy as np
import onnx_ir as ir
import pytest
import torch
from torch import nn

from cnntk.exporters.capture import Captured
from cnntk.exporters.checks.divergence import first_batch_dependent, first_divergence, layer_errors
from cnntk.exporters.checks.inputs import Trials
from cnntk.exporters.checks.reference import ProgramReference

EPS = float(np.finfo(np.float32).eps)


def reference(found: Captured) -> ProgramReference:
    return ProgramReference(found.program, {"y": str(found.model.graph.outputs[0].name)})


@pytest.fixture
def found(small_cnn: nn.Module, captured: Callable) -> Captured:
    return captured(small_cnn)


def spoil(model: ir.Model, op_type: str) -> None:
    node = next(n for n in model.graph if n.op_type == op_type)
    weight = node.inputs[1]
    weight.const_value = ir.tensor(weight.const_value.numpy() * np.float32(1.01), name=weight.name)


@pytest.mark.parametrize("op_type", ["Conv", "Gemm"])
def test_the_node_whose_weight_was_changed_is_the_first(
    found: Captured, trials: Trials, op_type: str
) -> None:
    assert first_divergence(found.model, reference(found), trials, EPS) == ""
    spoil(found.model, op_type)
    assert first_divergence(found.model, reference(found), trials, EPS).startswith(f"; first at {op_type}")


def test_each_layer_has_its_error(found: Captured, trials: Trials) -> None:
    clean = layer_errors(found.model, reference(found), trials.batch(2))
    assert {"Conv", "Gemm"} <= {e.op for e in clean}
    assert all(e.onnx_error <= 1e-5 * e.scale for e in clean)
    spoil(found.model, "Gemm")
    spoiled = layer_errors(found.model, reference(found), trials.batch(2))
    assert [e.op for e in spoiled if e.onnx_error > 1e-4 * e.scale] == ["Gemm"]


class Centered(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return (x * 2 - x.mean(0, keepdim=True)).flatten(1)


def test_the_node_that_sees_the_batch_is_named(found: Captured, captured: Callable, trials: Trials) -> None:
    assert first_batch_dependent(found.model, trials, EPS) == ""
    assert first_batch_dependent(captured(Centered()).model, trials, EPS).startswith(", first at ")
