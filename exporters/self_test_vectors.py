"""Self-test vectors: the reference's outputs for canonical inputs, and how far a device may be from them."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import count
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from cnntk.exporters.artifact import values_text
from cnntk.exporters.checks._candidate import Candidate
from cnntk.exporters.checks._inputs import Run, numpy_dtype
from cnntk.exporters.checks._pixels import GraphPreprocessing
from cnntk.exporters.checks.limits import EPSILON, FACTOR, FLOOR, SMALLEST, SOFTMAX_ERROR, round_up
from cnntk.exporters.checks.reference import Reference, usual_error
from cnntk.exporters.session import Arrays
from cnntk.runtime.artifact.canonical import canonical_inputs
from cnntk.runtime.artifact.spec import IMAGE_INPUT, Pattern, SelfTest, SelfTestCase, TensorSpec
from cnntk.runtime.errors import ParityError
from cnntk.runtime.output_values import softmax

__all__ = [
    "SELF_TEST_INPUTS",
    "ReferenceRuns",
    "SelfTestInput",
    "make_self_test",
    "self_test_of",
]

_VALUES = 2500
"""Number of values of all outputs together: about 30 kB of text, so that the spec is below 64 kB."""

_CHANGED_SHARE = 0.06
"""Share of the resized pixel values that another device's Resize may round the other way: 0.052 was measured
between Pillow and onnxruntime from 64 to 80, which makes many ties, and 0.004 on photographs."""

_CHANGED_VALUES = 12
"""Least number of pixel values that change: in a small image the share may be none."""


@dataclass(frozen=True)
class SelfTestInput:
    """A canonical input of the self-test.

    Attributes:
        pattern: Pattern of the values.
        seed: Seed of the pattern.
        batch: Number of images.
        zoom: Factors of the usual height and width, where the graph takes any size.
    """

    pattern: Pattern
    seed: int
    batch: int
    zoom: tuple[float, float] = (1, 1)

    def sizes(self, usual: Mapping[str, int]) -> dict[str, int]:
        """Sizes of the free dimensions by name."""
        zoomed = {d: round(usual[d] * z) for d, z in zip("HW", self.zoom, strict=True) if d in usual}
        return {**usual, **zoomed, **({"N": self.batch} if "N" in usual else {})}


SELF_TEST_INPUTS = (
    SelfTestInput("noise", 1, 1),
    SelfTestInput("noise", 2, 2),
    SelfTestInput("ramp", 3, 2),
    SelfTestInput("ramp", 57, 2),
    SelfTestInput("constant", 255, 1),
    SelfTestInput("constant", 0, 1),
)
"""Nine images. Smooth ones activate units that noise does not, so that faults behind those are seen."""

_LARGE_MODEL_INPUTS = SELF_TEST_INPUTS[:1]
"""For networks so large that the reference takes seconds an image."""

_RESIZED_INPUT = SelfTestInput("noise", 4, 1, (1.7, 1.3))
"""For graphs that take images: reveals a device with another Resize."""


class ReferenceRuns(NamedTuple):
    """Ways to run a reference on the inputs of the file.

    Attributes:
        float64: Outputs in float64.
        native: Outputs in the reference's own precision.
        rounded: Outputs of a program perturbed by rounding, as `Reference.run_perturbed`; the second argument
            is whether the image is flat. None where there is none.
        resized: Outputs in float64 with resized pixel values as far off as other devices may round them; what
            that changes is allowed where images are resized. None where nothing is.
    """

    float64: Run
    native: Run
    rounded: Callable[[Arrays, bool], Arrays] | None = None
    resized: Run | None = None


def make_self_test(candidate: Candidate) -> SelfTest:
    """The self-test of a candidate's file.

    Expected values are written with nine digits, so no device is held to more than float32's step.

    Raises:
        ParityError: An output of the reference is not finite.
    """
    reference, interface = candidate.reference, candidate.interface
    runs = ReferenceRuns(
        reference.run_float64, reference.run_native, partial(_rounded, reference, candidate.eps)
    )
    inputs, sizes = _LARGE_MODEL_INPUTS if candidate.large else SELF_TEST_INPUTS, {}
    if interface.record is not None and interface.preprocessing is not None:
        graph = GraphPreprocessing(interface.model, interface.preprocessing, interface.record)
        from_images = _ImageReference(reference, graph, candidate.source.inputs[0])
        runs = from_images.runs(candidate.eps)
        sizes = interface.preprocessing.image_sizes
        if isinstance(interface.inputs[0].shape[1], str):
            inputs = (*inputs, _RESIZED_INPUT)
    return self_test_of(
        *runs,
        specs=interface.inputs,
        inputs=inputs,
        sizes=sizes,
        probabilities=candidate.softmax_of_logits and "probabilities" not in reference.outputs,
        eps=max(candidate.eps, EPSILON["float32"]),
        tolerance=candidate.tolerance,
    )


def self_test_of(
    float64: Run,
    native: Run,
    rounded: Callable[[Arrays, bool], Arrays] | None = None,
    resized: Run | None = None,
    *,
    specs: tuple[TensorSpec, ...],
    inputs: Sequence[SelfTestInput] = SELF_TEST_INPUTS,
    sizes: Mapping[str, int] | None = None,
    probabilities: bool = False,
    eps: float = EPSILON["float32"],
    tolerance: float = 0.0,
) -> SelfTest:
    """The self-test of a model.

    A case's limit follows from the errors on that case, as `reference_outputs` describes: a constant image,
    on which a norm amplifies rounding, does not widen the limits of the others.

    Args:
        float64: As in `ReferenceRuns`, like the next three.
        native: Outputs in the reference's own precision.
        rounded: Outputs of a program perturbed by rounding.
        resized: Outputs where resized pixel values are rounded otherwise.
        specs: Inputs of the graph.
        inputs: Canonical inputs.
        sizes: Sizes of free dimensions other than the batch; by default 32.
        probabilities: Test the softmax of ``logits`` too.
        eps: Relative step of the reference's own precision.
        tolerance: Error that the user accepts on constant images, relative to the largest output.

    Raises:
        ParityError: An output of the reference is not finite.
    """
    usual = {d: 32 for spec in specs for d in spec.shape if isinstance(d, str)} | dict(sizes or {})
    runs = ReferenceRuns(float64, native, rounded, resized)
    results = [_ReferenceRun.of(each, usual, specs, runs) for each in inputs]
    outputs = tuple(results[0].float64)
    relative = {output: max(FLOOR * eps, _usual_error(results, output)) for output in outputs}
    if probabilities:
        results = [result.with_probabilities() for result in results]
    strides = _strides(results)
    return SelfTest(tuple(result.case(strides, relative, tolerance) for result in results), strides)


@dataclass(frozen=True)
class _ReferenceRun:
    """The reference's outputs for one canonical input, with the errors that other sound programs may have."""

    input: SelfTestInput
    sizes: dict[str, int]
    float64: Arrays
    errors: Mapping[str, float]
    resize_changes: Mapping[str, float]

    @classmethod
    def of(
        cls,
        each: SelfTestInput,
        usual: Mapping[str, int],
        specs: tuple[TensorSpec, ...],
        runs: ReferenceRuns,
    ) -> _ReferenceRun:
        sizes = each.sizes(usual)
        arrays = canonical_inputs(specs, each.pattern, each.seed, sizes)
        float64 = runs.float64(arrays)
        programs = [runs.native(arrays)]
        if runs.rounded is not None:
            programs.append(runs.rounded(arrays, each.pattern == "constant"))
        errors = {name: _max_error(programs, name, array) for name, array in float64.items()}
        changes: dict[str, float] = {}
        if runs.resized is not None and each.zoom != (1, 1):
            outputs = runs.resized(arrays)
            changes = {name: _largest(outputs[name] - array) for name, array in float64.items()}
        result = cls(each, sizes, float64, errors, changes)
        for output in float64:
            if not math.isfinite(result.scale(output)) or not math.isfinite(errors[output]):
                raise ParityError(
                    f"{output}: the network's own output for {each.pattern} is not finite, so no device can "
                    "test itself by it. Nothing was written"
                )
        return result

    def scale(self, output: str) -> float:
        return _largest(self.float64[output])

    def with_probabilities(self) -> _ReferenceRun:
        return replace(self, float64={**self.float64, "probabilities": softmax(self.float64["logits"])})

    def case(
        self, strides: Mapping[str, int], relative: Mapping[str, float], tolerance: float
    ) -> SelfTestCase:
        expected = {output: values_text(array, strides[output]) for output, array in self.float64.items()}
        accepted = tolerance if self.input.pattern == "constant" else 0.0
        bounds: dict[str, float] = {}
        for output, usual in relative.items():
            scale = self.scale(output)
            error = max(self.errors[output], usual * scale) + self.resize_changes.get(output, 0.0)
            bounds[output] = round_up(max(FACTOR * error + SMALLEST, accepted * scale))
        if "probabilities" in self.float64 and "probabilities" not in bounds:
            # A logit that moves by e moves a probability by at most e/2.
            bounds["probabilities"] = round_up(bounds["logits"] / 2 + SOFTMAX_ERROR)
        return SelfTestCase(self.input.pattern, self.input.seed, self.sizes, expected, bounds)


