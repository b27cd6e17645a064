"""The self-test: canonical inputs run on this device, and outputs compared with those in the spec."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from cnntk.runtime.artifact.canonical import canonical_inputs
from cnntk.runtime.artifact.spec import ModelSpec, SelfTestCase
from cnntk.runtime.errors import UnsupportedArtifact

__all__ = ["OutputCheck", "SelfTestResult", "run_self_test"]

Arrays = dict[str, NDArray[Any]]


@dataclass(frozen=True)
class OutputCheck:
    """The check of one output in one case.

    Attributes:
        output: Name of the output.
        case: Name of the case, like ``noise 1, N=2``.
        error: Maximum absolute difference from the expected values; NaN for a missing output or other shape.
        bound: Largest `error` that passes.
    """

    JSON_PROPERTIES: ClassVar[tuple[str, ...]] = ("holds",)

    output: str
    case: str
    error: float
    bound: float

    @property
    def holds(self) -> bool:
        """Whether the error is within the bound; False for NaN."""
        return bool(self.error <= self.bound)


@dataclass(frozen=True)
class SelfTestResult:
    """The result of a self-test: a check for each output in each case."""

    JSON_PROPERTIES: ClassVar[tuple[str, ...]] = ("holds",)

    checks: tuple[OutputCheck, ...]

    @property
    def holds(self) -> bool:
        """Whether this device computes the function that was checked at export."""
        return bool(self.checks) and all(check.holds for check in self.checks)

    @property
    def worst(self) -> tuple[OutputCheck, ...]:
        """The check with the largest error relative to its bound, for each output."""
        outputs = dict.fromkeys(check.output for check in self.checks)
        return tuple(max((c for c in self.checks if c.output == o), key=_relative_error) for o in outputs)


def run_self_test(run: Callable[[Arrays], Arrays], spec: ModelSpec | None, name: str) -> SelfTestResult:
    """Runs a model on the canonical inputs and compares its outputs with those in its spec.

    Raises:
        UnsupportedArtifact: The file has no self-test.
        InferenceError: The model can't be run.
    """
    if spec is None or spec.self_test is None:
        raise UnsupportedArtifact(f"{name}: has no self-test; export it with this version of cnntk")
    checks: list[OutputCheck] = []
    for case in spec.self_test.cases:
        outputs = run(canonical_inputs(spec.inputs, case.pattern, case.seed, case.sizes))
        checks += _checks(case, spec.self_test.strides, outputs)
    return SelfTestResult(tuple(checks))


def _checks(case: SelfTestCase, strides: Mapping[str, int], outputs: Arrays) -> Iterator[OutputCheck]:
    sizes = ", ".join(f"{name}={size}" for name, size in case.sizes.items())
    title = f"{case.pattern} {case.seed}, {sizes}".rstrip(", ")
    for output, text in case.expected.items():
        error = _max_error(outputs.get(output), text, strides.get(output, 1))
        yield OutputCheck(output, title, error, case.bounds.get(output, 0.0))


def _max_error(actual: NDArray[Any] | None, text: str, stride: int) -> float:
    expected = np.array(text.split(), dtype=np.float64)
    if actual is None:
        return math.nan
    values = actual.reshape(-1)[::stride].astype(np.float64)
    return float(np.abs(values - expected).max(initial=0.0)) if values.shape == expected.shape else math.nan


def _relative_error(check: OutputCheck) -> float:
    if math.isnan(check.error):
        return math.inf
    return check.error / check.bound if check.bound > 0 else math.inf * check.error if check.error else 0.0
