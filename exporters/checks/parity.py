"""Parity: does the exported model answer what the torch program answers?

How far two float32 programs may differ is not guessed. The reference is the captured program in float64;
torch's own float32 error against it is measured on the same inputs, and the exported model may be no more
than a small factor further away, image by image.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cnntk.exporters.checks.inputs import ORDINARY, Trials
from cnntk.exporters.checks.reference import Arrays, Reference
from cnntk.exporters.checks.runs import Runs
from cnntk.runtime.errors import ParityError

__all__ = ["Answers", "Parity", "check_parity", "reference_answers", "softmax"]

FACTOR = 4.0
"""How much further from float64 than torch the exported model may be: two sound float32 programs differ in
the order of their sums, which moves the largest error by a small factor."""

FLOOR = 8.0
"""Roundings (eps of the model's precision), relative to an image's largest answer, to which no program is
held, even where torch was exact by luck (a network of zeros, say)."""

SMALLEST = 1.2e-38
"""Below this float32 rounds in steps that are no longer relative."""

SOFTMAX_ERROR = 1e-6
"""Added for probabilities: onnxruntime's float32 exp and sum; probabilities are at most 1."""

PROBABILITIES = "probabilities"

Float64 = NDArray[np.float64]


@dataclass(frozen=True)
class Answers:
    """The reference's answers to the trials.

    Attributes:
        trials: what was asked.
        exact: float64, by output; (images, ...).
        single: in the source's own precision.
        bounds: for each output, how far each image's answer may be from ``exact``.
    """

    trials: Trials
    exact: Arrays
    single: Arrays
    bounds: dict[str, Float64]


@dataclass(frozen=True)
class Parity:
    """What the comparison of one output showed, over one kind of input.

    Attributes:
        output: name.
        kind: of the inputs.
        batches: sizes that were run.
        scale: largest absolute answer of the reference.
        torch_error: largest difference of torch's own precision from float64.
        onnx_error: largest difference of the exported model from float64.
        bound: what `onnx_error` may be at most.
    """

    output: str
    kind: str
    batches: tuple[int, ...]
    scale: float
    torch_error: float
    onnx_error: float
    bound: float

    @property
    def holds(self) -> bool:
        """Whether the exported model is the same one; False where anything is NaN."""
        return bool(self.onnx_error <= self.bound)

    def to_json(self) -> dict[str, Any]:
        """As JSON data."""
        return {**asdict(self), "holds": self.holds}


def reference_answers(reference: Reference, trials: Trials, eps: float) -> Answers:
    """What the reference answers to the trials, and how far an export may be from it.

    Args:
        reference: float64 and own precision.
        trials: inputs.
        eps: of the source's own precision, like 1.19e-7 for float32.
    """
    exact, single = reference.exact(trials.arrays), reference.single(trials.arrays)
    bounds = {
        name: _bounds(_per_image(single[name], exact[name]), _scales(exact[name]), trials.kinds, eps)
        for name in exact
    }
    return Answers(trials, exact, single, bounds)


def check_parity(runs: Runs, answers: Answers, blame: Callable[[], str]) -> tuple[Parity, ...]:
    """Compares each output of the exported model, at each size of batch, image by image.

    Args:
        runs: of the exported model.
        answers: of the reference.
        blame: finds the first node that differs, and says it; called where something does.

    Raises:
        ParityError: an answer differs by more than its bound, has another shape, or is NaN.
    """
    found = {size: runs(size) for size in answers.trials.batches}
    parities = [p for output in answers.exact for p in _compare(output, found, answers)]
    if PROBABILITIES in found[1] and PROBABILITIES not in answers.exact and "logits" in answers.exact:
        parities += _compare(PROBABILITIES, found, _with_probabilities(answers))
    wrong = [p for p in parities if not p.holds]
    if wrong:
        worst = max(wrong, key=lambda p: np.nan_to_num(p.onnx_error / max(p.bound, SMALLEST), nan=np.inf))
        raise ParityError(
            f"{worst.output}: on {worst.kind} differs from float64 by {worst.onnx_error:.3g}, where torch "
            f"itself differs by {worst.torch_error:.3g} and {worst.bound:.3g} is allowed{blame()}. "
            "Nothing was written"
        )
    return tuple(parities)


def softmax(logits: NDArray[Any]) -> Float64:
    """Over the last axis, in float64, with the maximum taken off."""
    shifted = np.exp(logits.astype(np.float64) - logits.max(axis=-1, keepdims=True))
    return np.asarray(shifted / shifted.sum(axis=-1, keepdims=True))


def _compare(output: str, found: dict[int, Arrays], answers: Answers) -> list[Parity]:
    exact, count = answers.exact[output], len(answers.trials.kinds)
    errors = np.zeros(count)
    for size in answers.trials.batches:
        index = np.arange(size) % count
        _same_shape(output, found[size][output], exact[index])
        with np.errstate(invalid="ignore"):  # NaN is kept, and fails below
            np.maximum.at(errors, index, _per_image(found[size][output], exact[index]))
    torch_errors, scales = _per_image(answers.single[output], exact), _scales(exact)
    kinds = np.array(answers.trials.kinds)
    return [
        Parity(
            output=output,
            kind=str(kind),
            batches=answers.trials.batches,
            scale=float(scales[kinds == kind].max()),
            torch_error=float(torch_errors[kinds == kind].max()),
            onnx_error=float(errors[kinds == kind].max()),
            bound=float(answers.bounds[output][kinds == kind].min()),
        )
        for kind in dict.fromkeys(answers.trials.kinds)
        if np.isfinite(answers.bounds[output][kinds == kind]).all()
    ]


def _same_shape(output: str, found: NDArray[Any], exact: NDArray[Any]) -> None:
    if found.shape != exact.shape:
        raise ParityError(
            f"{output}: shape {list(found.shape)} at batch {len(exact)}, torch answers {list(exact.shape)}. "
            "Nothing was written"
        )


def _with_probabilities(answers: Answers) -> Answers:
    """A logit that moves by e moves a probability by at most e/2, so half the logits' bound and the softmax's
    own rounding cover both."""
    exact = {PROBABILITIES: softmax(answers.exact["logits"])}
    single = {PROBABILITIES: softmax(answers.single["logits"])}
    return Answers(
        answers.trials, exact, single, {PROBABILITIES: answers.bounds["logits"] / 2 + SOFTMAX_ERROR}
    )


def _bounds(errors: Float64, scales: Float64, kinds: tuple[str, ...], eps: float) -> Float64:
    """`FACTOR` times torch's error on the image, or what is usual for torch on ordinary images of this scale,
    or `FLOOR` roundings: whichever is largest. NaN where torch itself overflows: nothing can be compared.
    """
    ordinary = np.array([k in ORDINARY for k in kinds]) & (scales > 0)
    usual = float(np.median(errors[ordinary] / scales[ordinary])) if ordinary.any() else 0.0
    bounds = FACTOR * np.maximum(errors, np.maximum(usual, FLOOR * eps) * scales) + SMALLEST
    return np.where(np.isfinite(errors), bounds, np.nan)


def _per_image(a: NDArray[Any], b: NDArray[Any]) -> Float64:
    """Largest absolute difference of each image; NaN if any is NaN."""
    with np.errstate(invalid="ignore"):
        return np.asarray(np.abs(a.astype(np.float64) - b).reshape(len(a), -1).max(axis=1, initial=0.0))


def _scales(exact: NDArray[Any]) -> Float64:
    return np.asarray(np.abs(exact.astype(np.float64)).reshape(len(exact), -1).max(axis=1, initial=0.0))
