import json

import pytest
import torch
from torch import nn

from cnntk.exporters.capture import capture
from cnntk.exporters.graph_lint.lint import LintReport, lint_graph
from cnntk.exporters.source import Source
from cnntk.models.zoo import build
from cnntk.runtime.artifact.spec import Network, TensorSpec
from cnntk.runtime.codec import as_json


def of(module: nn.Module, *shape: int) -> LintReport:
    spec = TensorSpec("input", "float32", ("N", *shape))
    return lint_graph(capture(Source("net", (spec,), module=module.eval())).model)


class Skip(nn.Module):
    """The input waits for the end."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(4, 4, 3, padding=1), nn.ReLU(), nn.Conv2d(4, 4, 3, padding=1))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + self.body(x)


def test_the_peak_of_a_chain_is_two_maps() -> None:
    warnings = of(build(Network("lenet")), 1, 28, 28)
    assert warnings.peak_activation_bytes == 2 * 6 * 28 * 28 * 4
    assert warnings.peak_layer == "1"
    assert warnings.warnings == ()


def test_a_skip_connection_stays_alive() -> None:
    one_map = 4 * 8 * 8 * 4
    assert of(Skip().body, 4, 8, 8).peak_activation_bytes == 2 * one_map
    assert of(Skip(), 4, 8, 8).peak_activation_bytes == 3 * one_map


def test_a_view_takes_no_memory() -> None:
    assert of(nn.Sequential(nn.Flatten(), nn.Unflatten(1, (4, 4))), 16).peak_activation_bytes == 64


@pytest.mark.parametrize(("between", "count"), [([], 1), ([nn.ReLU()], 0)], ids=["nothing", "relu"])
def test_warnings_are_reported(between: list[nn.Module], count: int) -> None:
    warnings = of(nn.Sequential(nn.Linear(8, 8), *between, nn.Linear(8, 8)), 8)
    assert len(warnings.warnings) == count
    json.dumps(as_json(warnings))
