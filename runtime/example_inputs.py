"""Inputs to try a model with, where nobody gave any."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cnntk.runtime.artifact.spec import TensorSpec
from cnntk.runtime.errors import UsageError

__all__ = ["example_inputs"]


def example_inputs(
    specs: tuple[TensorSpec, ...], batch: int, sizes: Mapping[str, int] | None = None
) -> dict[str, NDArray[Any]]:
    """Seeded noise for each input, the first free dimension taken for the batch.

    Args:
        specs: of the inputs.
        batch: images.
        sizes: of other free dimensions; an image's, where the graph has nothing to resize.

    Raises:
        UsageError: a fixed batch is another one, or a further dimension is free.
    """
    rng = np.random.default_rng(0)
    return {spec.name: _noise(rng, _sized(spec, sizes or {}), batch) for spec in specs}


def _sized(spec: TensorSpec, sizes: Mapping[str, int]) -> TensorSpec:
    return replace(spec, shape=tuple(sizes.get(d, d) if isinstance(d, str) else d for d in spec.shape))


def _noise(rng: np.random.Generator, spec: TensorSpec, batch: int) -> NDArray[Any]:
    first, *rest = spec.shape or (1,)
    if isinstance(first, int) and first != batch != 1:
        raise UsageError(f"{spec.name}: the model's batch is fixed at {first}, not {batch}")
    if free := [d for d in rest if not isinstance(d, int)]:
        raise UsageError(
            f"{spec.name}: its size {list(spec.shape)} is open ({', '.join(free)}); export it with a "
            "fixed one, or with cnntk export, whose files tell the size of their images"
        )
    shape = (first if isinstance(first, int) else batch, *(int(d) for d in rest))
    dtype = np.dtype(spec.dtype)
    if dtype.kind == "b":
        return rng.integers(0, 2, shape).astype(dtype)
    if dtype.kind == "f":
        return rng.standard_normal(shape).astype(dtype)
    return rng.integers(0, min(256, np.iinfo(dtype).max), shape).astype(dtype)