def _usual_error(results: Sequence[_ReferenceRun], output: str) -> float:
    """Usual relative error of an output over the cases."""
    figures = np.array([(result.errors[output], result.scale(output)) for result in results])
    return usual_error(*figures.T)


def _max_error(programs: Sequence[Arrays], name: str, exact: NDArray[Any]) -> float:
    """Largest error of one output in any of the programs."""
    return max(_largest(outputs[name].astype(np.float64) - exact) for outputs in programs)


def _rounded(reference: Reference, eps: float, inputs: Arrays, is_flat: bool) -> Arrays:
    return reference.run_perturbed(inputs, eps, [is_flat] * len(next(iter(inputs.values()))))


class _ImageReference:
    """A reference that takes images, which the graph's own nodes preprocess.

    Whether those are right is checked by `check_pixels`.
    """

    def __init__(self, reference: Reference, graph: GraphPreprocessing, first: TensorSpec) -> None:
        self._reference = reference
        self._graph = graph
        self._first = first

    def runs(self, eps: float) -> ReferenceRuns:
        """Runs of the reference on images; ``eps`` is the relative step of its precision."""
        reference = self._reference
        return ReferenceRuns(
            lambda inputs: reference.run_float64(self._prepared(inputs)),
            lambda inputs: reference.run_native(self._prepared(inputs)),
            lambda inputs, is_flat: _rounded(reference, eps, self._prepared(inputs), is_flat),
            None if self._graph.preprocessing.resize_form == "exact" else self._run_resized,
        )

    def _run_resized(self, inputs: Arrays) -> Arrays:
        """Outputs in float64 where some of the resized pixel values are one off."""
        values = self._values(inputs)
        share = min(1.0, max(_CHANGED_SHARE, _CHANGED_VALUES / values.size))
        offsets = np.random.default_rng(0).choice(
            [-1, 0, 1], values.shape, p=[share / 2, 1 - share, share / 2]
        )
        return self._reference.run_float64(self._arrays(inputs, values + offsets * self._graph.step))

    def _prepared(self, inputs: Arrays) -> Arrays:
        return self._arrays(inputs, self._values(inputs))

    def _values(self, inputs: Arrays) -> NDArray[np.float64]:
        return self._graph(inputs[IMAGE_INPUT], "the self-test")

    def _arrays(self, inputs: Arrays, values: NDArray[np.float64]) -> Arrays:
        rest = {name: array for name, array in inputs.items() if name != IMAGE_INPUT}
        if self._first.dtype == "uint8":
            values = values.clip(0, 255)
        return {self._first.name: values.astype(numpy_dtype(self._first.dtype)), **rest}


def _strides(results: Sequence[_ReferenceRun]) -> dict[str, int]:
    """For each output the first prime with which its values fit: a prime meets every row and column."""
    share = _VALUES // len(results[0].float64)
    sizes = {output: sum(r.float64[output].size for r in results) for output in results[0].float64}
    return {output: 1 if size <= share else _prime(-(-size // share)) for output, size in sizes.items()}


def _prime(least: int) -> int:
    return next(n for n in count(max(2, least)) if all(n % d for d in range(2, math.isqrt(n) + 1)))


def _largest(array: NDArray[Any]) -> float:
    """Largest absolute value; NaN if any is NaN."""
    return float(np.abs(array.astype(np.float64)).max(initial=0.0))
