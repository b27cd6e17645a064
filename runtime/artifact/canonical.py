"""Canonical inputs of the self-test, computed alike in any language (``docs/self-test.md`` has three).

Byte ``i`` of an input, in memory order, is ::

    h = (i * 2654435761 + seed * 2246822519) mod 2^32
    h = (h xor (h >> 15)) * 3266489917 mod 2^32
    noise = h >> 24,   ramp = i * seed mod 256,   constant = seed mod 256

after Knuth's multiplicative hash and the mixing of xxHash. Each further input has a seed higher by 1.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cnntk.runtime.artifact.spec import Pattern, TensorSpec
from cnntk.runtime.errors import UnsupportedArtifact

__all__ = ["canonical_bytes", "canonical_inputs"]


def canonical_inputs(
    inputs: Sequence[TensorSpec], pattern: Pattern, seed: int, sizes: Mapping[str, int]
) -> dict[str, NDArray[Any]]:
    """Computes an array for each input; ``sizes`` are those of the free dimensions, by name.

    Returns:
        Arrays by input name. uint8: the bytes; int8: byte - 128; floats: (byte - 128) / 128, exact in every
        float type; bool: byte >= 128; other integers: byte >> 4, usable as small indices.
    """
    return {spec.name: _array(spec, pattern, seed + i, sizes) for i, spec in enumerate(inputs)}


def canonical_bytes(count: int, pattern: Pattern, seed: int) -> NDArray[np.uint8]:
    """Computes the first ``count`` bytes of a pattern, uint8 (count,)."""
    index = np.arange(count, dtype=np.uint32)
    if pattern == "constant":
        return np.full(count, seed % 256, dtype=np.uint8)
    if pattern == "ramp":
        return (index * np.uint32(seed)).astype(np.uint8)
    mixed = index * np.uint32(2654435761) + np.uint32(seed * 2246822519 % 2**32)
    mixed = (mixed ^ (mixed >> np.uint32(15))) * np.uint32(3266489917)
    return (mixed >> np.uint32(24)).astype(np.uint8)


def _array(spec: TensorSpec, pattern: Pattern, seed: int, sizes: Mapping[str, int]) -> NDArray[Any]:
    if missing := [d for d in spec.shape if isinstance(d, str) and d not in sizes]:
        raise UnsupportedArtifact(
            f"input {spec.name}: the self-test has no size for its dimension {missing[0]}"
        )
    shape = [d if isinstance(d, int) else sizes[d] for d in spec.shape]
    values = canonical_bytes(int(np.prod(shape, dtype=np.int64)), pattern, seed)
    return _as_dtype(values, np.dtype(spec.dtype)).reshape(shape)


def _as_dtype(values: NDArray[np.uint8], dtype: np.dtype[Any]) -> NDArray[Any]:
    if dtype == np.uint8:
        return values
    if dtype == np.bool_:
        return values >= 128
    if dtype == np.int8:
        return (values ^ np.uint8(128)).view(np.int8)
    if dtype.kind == "f":
        return ((values.astype(np.float32) - 128) / 128).astype(dtype)
    return (values >> np.uint8(4)).astype(dtype)
