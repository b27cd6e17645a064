"""What a model's inputs must be, and what to say of those that are something else."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cnntk.runtime.artifact.spec import TensorSpec
from cnntk.runtime.errors import InputError, UnsupportedArtifact

__all__ = ["InputContract", "shape_matches"]

Arrays = dict[str, NDArray[Any]]
_CHANNELS = (1, 3)


class InputContract:
    """Names, dtypes and shapes of a model's inputs.

    Args:
        inputs: of the model.
        where: the model's file, for messages.

    Attributes:
        dtypes: of each input, in the model's order.
        ties_sizes: whether sizes must equal each other, which onnxruntime does not check.

    Raises:
        UnsupportedArtifact: an input is of a type that numpy lacks.
    """

    def __init__(self, inputs: tuple[TensorSpec, ...], where: str) -> None:
        self._inputs = inputs
        self._where = where
        names = [size for spec in inputs for size in spec.shape if isinstance(size, str)]
        self.ties_sizes = len(names) > len(set(names))
        self.dtypes = tuple((spec.name, _numpy_dtype(spec, where)) for spec in inputs)

    def check(self, inputs: Mapping[str, NDArray[Any]]) -> None:
        """Checks names, dtypes, ranks, fixed sizes, and that sizes of one name are equal.

        Raises:
            InputError: says what was expected and what came.
        """
        if not isinstance(inputs, Mapping):
            raise InputError(f"{self._where}: expected a dict of arrays by name, got {type(inputs).__name__}")
        known = dict(self.dtypes)
        if inputs.keys() != known.keys() or any(_native(v) != known[k] for k, v in inputs.items()):
            raise self.misfit(inputs)
        for spec in self._inputs:
            if not shape_matches(inputs[spec.name].shape, spec.shape):
                raise self.misfit(inputs)
        self.sizes(inputs)

    def sizes(self, inputs: Mapping[str, NDArray[Any]]) -> dict[str, int]:
        """The size that each name stands for in inputs of the right ranks.

        Raises:
            InputError: a name stands for two sizes.
        """
        sizes: dict[str, int] = {}
        for spec in self._inputs:
            for have, want in zip(inputs[spec.name].shape, spec.shape, strict=True):
                if isinstance(want, str) and sizes.setdefault(want, have) != have:
                    raise self.misfit(inputs, f" ({want} is both {sizes[want]} and {have})")
        return sizes

    def native(self, inputs: Mapping[str, NDArray[Any]]) -> Mapping[str, NDArray[Any]]:
        """``inputs``, those of foreign byte order converted: onnxruntime would misread them silently."""
        if all(array.dtype.isnative for array in inputs.values()):
            return inputs
        return {
            name: array.astype(array.dtype.newbyteorder("="), copy=False) for name, array in inputs.items()
        }

    def misfit(self, inputs: Mapping[str, Any], more: str = "") -> InputError:
        """The error that says what was expected, what came, and where it can be told what to do."""
        expected = ", ".join(f"{s.name}: {s.dtype} {_shape(s.shape)}" for s in self._inputs)
        got = ", ".join(f"{k}: {_dtype(v)} {_shape(_shape_of(v))}" for k, v in inputs.items()) or "nothing"
        return InputError(f"{self._where}: expected {expected}; got {got}{more}{self._hint(inputs)}")

    def _hint(self, inputs: Mapping[str, Any]) -> str:
        known = {spec.name: spec for spec in self._inputs}
        for name, value in inputs.items():
            spec = known.get(name)
            if spec is not None and (hint := _hint_of(spec, value)):
                return f". {name}: {hint}"
        return ""


def shape_matches(shape: tuple[int, ...], pattern: tuple[int | str, ...]) -> bool:
    """Whether an array of ``shape`` fits ``pattern``, where names stand for any size."""
    return len(shape) == len(pattern) and all(
        not isinstance(want, int) or have == want for have, want in zip(shape, pattern, strict=True)
    )


def _hint_of(spec: TensorSpec, value: Any) -> str:
    """What would mend this input, as far as that can be told."""
    if not isinstance(value, np.ndarray):
        return f"make it an array, numpy.asarray(..., dtype={spec.dtype!r})"
    if value.ndim == len(spec.shape) - 1 and shape_matches((1, *value.shape), (1, *spec.shape[1:])):
        return "one image needs a batch dimension, array[None]"
    if value.ndim == 4 and len(spec.shape) == 4:
        if shape_matches(_moved(value.shape, (0, 3, 1, 2)), spec.shape) and value.shape[3] in _CHANNELS:
            return "it looks like NHWC, array.transpose(0, 3, 1, 2)"
        if shape_matches(_moved(value.shape, (0, 2, 3, 1)), spec.shape) and value.shape[1] in _CHANNELS:
            return "it looks like NCHW, array.transpose(0, 2, 3, 1)"
        batch = spec.shape[0]
        if isinstance(batch, int) and shape_matches(value.shape[1:], spec.shape[1:]):
            return f"the model's batch is fixed at {batch}; run_many splits and pads"
    if shape_matches(value.shape, spec.shape) and value.dtype != np.dtype(spec.dtype):
        return f"convert it, array.astype({spec.dtype!r}), where that loses nothing that counts"
    return ""


def _moved(shape: tuple[int, ...], order: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(shape[axis] for axis in order)


def _shape_of(value: Any) -> tuple[int, ...]:
    try:
        return tuple(np.shape(value))
    except ValueError:  # lists of different lengths
        return ()


def _native(value: object) -> np.dtype[Any] | None:
    dtype = getattr(value, "dtype", None)
    return dtype.newbyteorder("=") if isinstance(dtype, np.dtype) else None


def _numpy_dtype(spec: TensorSpec, where: str) -> np.dtype[Any]:
    try:
        return np.dtype(spec.dtype)
    except TypeError as error:
        raise UnsupportedArtifact(f"{where}: input {spec.name} is {spec.dtype}, which numpy lacks") from error


def _shape(shape: tuple[int | str, ...]) -> str:
    return f"[{', '.join(map(str, shape))}]"


def _dtype(value: object) -> str:
    dtype = getattr(value, "dtype", None)
    if isinstance(dtype, np.dtype) and not dtype.isnative:
        return f"{dtype.name} in foreign byte order"
    return str(dtype or type(value).__name__)
