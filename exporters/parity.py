"""Parity: does the exported model answer what the torch network answers?

How far two float32 programs may differ is not guessed. The reference is the same network in float64;
torch's own float32 error against it is measured on the same inputs, and the exported model may be no more
than a small factor further away.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from cnntk.runtime.engine import Engine
from cnntk.runtime.errors import CaptureError, ParityError
from cnntk.runtime.preprocess import normalise
from cnntk.runtime.spec import Preprocessing

__all__ = ["BATCHES", "FACTOR", "Answers", "Parity", "check_parity", "reference_answers", "trial_inputs"]

BATCHES = (1, 2, 3, 8)

FACTOR = 4.0
"""How much further from float64 than torch the exported model may be: two sound float32 programs differ in
the order of their sums, which moves the largest error by a small factor."""

FLOOR = 8 * float(np.finfo(np.float32).eps)
"""Relative to the largest logit: no program is held to less than a few roundings of its last layer, even
where torch was exact by luck (a network of zeros, say)."""

PROBABILITIES = "probabilities"

_SOFTMAX_ERROR = 1e-6
"""Added for probabilities: onnxruntime's float32 exp and sum; probabilities are at most 1."""

Array = NDArray[np.float32]
Exact = NDArray[np.float64]


@dataclass(frozen=True)
class Answers:
    """torch's answers to the trial inputs.

    Attributes:
        inputs: float32 (N, C, H, W).
        exact: float64 (N, ...) for each output, from the network in float64.
        torch_errors: for each output the largest difference of torch's float32 answers from `exact`.
    """

    inputs: Array
    exact: tuple[Exact, ...]
    torch_errors: tuple[float, ...]


@dataclass(frozen=True)
class Parity:
    """What the comparison of one output showed.

    Attributes:
        output: name.
        batches: sizes that were run.
        scale: largest absolute answer of the reference.
        torch_error: largest difference of torch's float32 from float64.
        onnx_error: largest difference of the exported model's from float64.
        bound: what `onnx_error` may be at most.
    """

    output: str
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


def trial_inputs(shape: tuple[int, int, int], preprocessing: Preprocessing | None, count: int = 8) -> Array:
    """Inputs to compare on: noise, white, a hot pixel, a ramp, black; preprocessed where that is known.

    Args:
        shape: (C, H, W).
        preprocessing: of the source.
        count: how many, at least 5.

    Returns:
        float32 (count, C, H, W).
    """
    c, h, w = shape
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (count, h, w, c), dtype=np.uint8)
    pixels[1], pixels[2], pixels[4] = 255, 0, 0
    pixels[2, h // 2, w // 2] = 255
    pixels[3] = np.linspace(0, 255, w).astype(np.uint8)[None, :, None]
    if preprocessing is not None:
        return normalise(pixels, preprocessing)
    return np.ascontiguousarray(pixels.transpose(0, 3, 1, 2).astype(np.float32) / 127.5 - 1)


def reference_answers(module: nn.Module, inputs: Array) -> Answers:
    """What ``module`` answers to ``inputs``, in float64 and in float32.

    Raises:
        ParityError: it answers the same input differently each time, so that nothing can be compared.
    """
    _check_repeatable(module, inputs[:1])
    single = _answers(module, inputs)
    exact = _answers(copy.deepcopy(module).double(), inputs.astype(np.float64))
    errors = tuple(_distance(a, b) for a, b in zip(single, exact, strict=True))
    return Answers(inputs, exact, errors)


def check_parity(engine: Engine, answers: Answers) -> tuple[Parity, ...]:
    """Runs the exported model at each of `BATCHES` and compares each output.

    Raises:
        ParityError: one differs by more than the bound, has another shape, or holds NaN.
    """
    name, shape = engine.inputs[0].name, answers.inputs.shape[1:]
    found = {size: engine.run({name: np.resize(answers.inputs, (size, *shape))}) for size in BATCHES}
    outputs = [o.name for o in engine.outputs if o.name != PROBABILITIES]
    parities = tuple(
        _compare(output, [found[size][output] for size in BATCHES], exact, error)
        for output, exact, error in zip(outputs, answers.exact, answers.torch_errors, strict=True)
    )
    if PROBABILITIES in found[1]:
        for size in BATCHES:
            _check_probabilities(
                found[size][PROBABILITIES], _repeat(answers.exact[0], size), parities[0].bound
            )
    return parities


def _compare(output: str, found: list[NDArray[Any]], exact: Exact, torch_error: float) -> Parity:
    scale = float(np.abs(exact).max(initial=0.0))
    bound = FACTOR * max(torch_error, FLOOR * scale)
    errors = []
    for size, array in zip(BATCHES, found, strict=True):
        expected = _repeat(exact, size)
        if array.shape != expected.shape:
            raise ParityError(
                f"{output}: shape {list(array.shape)} at batch {size}, torch answers {list(expected.shape)}. "
                "Nothing was written"
            )
        errors.append(_distance(array, expected))
    parity = Parity(output, BATCHES, scale, torch_error, float(np.max(errors)), bound)
    if not parity.holds:
        raise ParityError(
            f"{output}: differs from torch in float64 by up to {parity.onnx_error:.3g}; torch's own float32 "
            f"differs by {torch_error:.3g}, so at most {bound:.3g} is allowed. Nothing was written"
        )
    return parity


def _check_probabilities(found: NDArray[Any], logits: Exact, bound: float) -> None:
    """A logit that moves by e moves a probability by at most e/2, so half the logits' bound and the
    softmax's own rounding cover both."""
    shifted = np.exp(logits - logits.max(axis=1, keepdims=True))
    error = _distance(found, shifted / shifted.sum(axis=1, keepdims=True))
    if not error <= bound / 2 + _SOFTMAX_ERROR:
        raise ParityError(f"probabilities: differ by {error:.3g} at batch {len(found)}. Nothing was written")


def _repeat(answers: Exact, size: int) -> Exact:
    """The first ``size`` answers; from the start again where there are fewer."""
    return np.resize(answers, (size, *answers.shape[1:]))


def _check_repeatable(module: nn.Module, inputs: Array) -> None:
    first, second = _answers(module, inputs), _answers(module, inputs)
    if any(not np.array_equal(a, b, equal_nan=True) for a, b in zip(first, second, strict=True)):
        raise ParityError(
            f"{type(module).__name__}: two runs on one input differ, so something in it is random even in "
            "evaluation mode. Nothing was written"
        )


def _answers(module: nn.Module, inputs: NDArray[Any]) -> tuple[NDArray[Any], ...]:
    """Every output tensor of ``module``, in order."""
    with torch.inference_mode():
        return tuple(t.numpy() for t in _tensors(module(torch.from_numpy(inputs))))


def _tensors(answer: Any) -> Iterator[torch.Tensor]:
    """The tensors in what a network returned: one, or a tuple, list or dict of them."""
    if isinstance(answer, torch.Tensor):
        yield answer
    elif isinstance(answer, Mapping):
        yield from _tensors(tuple(answer.values()))
    elif isinstance(answer, tuple | list):
        for part in answer:
            yield from _tensors(part)
    elif answer is not None:
        raise CaptureError(f"the network returned a {type(answer).__name__}; expected tensors")


def _distance(a: NDArray[Any], b: NDArray[Any]) -> float:
    """Largest absolute difference; NaN if any is NaN."""
    return float(np.abs(a.astype(np.float64) - b).max(initial=0.0))
