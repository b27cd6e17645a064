"""Parity: the exported model computes what the torch program computes.

How far two float32 programs may differ is measured, not guessed. The reference is the captured program in
float64. torch's own float32 error against it is measured on the same inputs, and the exported model's error
may be a small factor larger, image by image (`cnntk.exporters.checks.reference`).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from cnntk.exporters.checks._candidate import Candidate, Check
from cnntk.exporters.checks._inputs import PHOTOGRAPHIC, OutputCache
from cnntk.exporters.checks.divergence import first_divergence
from cnntk.exporters.checks.limits import EPSILON, PROBABILITIES, SMALLEST, SOFTMAX_ERROR, round_up
from cnntk.exporters.checks.reference import Outputs, ReferenceNames, max_error_per_image, scale_per_image
from cnntk.exporters.session import Arrays
from cnntk.runtime.errors import ParityError
from cnntk.runtime.output_values import softmax

LARGEST_SHARE = 0.01
"""Largest limit on ordinary images, relative to the largest output, of a classifier."""


@dataclass(frozen=True)
class Parity:
    """Errors of one output on one kind of input, against the reference in float64.

    Attributes:
        output: Name of the output.
        kind: Kind of the inputs, like ``noise``.
        batches: Batch sizes that were run.
        scale: Largest absolute value of the reference.
        torch_error: Largest absolute error of torch in its own precision.
        onnx_error: Largest absolute error of the exported model.
        bound: Limit of ``onnx_error``.
        measured_bound: The limit that was derived; below ``bound`` where the user's tolerance counts.
        reference: What ``onnx_error`` is the difference from: float64, or a foreign file's original graph.
    """

    JSON_PROPERTIES: ClassVar = ("holds",)

    output: str
    kind: str
    batches: tuple[int, ...]
    scale: float
    torch_error: float
    onnx_error: float
    bound: float
    measured_bound: float
    reference: str = ReferenceNames.exact

    @property
    def holds(self) -> bool:
        """Whether the error is within its limit; False where anything is NaN."""
        return bool(self.onnx_error <= self.bound)


def check_parity(candidate: Candidate) -> Check:
    """Compares each output of the file with the reference, at each batch size, image by image.

    Raises:
        ParityError: An output differs by more than its bound, has another shape, or is NaN.
    """
    tolerance = candidate.tolerance
    rows = compare_outputs(candidate.outputs, candidate.expected, lambda: _cause(candidate), tolerance)
    worst, native = max(rows, key=lambda p: p.onnx_error / p.bound), candidate.expected.names.native
    accepted = "".join(
        f"; {row.output} on {row.kind} differs by {row.onnx_error:.2g}, accepted by --tolerance {tolerance:g}"
        for row in rows
        if row.onnx_error > row.measured_bound
    )
    limit = f"limit {worst.bound:.2g}"
    if tolerance:
        limit += f", derived {worst.measured_bound:.2g}, --tolerance {tolerance:g} of {worst.scale:.2g}"
    return Check(
        "parity",
        f"max abs error vs {worst.reference} {worst.onnx_error:.2g} ({limit}; worst input: "
        f"{worst.kind}; {native} {worst.torch_error:.2g}); batch {', '.join(map(str, worst.batches))}"
        f"{accepted}",
        rows,
    )


def check_conditioning(candidate: Candidate) -> Check | None:
    """The limits of parity on ordinary images are below 1 % of the outputs' scale.

    A network that amplifies rounding by much more can't be told from a wrong one, and differs from device to
    device. Half precision is left out: `check_float16` runs it in float32.

    Returns:
        None where all limits are below it.

    Raises:
        ParityError: A limit of a classifier is above it and above the user's tolerance.
    """
    expected = candidate.expected
    if candidate.eps > EPSILON["float32"]:
        return None
    kinds = np.array([kind in PHOTOGRAPHIC for kind in expected.inputs.kinds])
    shares = {}
    for name, exact in expected.float64.items():
        scale = float(scale_per_image(exact)[kinds].max(initial=0.0))
        bound = float(np.nan_to_num(expected.bounds[name][kinds]).max(initial=0.0))
        if scale > SMALLEST / EPSILON["float32"] and bound > LARGEST_SHARE * scale:
            shares[name] = bound / scale
    if not shares:
        return None
    name, share = max(shares.items(), key=lambda item: item[1])
    text = f"{name}: rounding changes it by up to {share:.2g} of its largest value on ordinary images"
    if {"logits", PROBABILITIES} & shares.keys() and share > (candidate.tolerance or LARGEST_SHARE):
        raise ParityError(
            f"{text} (limit {LARGEST_SHARE:g}), so no wrong layer could be seen, and devices differ as much; "
            f"normalize with a larger eps, or accept it with --tolerance {round_up(share, 2):g}. "
            "Nothing was written"
        )
    return Check("conditioning", text)


def check_small_outputs(candidate: Candidate) -> Check | None:
    """Compares layer by layer where an output is so small that zeros would pass.

    A network with random weights may return 1e-40, below float32's normal range, where the bound is as large
    as the output itself. Its inner values are larger, and are compared each by its own scale.

    Raises:
        ParityError: A layer differs.
    """
    expected, small = candidate.expected, {}
    for output, array in expected.float64.items():
        scales, bounds = scale_per_image(array), expected.bounds[output]
        kinds = list(_images_by_kind(expected, output).values())
        telling = any(bounds[images].min() < scales[images].max() / 2 for images in kinds)
        if kinds and not telling and output != PROBABILITIES:
            small[output] = max(float(scales[images].max()) for images in kinds)
    if not small:
        return None
    output, scale = min(small.items())
    layer = first_divergence(candidate)
    if layer:
        raise ParityError(
            f"{output}: at most {scale:.2g}, too small to be compared, and a layer before it differs from "
            f"{expected.names.exact}{layer}. Nothing was written"
        )
    names = ", ".join(sorted(small))
    return Check("small outputs", f"{names} at most {scale:.2g}, too small to compare: each layer compared")


def compare_outputs(
    outputs: OutputCache, expected: Outputs, cause: Callable[[], str], tolerance: float = 0.0
) -> tuple[Parity, ...]:
    """A row for each output and kind of input.

    Args:
        outputs: Outputs of the exported model.
        expected: Outputs of the reference.
        cause: Names the first layer that differs, for the message; called on failure.
        tolerance: Error that the user accepts on inputs that no photograph resembles, relative to the largest
            output of that kind.

    Raises:
        ParityError: An output differs by more than its bound, has another shape, or is NaN.
    """
    runs = {size: outputs(size) for size in expected.inputs.run_sizes}
    rows = [row for output in expected.float64 for row in _rows(output, runs, expected)]
    has_probabilities = PROBABILITIES in next(iter(runs.values()))
    if has_probabilities and PROBABILITIES not in expected.float64 and "logits" in expected.float64:
        rows += _rows(PROBABILITIES, runs, _probabilities(expected))
    rows = [_with_tolerance(row, tolerance) for row in rows]
    wrong = [row for row in rows if not row.holds]
    if wrong:
        worst = max(wrong, key=lambda p: np.nan_to_num(p.onnx_error / max(p.bound, SMALLEST), nan=np.inf))
        raise ParityError(
            f"{worst.output}: on {worst.kind} differs from {worst.reference} by {worst.onnx_error:.3g} "
            f"(limit {worst.bound:.3g}; {expected.names.native} itself differs by {worst.torch_error:.3g})"
            f"{cause()}{_advice(wrong)}. Nothing was written"
        )
    return tuple(rows)


def _with_tolerance(row: Parity, tolerance: float) -> Parity:
    is_laxer = tolerance * row.scale > row.bound
    if not tolerance or is_laxer is (row.kind in PHOTOGRAPHIC):
        return row
    return replace(row, bound=tolerance * row.scale)


def _advice(wrong: list[Parity]) -> str:
    """The tolerance that accepts all differences, where they are on inputs that no photograph resembles."""
    if any(row.kind in PHOTOGRAPHIC or not np.isfinite(row.onnx_error) or not row.scale for row in wrong):
        return ""
    share = max(row.onnx_error / row.scale for row in wrong)
    return f"; no photograph resembles this input: --tolerance {round_up(share, 2):g} accepts it"


def _cause(candidate: Candidate) -> str:
    return (
        first_divergence(candidate)
        or "; no single layer differs: rounding in onnxruntime's fused kernels, or errors that add up"
    )


def _rows(output: str, runs: dict[int, Arrays], expected: Outputs) -> list[Parity]:
    exact, count = expected.float64[output], len(expected.inputs.kinds)
    errors = np.zeros(count)
    for size, outputs in runs.items():
        images = np.arange(size) % count
        _check_shape(output, outputs[output], exact[images], expected.names.native)
        with np.errstate(invalid="ignore"):  # NaN stays NaN, and fails below
            np.maximum.at(errors, images, max_error_per_image(outputs[output], exact[images]))
    torch_errors, scales = max_error_per_image(expected.native[output], exact), scale_per_image(exact)
    return [
        Parity(
            output=output,
            kind=kind,
            batches=expected.inputs.batches,
            scale=float(scales[images].max()),
            torch_error=float(torch_errors[images].max()),
            onnx_error=float(errors[images].max()),
            bound=(bound := float(expected.bounds[output][images].min())),
            measured_bound=bound,
            reference=expected.names.exact,
        )
        for kind, images in _images_by_kind(expected, output).items()
    ]


def _images_by_kind(expected: Outputs, output: str) -> dict[str, NDArray[np.bool_]]:
    """Masks of the images, by kind; without kinds on which torch itself overflows."""
    kinds = np.array(expected.inputs.kinds)
    masks = {kind: kinds == kind for kind in dict.fromkeys(expected.inputs.kinds)}
    finite = np.isfinite(expected.bounds[output])
    return {kind: mask for kind, mask in masks.items() if finite[mask].all()}


def _check_shape(output: str, actual: NDArray[Any], exact: NDArray[Any], native: str) -> None:
    if actual.shape != exact.shape:
        raise ParityError(
            f"{output}: shape {list(actual.shape)} at batch {len(exact)}, but {native} returns "
            f"{list(exact.shape)}. Nothing was written"
        )


def _probabilities(expected: Outputs) -> Outputs:
    """The softmax of the logits: a logit that moves by e moves a probability by at most e/2, so half the
    logits' bound and the softmax's own rounding cover both."""
    return Outputs(
        expected.inputs,
        {PROBABILITIES: softmax(expected.float64["logits"])},
        {PROBABILITIES: softmax(expected.native["logits"])},
        {PROBABILITIES: expected.bounds["logits"] / 2 + SOFTMAX_ERROR},
        expected.names,
    )
