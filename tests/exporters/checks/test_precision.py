from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from cnntk.exporters import export
from cnntk.exporters._prepare import prepare
from cnntk.exporters.checks._inputs import CheckInputs
from cnntk.exporters.checks._precision import check_cast, check_finite_outputs
from cnntk.exporters.checks.reference import Outputs
from cnntk.exporters.options import ExportOptions
from cnntk.exporters.sources import open_source
from cnntk.runtime.errors import ParityError

SHAPE = (3, 8, 8)


def cost(module: nn.Module, dtype: str = "float16", change: float | None = None) -> str:
    """The detail of `check_cast`; ``change`` multiplies weights of the source before the cast."""
    source = open_source(module.eval(), ExportOptions(SHAPE, dtype=dtype))
    candidate = prepare(source, ExportOptions()).candidate
    if change is not None:
        with torch.no_grad():
            weights = list(source.source_before_cast.module.parameters())[-2]
            weights.copy_(weights * change)
    return check_cast(candidate).detail


def test_rounding_alone_passes(small_cnn: nn.Module) -> None:
    text = cost(small_cnn)
    assert text.startswith("float32 to float16 changes outputs by at most ")
    assert text.endswith("of the largest, on noise, hot pixel, white")
    assert float(text.split()[8]) < 2e-3


def test_float64_to_float32_passes(small_cnn: nn.Module) -> None:
    assert float(cost(small_cnn.double(), "float32").split()[8]) < 1e-6


@pytest.mark.parametrize(("dtype", "change"), [("float16", 1.5), ("float32", 1.0001)])
def test_more_than_rounding_is_refused(small_cnn: nn.Module, dtype: str, change: float) -> None:
    network = small_cnn.double()
    assert cost(network, dtype)
    with pytest.raises(ParityError, match=rf"logits: on .* changes by .*cast to {dtype}, .*keep float64"):
        cost(network, dtype, change)


def small_weights() -> nn.Module:
    """Weights of 1e-8, which float16 takes for 0, and behind them weights that make up for it."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = nn.Sequential(
            nn.Flatten(), nn.Linear(192, 8, bias=False), nn.ReLU(), nn.Linear(8, 4, bias=False)
        )
    with torch.no_grad():
        network[1].weight.mul_(1e-7)
        network[3].weight.mul_(1e5)
    return network.eval()


def test_weights_that_float16_takes_for_zero_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ParityError, match="too small for its weights or inner values; keep float32"):
        export(small_weights(), tmp_path / "m.onnx", input_shape=SHAPE, dtype="float16")
    assert not list(tmp_path.iterdir())
    assert export(small_weights(), tmp_path / "m.onnx", input_shape=SHAPE).parity


def test_several_inputs_and_outputs_are_matched_by_name(tmp_path: Path) -> None:
    class Two(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Conv2d(3, 4, 3)

        def forward(self, image: torch.Tensor, mask: torch.Tensor) -> dict[str, torch.Tensor]:
            maps = self.layer(image * mask)
            return {"maps": maps, "size": maps.new_ones(1) * mask.sum((1, 2, 3))}

    report = export(
        Two(), tmp_path / "m.onnx", input_shape={"mask": (1, 8, 8), "image": SHAPE}, dtype="float16"
    )
    assert "cast" in {check.name for check in report.checks}
    assert {p.output for p in report.parity} == {"maps", "size"}


KINDS = ("noise", "extremes", "black")
INPUTS = CheckInputs(KINDS, {"x": np.zeros((3, 2), np.float32)}, (1,))


def expected(bounds: list[float]) -> Outputs:
    return Outputs(INPUTS, {"y": np.zeros((3, 2))}, {"y": np.zeros((3, 2))}, {"y": np.array(bounds)})


@pytest.mark.parametrize("bounds", [[1, 1, 1], [1, np.nan, 1]])
def test_extreme_inputs_may_overflow(bounds: list[float], candidate_of: Callable) -> None:
    check_finite_outputs(candidate_of(expected(bounds), inputs=INPUTS))


class NanOnBlack(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        flat = x.flatten(1) + 1
        return flat / flat.norm(dim=1, keepdim=True)


def test_an_image_of_the_usual_range_may_not(tmp_path: Path) -> None:
    with pytest.raises(
        ParityError, match=r"on black, .* itself returns NaN .*, first at Div .* divide by no"
    ):
        export(NanOnBlack(), tmp_path / "m.onnx", input_shape=(3, 8, 8))
    assert not list(tmp_path.iterdir())


class Nothing(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.flatten(1)[:, :0]


def test_an_output_without_elements_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ParityError, match=r"its shape \[8, 0\] has no elements"):
        export(Nothing(), tmp_path / "m.onnx", input_shape=(3, 8, 8))
