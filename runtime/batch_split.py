"""A large batch in pieces."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cnntk.runtime.artifact.spec import TensorSpec
from cnntk.runtime.errors import InferenceError, InputError

__all__ = ["pad_batch", "run_in_batches"]

Arrays = dict[str, NDArray[Any]]
BATCH = 32


def run_in_batches(
    run: Callable[[Arrays], Arrays],
    specs: Sequence[TensorSpec],
    name: str,
    inputs: Mapping[str, NDArray[Any]],
    batch_size: int | None,
) -> Arrays:
    """As `Engine.run_many` says.

    Args:
        run: answers one batch.
        specs: of the model's inputs.
        name: the model's, for messages.
        inputs: arrays by name, with one common batch.
        batch_size: images a run; None lets the model say, else 32.
    """
    fixed = _fixed_batch(specs)
    if batch_size is not None and (batch_size < 1 or (fixed and batch_size != fixed)):
        raise ValueError(f"batch_size must be {fixed or 'at least 1'}, got {batch_size}")
    size, count = fixed or batch_size or BATCH, _count(name, inputs)
    if count == 0:
        one = {key: np.zeros((size if fixed else 0, *a.shape[1:]), a.dtype) for key, a in inputs.items()}
        return {key: value[:0] for key, value in run(one).items()}
    answers: Arrays = {}
    for start in range(0, count, size):
        piece = {key: array[start : start + size] for key, array in inputs.items()}
        images = min(size, count - start)
        found = run(pad_batch(piece, size) if fixed else piece)
        for key, value in found.items():
            if not value.ndim or len(value) != (size if fixed else images):
                raise InferenceError(f"{name}: {key} has no batch dimension; use run, one batch at a time")
            if key not in answers:
                answers[key] = np.empty((count, *value.shape[1:]), value.dtype)
            answers[key][start : start + images] = value[:images]
    return answers


def pad_batch(inputs: Arrays, size: int) -> Arrays:
    """Inputs of a batch of ``size``, the last image repeated."""
    return {
        name: np.concatenate([array, np.repeat(array[-1:], size - len(array), axis=0)])
        if len(array) < size
        else array
        for name, array in inputs.items()
    }


def _fixed_batch(specs: Sequence[TensorSpec]) -> int:
    """The model's own batch, 0 where any will do."""
    sizes = {spec.shape[0] for spec in specs if spec.shape}
    numbers = {size for size in sizes if isinstance(size, int)}
    return numbers.pop() if len(numbers) == 1 and len(sizes) == 1 else 0


def _count(name: str, inputs: Mapping[str, NDArray[Any]]) -> int:
    if not isinstance(inputs, Mapping) or not all(
        isinstance(a, np.ndarray | np.generic) for a in inputs.values()
    ):
        raise InputError(f"{name}: run_many: expected a dict of arrays by name")
    counts = {key: len(array) if np.ndim(array) else None for key, array in inputs.items()}
    if len(set(counts.values())) != 1 or None in counts.values():
        raise InputError(f"{name}: inputs must have one common batch, got {counts or 'no inputs'}")
    return next(count for count in counts.values() if count is not None)
