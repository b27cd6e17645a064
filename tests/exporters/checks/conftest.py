"""A captured network and everything that a check needs."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from torch import nn

from cnntk.exporters.capture import Captured, capture
from cnntk.exporters.checks.inputs import Trials, trial_inputs
from cnntk.exporters.source import Source
from cnntk.runtime.artifact.spec import TensorSpec

INPUT = (TensorSpec("input", "float32", ("N", 3, 8, 8)),)


@pytest.fixture
def captured() -> Callable[[nn.Module], Captured]:
    return lambda module: capture(Source("trial", INPUT, module.eval()))


@pytest.fixture
def trials() -> Trials:
    return trial_inputs(INPUT, None)
