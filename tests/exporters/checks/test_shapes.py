from collections.abc import Callable

import pytest
from torch import nn

from cnntk.exporters.checks.inputs import Trials
from cnntk.exporters.checks.reference import ProgramReference
from cnntk.exporters.checks.shapes import check_shapes
from cnntk.runtime.errors import ShapeMismatch


def test_four_ways_agree_at_every_batch(small_cnn: nn.Module, captured: Callable, trials: Trials) -> None:
    found = captured(small_cnn)
    rows, check = check_shapes(found.model, ProgramReference(found.program, {}), trials)
    assert check.detail == f"{len(rows)} layers agree at batch 1, 2, 3, 8"
    conv = next(row for row in rows if row.op == "Conv")
    assert conv.agree


class Shrunk(ProgramReference):
    """Torch that says of one convolution what is not so."""

    def shapes(self) -> dict:
        said = super().shapes()
        return {k: ("N", 4, 7, 8) if v == ("N", 4, 8, 8) else v for k, v in said.items()}


def test_one_that_differs_is_refused(small_cnn: nn.Module, captured: Callable, trials: Trials) -> None:
    found = captured(small_cnn)
    with pytest.raises(ShapeMismatch, match=r"torch Nx4x7x8, .*Nothing was written"):
        check_shapes(found.model, Shrunk(found.program, {}), trials)
