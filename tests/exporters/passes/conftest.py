"""What the tests of passes share: a captured or written graph, and one pass run with its check."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable

import numpy as np
import onnx_ir as ir
import pytest
import torch
from onnx_ir.passes.common import RemoveUnusedNodesPass, ShapeInferencePass
from torch import nn

from cnntk.exporters.capture import capture
from cnntk.exporters.passes import GraphPass, PassRecord, run_passes
from cnntk.exporters.session import GraphSession
from cnntk.exporters.source import Source
from cnntk.runtime.artifact.spec import TensorSpec


class Wrapped(nn.Module):
    """A Linear of 6, and then a function: short networks for patterns."""

    def __init__(self, function: Callable[[torch.Tensor], torch.Tensor]) -> None:
        super().__init__()
        self.linear = nn.Linear(6, 6)
        self.function = function

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.function(self.linear(x))


def seeded(build: Callable[[], nn.Module]) -> nn.Module:
    """A network with seeded weights and batch statistics that are no identity, in evaluation mode."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = build()
        for module in network.modules():
            if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d):
                nn.init.uniform_(module.weight, 0.5, 2)
                nn.init.normal_(module.bias)
                nn.init.normal_(module.running_mean)
                nn.init.uniform_(module.running_var, 0.5, 2)
    return network.eval()


@pytest.fixture
def captured() -> Callable[..., ir.Model]:
    """Captures what builds a network, for a shape without its batch."""

    def make(build: Callable[[], nn.Module], *shape: int) -> ir.Model:
        spec = TensorSpec("input", "float32", ("N", *shape))
        return capture(Source("network", (spec,), module=seeded(build))).model

    return make


@pytest.fixture
def function(captured: Callable[..., ir.Model]) -> Callable[..., ir.Model]:
    """Captures a function behind a Linear of 6 features."""
    return lambda body: captured(lambda: Wrapped(body), 6)


class Family(nn.Module):
    """A Linear of 6, and behind it many functions side by side: capturing them together takes a tenth."""

    def __init__(self, functions: tuple[Callable[[torch.Tensor], torch.Tensor], ...]) -> None:
        super().__init__()
        self.linear = nn.Linear(6, 6)
        self.functions = functions

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, ...]:
        x = self.linear(x)
        return tuple(function(x) for function in self.functions)


@functools.cache
def _family(functions: tuple[Callable[[torch.Tensor], torch.Tensor], ...]) -> ir.Model:
    spec = TensorSpec("input", "float32", ("N", 6))
    return capture(Source("family", (spec,), module=seeded(lambda: Family(functions)))).model


@pytest.fixture
def member() -> Callable[..., ir.Model]:
    """The graph of one of many functions behind a Linear of 6 features."""

    def pick(functions: Iterable[Callable[[torch.Tensor], torch.Tensor]], index: int) -> ir.Model:
        model = _family(tuple(functions)).clone()
        chosen = model.graph.outputs[index]
        model.graph.outputs[:] = [chosen]
        chosen.name = "output"
        RemoveUnusedNodesPass()(model)
        return model

    return pick


@pytest.fixture
def written() -> Callable[..., ir.Model]:
    """A graph as ONNX text, and its weights by name."""

    def make(text: str, **weights: np.ndarray) -> ir.Model:
        model = ir.from_onnx_text(f'<ir_version: 10, opset_import: ["" : 18]>\n{text}')
        for name, array in weights.items():
            tensor = ir.tensor(array, name=name)
            held = next(v for n in model.graph for v in n.inputs if v is not None and v.name == name)
            held.const_value, held.shape, held.type = tensor, tensor.shape, ir.TensorType(tensor.dtype)
            model.graph.register_initializer(held)
        ShapeInferencePass()(model)
        return model

    return make


def arrays(model: ir.Model, seed: int = 0) -> list[dict[str, np.ndarray]]:
    """Seeded inputs for a model, in batches of 1 and 3."""
    rng = np.random.default_rng(seed)

    def one(batch: int) -> dict[str, np.ndarray]:
        return {
            str(v.name): rng.standard_normal(
                [d if isinstance(d, int) else batch for d in v.shape or ()]
            ).astype(np.float32)
            for v in model.graph.inputs
        }

    return [one(1), one(3)]


@pytest.fixture
def apply() -> Callable[..., tuple[ir.Model, PassRecord]]:
    """Runs passes; the last one's record. What was applied keeps the answers, measured here."""

    def run(model: ir.Model, *passes: GraphPass, exact: bool = True) -> tuple[ir.Model, PassRecord]:
        inputs = arrays(model)
        rewritten, records = run_passes(model, inputs, passes)
        if exact:
            before, after = GraphSession(model), GraphSession(rewritten)
            for each in inputs:
                for name, answer in before.run(each).items():
                    scale = np.abs(answer).max()
                    np.testing.assert_allclose(after.run(each)[name], answer, rtol=0, atol=2e-6 * scale)
        return rewritten, records[-1]

    return run


@pytest.fixture
def operators() -> Callable[[ir.Model], list[str]]:
    return lambda model: [node.op_type for node in model.graph]
