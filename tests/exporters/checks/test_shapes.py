from collections.abc import Callable

import pytest
import torch
from torch import nn

from cnntk.exporters.checks._inputs import CheckInputs
from cnntk.exporters.checks._shapes import check_shapes
from cnntk.exporters.checks.reference import ProgramReference
from cnntk.runtime.errors import ShapeMismatch


def test_all_sources_agree_at_every_batch(
    small_cnn: nn.Module, captured: Callable, candidate_of: Callable, inputs: CheckInputs
) -> None:
    result = captured(small_cnn)
    reference = ProgramReference(result.program, {})
    check = check_shapes(candidate_of(model=result.model, reference=reference, inputs=inputs))
    assert check.detail == f"{len(check.rows)} layers agree at batch 1, 2, 3, 8"
    conv = next(row for row in check.rows if row.op == "Conv")
    assert conv.agree


class Filter(nn.Module):
    """A filter in the frequencies of the image."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        gains = torch.complex(torch.ones(8, 5), torch.full((8, 5), 0.5))
        return torch.fft.irfft2(torch.fft.rfft2(x) * gains).mean((2, 3))


def test_complex_numbers_are_pairs(captured: Callable, candidate_of: Callable, inputs: CheckInputs) -> None:
    result = captured(Filter())
    reference = ProgramReference(result.program, {})
    check = check_shapes(candidate_of(model=result.model, reference=reference, inputs=inputs))
    (transform,) = [row for row in check.rows if row.torch == ("N", 3, 8, 5, 2)][:1]
    assert transform.agree


class Shrunk(ProgramReference):
    """A torch program with the wrong shape of one convolution."""

    def shapes(self) -> dict:
        return {k: ("N", 4, 7, 8) if v == ("N", 4, 8, 8) else v for k, v in super().shapes().items()}


def test_one_that_differs_is_refused(
    small_cnn: nn.Module, captured: Callable, candidate_of: Callable, inputs: CheckInputs
) -> None:
    result = captured(small_cnn)
    candidate = candidate_of(model=result.model, reference=Shrunk(result.program, {}), inputs=inputs)
    with pytest.raises(ShapeMismatch, match=r"torch Nx4x7x8, .*Nothing was written"):
        check_shapes(candidate)
