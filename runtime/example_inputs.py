"""Example inputs for a model: seeded noise."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cnntk.runtime.artifact.spec import TensorSpec
from cnntk.runtime.errors import UsageError

__all__ = ["example_inputs"]

_MOST_VALUES = 1 << 31
"""Largest example; a file may declare inputs that no memory holds."""


def example_inputs(
    specs: tuple[TensorSpec, ...], batch: int, sizes: Mapping[str, int] | None = None
) -> dict[str, NDArray[Any]]:
    """Generates seeded noise for each input; its first free dimension is the batch.

    ``sizes`` are those of other free dimensions by name, such as of an image that needs no resize.

    Raises:
        UsageError: The model's batch size is fixed at another value, or a further dimension is free; or it
            takes values of a type that numpy has not.
    """
    rng = np.random.default_rng(0)
    return {spec.name: _noise(rng, spec, batch, sizes or {}) for spec in specs}


def _noise(rng: np.random.Generator, spec: TensorSpec, batch: int, sizes: Mapping[str, int]) -> NDArray[Any]:
    sized = [sizes.get(d, d) if isinstance(d, str) else d for d in spec.shape]
    first, *rest = sized or [1]
    if isinstance(first, int) and first != batch != 1:
        raise UsageError(f"{spec.name}: the model's batch size is fixed at {first}, not {batch}")
    if free := [d for d in rest if not isinstance(d, int)]:
        raise UsageError(
            f"{spec.name}: its shape {sized} has free dimensions ({', '.join(free)}); state them "
            "(bench: --input 3x224x224), or export the model with fixed ones"
        )
    shape = (first if isinstance(first, int) else batch, *(int(d) for d in rest))
    if (size := math.prod(shape)) > _MOST_VALUES:
        raise UsageError(f"{spec.name}: its shape {list(shape)} has {size:,} values; use a smaller one")
    try:
        dtype = np.dtype(spec.dtype)
    except TypeError:  # unless ml_dtypes is imported, numpy lacks bfloat16 and others
        dtype = np.dtype(object)
    if dtype.kind not in "bfiu":
        raise UsageError(
            f"{spec.name}: there are no example inputs of its type {spec.dtype}; run the model with your own"
        )
    if dtype.kind == "b":
        return rng.integers(0, 2, shape).astype(dtype)
    if dtype.kind == "f":
        return rng.standard_normal(shape).astype(dtype)
    return rng.integers(0, min(256, np.iinfo(dtype).max), shape).astype(dtype)
