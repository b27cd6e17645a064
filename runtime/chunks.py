"""A large batch in pieces."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from cnntk.runtime.errors import InferenceError, InputError

if TYPE_CHECKING:
    from cnntk.runtime.engine import Engine

__all__ = ["padded", "run_in_chunks"]

Arrays = dict[str, NDArray[Any]]
BATCH = 32


def run_in_chunks(
    engine: Engine, inputs: Mapping[str, NDArray[Any]], batch_size: int | None, timeout: float | None
) -> Arrays:
    """As `Engine.run_many` says."""
    fixed = _fixed_batch(engine)
    if batch_size is not None and (batch_size < 1 or (fixed and batch_size != fixed)):
        raise ValueError(f"batch_size must be {fixed or 'at least 1'}, got {batch_size}")
    size, count = fixed or batch_size or BATCH, _count(engine, inputs)
    if count == 0:
        one = {name: np.zeros((size if fixed else 0, *a.shape[1:]), a.dtype) for name, a in inputs.items()}
        return {name: value[:0] for name, value in engine.run(one, timeout=timeout).items()}
    answers: Arrays = {}
    for start in range(0, count, size):
        piece = {name: array[start : start + size] for name, array in inputs.items()}
        images = min(size, count - start)
        found = engine.run(padded(piece, size) if fixed else piece, timeout=timeout)
        for name, value in found.items():
            if not value.ndim or len(value) != (size if fixed else images):
                raise InferenceError(
                    f"{engine.name}: {name} has no batch dimension; use run, one batch at a time"
                )
            if name not in answers:
                answers[name] = np.empty((count, *value.shape[1:]), value.dtype)
            answers[name][start : start + images] = value[:images]
    return answers


def padded(inputs: Arrays, size: int) -> Arrays:
    """Inputs of a batch of ``size``, the last image repeated."""
    return {
        name: np.concatenate([array, np.repeat(array[-1:], size - len(array), axis=0)])
        if len(array) < size
        else array
        for name, array in inputs.items()
    }


def _fixed_batch(engine: Engine) -> int:
    """The model's own batch, 0 where any will do."""
    sizes = {spec.shape[0] for spec in engine.inputs if spec.shape}
    numbers = {size for size in sizes if isinstance(size, int)}
    return numbers.pop() if len(numbers) == 1 and len(sizes) == 1 else 0


def _count(engine: Engine, inputs: Mapping[str, NDArray[Any]]) -> int:
    if not isinstance(inputs, Mapping) or not all(
        isinstance(a, np.ndarray | np.generic) for a in inputs.values()
    ):
        raise InputError(f"{engine.name}: run_many: expected a dict of arrays by name")
    counts = {name: len(array) if np.ndim(array) else None for name, array in inputs.items()}
    if len(set(counts.values())) != 1 or None in counts.values():
        raise InputError(f"{engine.name}: inputs must have one common batch, got {counts or 'no inputs'}")
    return next(count for count in counts.values() if count is not None)
