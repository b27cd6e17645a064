"""Self-test vectors: the reference's answers to canonical inputs, and how far a device may be from them."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import count
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cnntk.exporters.checks.parity import FACTOR, FLOOR, SMALLEST, SOFTMAX_ERROR, softmax
from cnntk.runtime.artifact.canonical import canonical_inputs
from cnntk.runtime.artifact.spec import Pattern, SelfTest, SelfTestCase, TensorSpec
from cnntk.runtime.errors import ParityError

__all__ = ["CASES", "FEW_CASES", "RESIZED_CASE", "Case", "Run", "answers_text", "rounded_up", "self_test_of"]

Arrays = dict[str, NDArray[Any]]
Run = Callable[[Arrays], Arrays]

_VALUES = 2500
"""In all cases and outputs together: about 30 kB of text, which leaves the spec under 64 kB."""


@dataclass(frozen=True)
class Case:
    """A run of the self-test.

    Attributes:
        pattern: of the input.
        seed: of the pattern.
        batch: images.
        zoom: times the usual height and width, where the graph takes any.
    """

    pattern: Pattern
    seed: int
    batch: int
    zoom: tuple[float, float] = (1, 1)

    def sizes(self, usual: Mapping[str, int]) -> dict[str, int]:
        """Of the free dimensions."""
        zoomed = {d: round(usual[d] * z) for d, z in zip("HW", self.zoom, strict=True) if d in usual}
        return {**usual, **zoomed, "N": self.batch}


CASES = (
    Case("noise", 1, 1),
    Case("noise", 2, 2),
    Case("ramp", 3, 2),
    Case("ramp", 57, 2),
    Case("constant", 255, 1),
    Case("constant", 0, 1),
)
"""Nine images. Smooth ones drive units that noise leaves at rest, so that faults behind those are seen."""

FEW_CASES = (Case("noise", 1, 1),)
"""For networks so large that the reference takes seconds an image."""


RESIZED_CASE = Case("noise", 4, 1, (1.7, 1.3))
"""For graphs that take images: a device whose Resize is another one is found."""


def self_test_of(
    exact: Run,
    single: Run,
    inputs: tuple[TensorSpec, ...],
    *,
    cases: Sequence[Case] = CASES,
    sizes: Mapping[str, int] | None = None,
    probabilities: bool = False,
    nudged: Run | None = None,
    eps: float = float(np.finfo(np.float32).eps),
) -> SelfTest:
    """The self-test of a model.

    Args:
        exact: the reference in float64: an array for each input to one for each output.
        single: the reference in its own precision, whose error is what the bounds are derived from.
        inputs: of the graph.
        cases: what to run.
        sizes: of free dimensions other than the batch; 32 where nothing is said.
        probabilities: test them too; they are the softmax of ``logits``.
        nudged: the reference in float64, with resized levels as far off as other devices may round them; what
            that moves is allowed where images are resized.
        eps: of the reference's own precision.

    Raises:
        ParityError: an answer of the reference is not finite.
    """
    free = {d: 32 for spec in inputs for d in spec.shape if isinstance(d, str)} | dict(sizes or {})
    runs = [_Asked.of(case, case.sizes(free), inputs, (exact, single, nudged)) for case in cases]
    relative = {output: max([FLOOR * eps, *(r.relative(output) for r in runs)]) for output in runs[0].exact}
    if probabilities:
        runs = [run.with_probabilities() for run in runs]
    strides = _strides(runs)
    return SelfTest(tuple(_case(run, strides, relative) for run in runs), strides)


@dataclass(frozen=True)
class _Asked:
    case: Case
    sizes: dict[str, int]
    exact: Arrays
    single: Arrays
    moved: Mapping[str, float]

    @classmethod
    def of(
        cls,
        case: Case,
        sizes: dict[str, int],
        inputs: tuple[TensorSpec, ...],
        asked: tuple[Run, Run, Run | None],
    ) -> _Asked:
        arrays = canonical_inputs(inputs, case.pattern, case.seed, sizes)
        exact, single, nudged = asked
        run = cls(case, sizes, exact(arrays), single(arrays), {})
        if nudged is not None and case.zoom != (1, 1):
            there = nudged(arrays)
            run = replace(run, moved={o: _largest(there[o] - a) for o, a in run.exact.items()})
        for output in run.exact:
            if not math.isfinite(run.scale(output)) or not math.isfinite(run.relative(output)):
                raise ParityError(
                    f"{output}: the network's own answer to {case.pattern} is not finite, so that no device "
                    "can check itself by it. Nothing was written"
                )
        return run

    def scale(self, output: str) -> float:
        return _largest(self.exact[output])

    def relative(self, output: str) -> float:
        """The error of the reference's own precision, as a share of the largest answer."""
        error = _largest(self.single[output].astype(np.float64) - self.exact[output])
        return error / (self.scale(output) or 1.0)

    def with_probabilities(self) -> _Asked:
        return replace(self, exact={**self.exact, "probabilities": softmax(self.exact["logits"])})


def _case(run: _Asked, strides: Mapping[str, int], relative: Mapping[str, float]) -> SelfTestCase:
    expected = {output: answers_text(array, strides[output]) for output, array in run.exact.items()}
    bounds = {
        o: rounded_up(FACTOR * (relative[o] * run.scale(o) + run.moved.get(o, 0.0)) + SMALLEST)
        for o in relative
    }
    if "probabilities" in run.exact and "probabilities" not in bounds:
        # A logit that moves by e moves a probability by at most e/2.
        bounds["probabilities"] = rounded_up(bounds["logits"] / 2 + SOFTMAX_ERROR)
    return SelfTestCase(run.case.pattern, run.case.seed, run.sizes, expected, bounds)


def _strides(runs: Sequence[_Asked]) -> dict[str, int]:
    """For each output the first prime at which its share fits: a prime meets every row and column."""
    share = _VALUES // len(runs[0].exact)
    sizes = {output: sum(run.exact[output].size for run in runs) for output in runs[0].exact}
    return {output: 1 if size <= share else _prime(-(-size // share)) for output, size in sizes.items()}


def _prime(least: int) -> int:
    return next(n for n in count(max(2, least)) if all(n % d for d in range(2, math.isqrt(n) + 1)))


def answers_text(array: NDArray[Any], stride: int) -> str:
    """Every stride-th answer with nine digits: a hundredth of float32's own rounding."""
    return " ".join(f"{value:.9g}" for value in array.reshape(-1)[::stride].tolist())


def rounded_up(bound: float) -> float:
    """Three digits, never less than ``bound``."""
    return float(f"{bound * 1.005:.3g}")


def _largest(array: NDArray[Any]) -> float:
    """NaN if any is NaN."""
    return float(np.abs(array.astype(np.float64)).max(initial=0.0))
