"""Checks of a model's inputs and outputs, and the messages for arrays that do not fit."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cnntk.runtime.artifact.spec import TensorSpec
from cnntk.runtime.errors import InputError, UnsupportedArtifact

__all__ = ["InputContract", "is_finite", "shape_matches"]

Arrays = dict[str, NDArray[Any]]
_CHANNELS = (1, 3)


class InputContract:
    """Names, dtypes and shapes of a model's inputs.

    Attributes:
        dtypes: Names and dtypes of the inputs, in the model's order.
        ties_sizes: Whether some sizes must be equal, which onnxruntime does not check.

    Raises:
        UnsupportedArtifact: An input has a dtype that numpy lacks.
    """

    def __init__(self, inputs: tuple[TensorSpec, ...], name: str) -> None:
        self._inputs = inputs
        self._name = name
        names = [size for spec in inputs for size in spec.shape if isinstance(size, str)]
        self.ties_sizes = len(names) > len(set(names))
        self.dtypes = tuple((spec.name, _numpy_dtype(spec, name)) for spec in inputs)

    def check(self, inputs: Mapping[str, NDArray[Any]]) -> None:
        """Checks names, dtypes, ranks, fixed sizes, and that sizes with one name are equal.

        Raises:
            InputError: The inputs differ; the message has what was expected and what was passed.
        """
        if not isinstance(inputs, Mapping):
            raise InputError(f"{self._name}: expected a dict of arrays by name, got {type(inputs).__name__}")
        dtypes = dict(self.dtypes)
        if inputs.keys() != dtypes.keys() or any(_native_dtype(v) != dtypes[k] for k, v in inputs.items()):
            raise self.mismatch_error(inputs)
        for spec in self._inputs:
            if not shape_matches(inputs[spec.name].shape, spec.shape):
                raise self.mismatch_error(inputs)
        self.sizes(inputs)

    def sizes(self, inputs: Mapping[str, NDArray[Any]]) -> dict[str, int]:
        """Returns the size of each named dimension of inputs with the right ranks.

        Raises:
            InputError: A dimension has two sizes.
        """
        sizes: dict[str, int] = {}
        for spec in self._inputs:
            for actual, expected in zip(inputs[spec.name].shape, spec.shape, strict=True):
                if isinstance(expected, str) and sizes.setdefault(expected, actual) != actual:
                    raise self.mismatch_error(inputs, f" ({expected} is both {sizes[expected]} and {actual})")
        return sizes

    def native(self, inputs: Mapping[str, NDArray[Any]]) -> Mapping[str, NDArray[Any]]:
        """Converts inputs of foreign byte order, which onnxruntime would misread."""
        if all(array.dtype.isnative for array in inputs.values()):
            return inputs
        return {name: a.astype(a.dtype.newbyteorder("="), copy=False) for name, a in inputs.items()}

    def mismatch_error(self, inputs: Mapping[str, Any], detail: str = "") -> InputError:
        """Returns an error with what was expected, what was passed and, if that is clear, what to do."""
        expected = ", ".join(f"{s.name}: {s.dtype} {_shape_text(s.shape)}" for s in self._inputs)
        actual = ", ".join(f"{k}: {_dtype_text(v)} {_shape_text(_shape_of(v))}" for k, v in inputs.items())
        return InputError(
            f"{self._name}: expected {expected}; got {actual or 'nothing'}{detail}{self._hint(inputs)}"
        )

    def _hint(self, inputs: Mapping[str, Any]) -> str:
        for spec in self._inputs:
            if spec.name in inputs and (hint := _hint_for(spec, inputs[spec.name])):
                return f". {spec.name}: {hint}"
        return ""


def shape_matches(shape: tuple[int, ...], pattern: tuple[int | str, ...]) -> bool:
    """Whether an array's shape matches ``pattern``, in which a name stands for any size."""
    return len(shape) == len(pattern) and all(
        not isinstance(expected, int) or size == expected
        for size, expected in zip(shape, pattern, strict=True)
    )


def is_finite(values: NDArray[Any]) -> bool:
    """Whether floating-point ``values`` contain neither NaN nor infinity.

    Their scalar product with themselves is finite only if all of them are, and takes half a microsecond for
    ten. It overflows for large finite values, too; then each is checked. ``vdot`` is the one product of numpy
    that never warns.
    """
    return math.isfinite(np.vdot(values, values)) or bool(np.isfinite(values).all())


def _hint_for(spec: TensorSpec, value: Any) -> str:
    """Returns what would fix this input, if that is clear."""
    if not isinstance(value, np.ndarray):
        return f"make it an array, numpy.asarray(..., dtype={spec.dtype!r})"
    if value.ndim == len(spec.shape) - 1 and shape_matches((1, *value.shape), (1, *spec.shape[1:])):
        return "a single image needs a batch dimension, array[None]"
    if value.ndim == 4 and len(spec.shape) == 4:
        for layout, channels, order in (("NHWC", 3, (0, 3, 1, 2)), ("NCHW", 1, (0, 2, 3, 1))):
            if value.shape[channels] in _CHANNELS and shape_matches(value.transpose(order).shape, spec.shape):
                return f"the layout seems to be {layout}; use array.transpose{order}"
        batch = spec.shape[0]
        if isinstance(batch, int) and shape_matches(value.shape[1:], spec.shape[1:]):
            return f"the model's batch size is fixed at {batch}; use run_many, which splits and pads"
    if shape_matches(value.shape, spec.shape) and value.dtype != np.dtype(spec.dtype):
        return f"convert it, array.astype({spec.dtype!r}), if that loses nothing that matters"
    return ""


def _shape_of(value: Any) -> tuple[int, ...]:
    try:
        return tuple(np.shape(value))
    except ValueError:  # lists of different lengths
        return ()


def _native_dtype(value: object) -> np.dtype[Any] | None:
    dtype = getattr(value, "dtype", None)
    return dtype.newbyteorder("=") if isinstance(dtype, np.dtype) else None


def _numpy_dtype(spec: TensorSpec, name: str) -> np.dtype[Any]:
    try:
        return np.dtype(spec.dtype)
    except TypeError as error:
        raise UnsupportedArtifact(
            f"{name}: input {spec.name} has dtype {spec.dtype}, which numpy lacks"
        ) from error


def _shape_text(shape: tuple[int | str, ...]) -> str:
    return f"[{', '.join(map(str, shape))}]"


def _dtype_text(value: object) -> str:
    dtype = getattr(value, "dtype", None)
    if isinstance(dtype, np.dtype) and not dtype.isnative:
        return f"{dtype.name} in foreign byte order"
    return str(dtype or type(value).__name__)
