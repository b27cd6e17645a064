"""The self-test: an artifact's own inputs and answers, run on this device."""

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
    """One output in one case.

    Attributes:
        output: name.
        case: like ``noise 1, N=2``.
        error: largest difference from the answer in the file; NaN where there is none or of another shape.
        bound: what `error` may be at most.
    """

    JSON_PROPERTIES: ClassVar[tuple[str, ...]] = ("holds",)

    output: str
    case: str
    error: float
    bound: float

    @property
    def holds(self) -> bool:
        """Whether the answer is the one that was given at export; False where anything is NaN."""
        return bool(self.error <= self.bound)


@dataclass(frozen=True)
class SelfTestResult:
    """What the self-test showed; a row for each output in each case."""

    JSON_PROPERTIES: ClassVar[tuple[str, ...]] = ("holds",)

    checks: tuple[OutputCheck, ...]

    @property
    def holds(self) -> bool:
        """Whether this device computes the function that was proven."""
        return bool(self.checks) and all(check.holds for check in self.checks)

    @property
    def worst(self) -> tuple[OutputCheck, ...]:
        """For each output the case that is furthest from its answer, as a share of the bound."""
        outputs = dict.fromkeys(check.output for check in self.checks)
        return tuple(max((c for c in self.checks if c.output == o), key=_share) for o in outputs)


def run_self_test(run: Callable[[Arrays], Arrays], spec: ModelSpec | None, where: str) -> SelfTestResult:
    """Runs a model on the canonical inputs and compares its answers with those in its spec.

    Args:
        run: the model.
        spec: the model's.
        where: the model's file, for messages.

    Raises:
        UnsupportedArtifact: the file has no self-test.
        InferenceError: the model can't be run at all.
    """
    if spec is None or spec.self_test is None:
        raise UnsupportedArtifact(f"{where}: holds no self-test; export it with this version of cnntk")
    strides = spec.self_test.strides
    return SelfTestResult(
        tuple(
            check
            for case in spec.self_test.cases
            for check in _checks(case, strides, run(_inputs(spec, case)))
        )
    )


def _inputs(spec: ModelSpec, case: SelfTestCase) -> Arrays:
    return canonical_inputs(spec.inputs, case.pattern, case.seed, case.sizes)


def _checks(case: SelfTestCase, strides: Mapping[str, int], found: Arrays) -> Iterator[OutputCheck]:
    sizes = ", ".join(f"{name}={size}" for name, size in case.sizes.items())
    title = f"{case.pattern} {case.seed}, {sizes}".rstrip(", ")
    for output, text in case.expected.items():
        error = _error(found.get(output), text, strides.get(output, 1))
        yield OutputCheck(output, title, error, case.bounds.get(output, 0.0))


def _error(found: NDArray[Any] | None, text: str, stride: int) -> float:
    expected = np.array(text.split(), dtype=np.float64)
    if found is None:
        return math.nan
    values = found.reshape(-1)[::stride].astype(np.float64)
    return float(np.abs(values - expected).max(initial=0.0)) if values.shape == expected.shape else math.nan


def _share(check: OutputCheck) -> float:
    if math.isnan(check.error):
        return math.inf
    return check.error / check.bound if check.bound > 0 else math.inf * check.error if check.error else 0.0
