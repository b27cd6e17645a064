"""What a module itself returns, beside what its captured program answers."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn

from cnntk.exporters.checks.parity import FLOOR, Answers, Float64, softmax
from cnntk.exporters.sources.inputs import dtype_of

__all__ = ["Returned", "compare_returned"]


@dataclass(frozen=True, eq=False)
class Returned:
    """One output of a module, by image.

    Attributes:
        errors: largest difference from float64.
        bounds: what `errors` may be at most.
        scale: largest absolute value in float64.
    """

    errors: Float64
    bounds: Float64
    scale: float


def compare_returned(name: str, tensor: torch.Tensor, answers: Answers, module: nn.Module) -> Returned | None:
    """Compares what a module returned with the answers of its program.

    Where the head took a softmax off (``name`` is its operator), the softmax of the logits stands for it. A
    logit that moves by e moves a probability by at most e/2, and the logarithm of one by at most 2e. Such a
    softmax may be written by hand, and overflow or lose its digits where the pass that mended it does not:
    what is not finite, or below the smallest normal number, is left out.

    Args:
        name: of the output, ``Softmax`` or ``LogSoftmax``, or "".
        tensor: (images, ...), of the first images.
        answers: of the captured program.
        module: which returned it.

    Returns:
        None where nothing is known by that name.
    """
    count = len(tensor)
    if name in answers.exact:
        exact, bounds = answers.exact[name][:count], answers.bounds[name][:count]
    elif name in ("Softmax", "LogSoftmax") and "logits" in answers.exact:
        exact, bounds = _softmax(name, answers, _step(module, tensor), count)
    else:
        return None
    found = tensor.double().numpy().reshape(exact.shape)  # as the head may have flattened it
    errors = np.abs(found - exact)
    if name not in answers.exact:
        smallest = torch.finfo(getattr(torch, dtype_of(module))).tiny
        lost = ~np.isfinite(found) | (exact < (math.log(smallest) if name == "LogSoftmax" else smallest))
        errors = np.where(lost, 0.0, errors)
    errors = errors.reshape(count, -1).max(axis=1, initial=0.0)
    return Returned(errors, bounds, float(np.abs(exact).max(initial=0.0)))


def _softmax(name: str, answers: Answers, eps: float, count: int) -> tuple[Float64, Float64]:
    """The answers that the module had, and how far its own may be from them."""
    logits, bounds = answers.exact["logits"][:count], answers.bounds["logits"][:count]
    if name == "Softmax":
        return softmax(logits), bounds / 2 + FLOOR * eps
    shifted = logits - logits.max(axis=-1, keepdims=True)
    logarithms = shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True))
    return logarithms, 2 * bounds + FLOOR * eps * np.abs(logarithms).max(axis=-1)


def _step(module: nn.Module, answer: torch.Tensor) -> float:
    """The coarser of the steps of its weights and of its answer."""
    return max(torch.finfo(getattr(torch, dtype_of(module))).eps, torch.finfo(answer.dtype).eps)
