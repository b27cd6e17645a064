"""A captured network and everything that a check needs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import MISSING, fields
from typing import Any

import pytest
from torch import nn

from cnntk.exporters.capture import Captured, capture
from cnntk.exporters.checks._candidate import Candidate
from cnntk.exporters.checks._inputs import CheckInputs, array_inputs
from cnntk.exporters.source import Source
from cnntk.runtime.artifact.spec import TensorSpec

INPUT = (TensorSpec("input", "float32", ("N", 3, 8, 8)),)


@pytest.fixture
def captured() -> Callable[[nn.Module], Captured]:
    return lambda module: capture(Source("net", INPUT, module.eval()))


@pytest.fixture
def inputs() -> CheckInputs:
    return array_inputs(INPUT, None)


@pytest.fixture
def candidate_of() -> Callable[..., Candidate]:
    """Makes a candidate of some of its fields; ``expected`` are the outputs of its reference."""

    def make(expected: Any = None, **some: Any) -> Candidate:
        required = dict.fromkeys(
            f.name for f in fields(Candidate) if f.default is MISSING and f.default_factory is MISSING
        )
        return Candidate(**{**required, "wait_for_reference": lambda: expected, **some})

    return make
