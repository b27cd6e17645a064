"""The captured program computes what the module does: torch may specialize during capture without a word."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn
from torch.utils import _pytree as pytree

from cnntk.exporters.checks._candidate import Candidate, Check
from cnntk.exporters.checks.limits import FLOOR
from cnntk.exporters.checks.reference import Float64, Outputs, tensor_of
from cnntk.exporters.session import Arrays
from cnntk.exporters.sources.inputs import dtype_of, parameters_of
from cnntk.runtime.errors import ExportCheckError, ParityError
from cnntk.runtime.output_values import softmax

_REPEATED = 2
"""Images on which the module is called twice."""


@dataclass(frozen=True, eq=False)
class ModuleErrors:
    """Errors of one output of a module against the captured program, by image.

    Attributes:
        errors: Largest absolute difference from float64; (images,).
        bounds: Limits of ``errors``; (images,).
        scale: Largest absolute value in float64.
    """

    errors: Float64
    bounds: Float64
    scale: float


def check_capture(candidate: Candidate) -> Check | None:
    """Runs the module itself, in Python, on the inputs, and compares it with the captured program.

    Raises:
        ExportCheckError: A second call returns something else.
        ParityError: An output differs from the program's by more than the bound of the export.
    """
    module, expected = candidate.module, candidate.expected
    if module is None:
        return None
    inputs = expected.inputs.batch(1 if candidate.large else len(expected.inputs.kinds))
    outputs = module_outputs(module, inputs)
    repeated = inputs if candidate.large else expected.inputs.batch(_REPEATED)
    first = outputs if candidate.large else module_outputs(module, repeated)
    second = module_outputs(module, repeated)
    if any(not torch.equal(a.nan_to_num(), b.nan_to_num()) for a, b in zip(first, second, strict=True)):
        raise ExportCheckError(
            f"{type(module).__name__}: two calls on one input differ: the module is random, or keeps state "
            "between calls in a buffer. Nothing was written"
        )
    largest = limit = 0.0
    count = len(next(iter(inputs.values())))
    for name, tensor in zip(candidate.output_names, outputs, strict=False):
        result = compare_module_output(name, candidate.images_first(name, tensor, count), expected, module)
        if result is None:
            continue
        finite = np.isfinite(result.bounds)
        errors, bounds = result.errors[finite], result.bounds[finite]
        if errors.size and float(errors.max()) >= largest:
            largest, limit = float(errors.max()), float(bounds[errors.argmax()])
        if not np.isfinite(errors).all():
            raise ParityError(
                f"{name}: the module returns NaN or infinity where float64 does not: an exponential, "
                "logarithm or quotient overflows; use torch's own function for it, such as F.logsigmoid. "
                "Nothing was written"
            )
        if not (errors <= bounds).all():
            raise ParityError(
                f"{name}: the program that torch captured differs from the module by {errors.max():.3g} "
                f"(limit {bounds.max():.3g}): the module depends on values in a way that is "
                "lost in capture. Nothing was written"
            )
    return Check("capture", f"max abs error of the module vs float64 {largest:.2g} (limit {limit:.2g})")


def module_outputs(module: nn.Module, arrays: Arrays) -> list[torch.Tensor]:
    """The tensors that a module returns; inputs are passed by name where its parameters have their names."""
    inputs = {name: tensor_of(array).clone() for name, array in arrays.items()}  # it may change them
    by_name = inputs.keys() <= set(parameters_of(module) or ())
    with torch.inference_mode():
        outputs = module(**inputs) if by_name else module(*inputs.values())
    return [t for t in pytree.tree_leaves(outputs) if isinstance(t, torch.Tensor)]


def compare_module_output(
    name: str, tensor: torch.Tensor, expected: Outputs, module: nn.Module
) -> ModuleErrors | None:
    """Compares what a module returned with the outputs of its program.

    Where the head removed a softmax, the softmax of the logits is compared. A logit that moves by e moves a
    probability by at most e/2, and the logarithm of one by at most 2e. A softmax written by hand may overflow
    or lose its digits where the pass that repaired it does not: values that are not finite, or below the
    smallest normal number, are left out.

    Args:
        name: Name of the output, ``Softmax`` or ``LogSoftmax``, or "".
        tensor: Output of the module for the first images; (images, ...).
        expected: Outputs of the captured program.
        module: Module that returned it.

    Returns:
        None where the program has no such output.
    """
    count = len(tensor)
    is_output = name in expected.float64
    if is_output:
        exact, bounds = expected.float64[name][:count], expected.bounds[name][:count]
    elif name in ("Softmax", "LogSoftmax") and "logits" in expected.float64:
        exact, bounds = _softmax(name, expected, _step(module, tensor), count)
    else:
        return None
    actual = tensor.double().numpy().reshape(exact.shape)  # the head may have flattened it
    errors = np.abs(actual - exact)
    if not is_output:
        smallest = torch.finfo(getattr(torch, dtype_of(module))).tiny
        lost = ~np.isfinite(actual) | (exact < (math.log(smallest) if name == "LogSoftmax" else smallest))
        errors = np.where(lost, 0.0, errors)
    errors = errors.reshape(count, -1).max(axis=1, initial=0.0)
    return ModuleErrors(errors, bounds, float(np.abs(exact).max(initial=0.0)))


def _softmax(name: str, expected: Outputs, eps: float, count: int) -> tuple[Float64, Float64]:
    """The (log-)softmax of the logits, and the limit of the module's error."""
    logits, bounds = expected.float64["logits"][:count], expected.bounds["logits"][:count]
    if name == "Softmax":
        return softmax(logits), bounds / 2 + FLOOR * eps
    shifted = logits - logits.max(axis=-1, keepdims=True)
    logarithms = shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True))
    return logarithms, 2 * bounds + FLOOR * eps * np.abs(logarithms).max(axis=-1)


def _step(module: nn.Module, output: torch.Tensor) -> float:
    """The coarser of the steps of its weights and of its output."""
    return max(torch.finfo(getattr(torch, dtype_of(module))).eps, torch.finfo(output.dtype).eps)
