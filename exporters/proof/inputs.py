"""What a model is tried on: ordinary inputs, and those at which programs that look equal part."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cnntk.exporters.proof.reference import Arrays
from cnntk.runtime.preprocess import normalise
from cnntk.runtime.spec import Preprocessing, TensorSpec

__all__ = ["ORDINARY", "Trials", "trial_inputs"]

KINDS = ("noise", "extremes", "hot pixel", "white", "denormals", "black", "ramp", "noise")
"""In order of what they find: a large network is tried on the first few."""

ORDINARY = frozenset({"noise", "hot pixel", "white", "black", "ramp"})

EXTREME = 1e4
"""Times the usual range: float32 still holds it, and exp() of it does not."""

_DENORMAL = {"float16": 1e-6, "bfloat16": 1e-39, "float32": 1e-39, "float64": 1e-39}
"""Takes values of about 1 below the smallest normal number of float16 and float32."""


@dataclass(frozen=True)
class Trials:
    """A batch of inputs.

    Attributes:
        kinds: what each image of the batch is.
        arrays: by input; (len(kinds), ...).
        batches: sizes to try: 1, 2, 3 and one larger.
    """

    kinds: tuple[str, ...]
    arrays: Arrays
    batches: tuple[int, ...]

    def batch(self, size: int, start: int = 0) -> Arrays:
        """``size`` images from number ``start`` on; from the first again where they end."""
        index = (np.arange(size) + start) % len(self.kinds)
        return {name: array[index] for name, array in self.arrays.items()}


def trial_inputs(
    specs: tuple[TensorSpec, ...], preprocessing: Preprocessing | None, count: int = len(KINDS)
) -> Trials:
    """A batch of ``count`` images, at most 8, of different kinds, for each input; the first is preprocessed.

    Always the same for the same arguments.
    """
    kinds = KINDS[:count]
    arrays = {
        spec.name: _input(spec, kinds, preprocessing if i == 0 else None) for i, spec in enumerate(specs)
    }
    return Trials(kinds, arrays, (1, 2, 3, max(4, count)))


def _input(
    spec: TensorSpec, kinds: tuple[str, ...], preprocessing: Preprocessing | None
) -> NDArray[np.generic]:
    shape = tuple(int(d) for d in spec.shape[1:])
    rng = np.random.default_rng(0)
    levels = np.stack([_levels(kind, shape, rng) for kind in kinds])
    dtype = _numpy_dtype(spec.dtype)
    if dtype.kind != "f":
        return levels.astype(dtype)
    values = _values(levels, preprocessing)
    for i, kind in enumerate(kinds):
        values[i] *= {"extremes": EXTREME, "denormals": _DENORMAL[spec.dtype]}.get(kind, 1.0)
    return values.astype(dtype)


def _levels(kind: str, shape: tuple[int, ...], rng: np.random.Generator) -> NDArray[np.uint8]:
    """0 to 255."""
    if kind in ("noise", "extremes", "denormals"):
        return rng.integers(0, 256, shape, dtype=np.uint8)
    if kind == "ramp":
        return np.broadcast_to(np.linspace(0, 255, shape[-1] if shape else 1).astype(np.uint8), shape).copy()
    levels = np.full(shape, 255 if kind == "white" else 0, dtype=np.uint8)
    if kind == "hot pixel":
        centre: Any = (..., *(n // 2 for n in shape[-2:]))
        levels[centre] = 255
    return levels


def _values(levels: NDArray[np.uint8], preprocessing: Preprocessing | None) -> NDArray[np.float64]:
    """As the preprocessing makes them; -1 to 1 where that is not known."""
    if preprocessing is not None:
        return normalise(np.moveaxis(levels, 1, -1), preprocessing).astype(np.float64)
    return levels / 127.5 - 1


def _numpy_dtype(name: str) -> np.dtype[np.generic]:
    import ml_dtypes

    return np.dtype(getattr(ml_dtypes, name) if name == "bfloat16" else name)
