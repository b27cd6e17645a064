"""Runs of a large batch in smaller ones."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cnntk.runtime.artifact.spec import TensorSpec
from cnntk.runtime.errors import InferenceError, InputError

__all__ = ["fixed_batch", "pad_batch", "run_in_batches"]

Arrays = dict[str, NDArray[Any]]
DEFAULT_BATCH_SIZE = 32


def run_in_batches(
    run: Callable[[Arrays], Arrays],
    specs: Sequence[TensorSpec],
    name: str,
    inputs: Mapping[str, NDArray[Any]],
    batch_size: int | None,
) -> Arrays:
    """Runs a large batch in smaller ones, as `Engine.run_many` documents; ``specs`` are the inputs'."""
    fixed = fixed_batch(specs) or 0
    if batch_size is not None and (batch_size < 1 or (fixed and batch_size != fixed)):
        raise ValueError(f"batch_size must be {fixed or 'at least 1'}, got {batch_size}")
    size, count = fixed or batch_size or DEFAULT_BATCH_SIZE, _count(name, inputs)
    if count == 0:
        empty = {key: np.zeros((size if fixed else 0, *a.shape[1:]), a.dtype) for key, a in inputs.items()}
        return {key: value[:0] for key, value in run(empty).items()}
    outputs: Arrays = {}
    for start in range(0, count, size):
        batch = {key: array[start : start + size] for key, array in inputs.items()}
        images = min(size, count - start)
        for key, value in run(pad_batch(batch, size) if fixed else batch).items():
            if not value.ndim or len(value) != (size if fixed else images):
                raise InferenceError(f"{name}: output {key} has no batch dimension; use run, batch by batch")
            if key not in outputs:
                outputs[key] = np.empty((count, *value.shape[1:]), value.dtype)
            outputs[key][start : start + images] = value[:images]
    return outputs


def pad_batch(inputs: Arrays, size: int) -> Arrays:
    """Pads inputs to a batch of ``size`` by repeating the last image."""
    return {
        name: np.concatenate([array, np.repeat(array[-1:], size - len(array), axis=0)])
        if len(array) < size
        else array
        for name, array in inputs.items()
    }


def fixed_batch(specs: Sequence[TensorSpec]) -> int | None:
    """Returns the only batch size that a model takes; None for a model that takes any."""
    sizes = {spec.shape[0] for spec in specs if spec.shape}
    numbers = {size for size in sizes if isinstance(size, int)}
    return numbers.pop() if len(numbers) == 1 and len(sizes) == 1 else None


def _count(name: str, inputs: Mapping[str, NDArray[Any]]) -> int:
    if not isinstance(inputs, Mapping) or not all(
        isinstance(a, np.ndarray | np.generic) for a in inputs.values()
    ):
        raise InputError(f"{name}: run_many: expected a dict of arrays by name")
    counts = {key: len(array) if np.ndim(array) else None for key, array in inputs.items()}
    if len(set(counts.values())) != 1 or None in counts.values():
        raise InputError(f"{name}: inputs must have one common batch size, got {counts or 'no inputs'}")
    return next(count for count in counts.values() if count is not None)
