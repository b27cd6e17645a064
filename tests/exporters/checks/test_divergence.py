from collections.abc import Callable

import numpy as np
import onnx_ir as ir
import pytest
import torch
from torch import nn

from cnntk.exporters.checks._candidate import Candidate
from cnntk.exporters.checks._inputs import CheckInputs
from cnntk.exporters.checks.divergence import first_batch_dependent, first_divergence, layer_errors
from cnntk.exporters.checks.reference import ProgramReference

EPS = float(np.finfo(np.float32).eps)


@pytest.fixture
def candidate(captured: Callable, candidate_of: Callable, inputs: CheckInputs) -> Callable:
    def make(module: nn.Module) -> Candidate:
        result = captured(module)
        reference = ProgramReference(result.program, {"y": str(result.model.graph.outputs[0].name)})
        return candidate_of(model=result.model, reference=reference, inputs=inputs, eps=EPS)

    return make


def spoil(model: ir.Model, op_type: str) -> None:
    node = next(n for n in model.graph if n.op_type == op_type)
    weight = node.inputs[1]
    weight.const_value = ir.tensor(weight.const_value.numpy() * np.float32(1.01), name=weight.name)


@pytest.mark.parametrize("op_type", ["Conv", "Gemm"])
def test_the_node_whose_weight_was_changed_is_the_first(
    small_cnn: nn.Module, candidate: Callable, op_type: str
) -> None:
    result = candidate(small_cnn)
    assert first_divergence(result) == ""
    spoil(result.model, op_type)
    assert first_divergence(result).startswith(f"; first at {op_type}")


def test_each_layer_has_its_error(small_cnn: nn.Module, candidate: Callable) -> None:
    result = candidate(small_cnn)
    clean = layer_errors(result)
    assert {"Conv", "Gemm"} <= {e.op for e in clean}
    assert all(e.onnx_error <= 1e-5 * e.scale for e in clean)
    spoil(result.model, "Gemm")
    assert [e.op for e in layer_errors(result) if e.onnx_error > 1e-4 * e.scale] == ["Gemm"]


class Centered(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return (x * 2 - x.mean(0, keepdim=True)).flatten(1)


def test_the_node_that_depends_on_the_batch_is_named(small_cnn: nn.Module, candidate: Callable) -> None:
    assert first_batch_dependent(candidate(small_cnn)) == ""
    assert first_batch_dependent(candidate(Centered())).startswith(", first at ")
