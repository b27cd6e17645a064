"""The formulas of `Origin` in float64, written again from their algebra, without the code of the passes.

Each is computed twice: with the numbers, and with their magnitudes, where differences become sums. The second
is the scale of the rounding: a stored result is rounded by half a step of its type, relative to its
magnitude, and by as much again for each stored weight that goes in.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn.grad import conv2d_input

from cnntk.exporters.passes.graph import epsilon
from cnntk.exporters.passes.origins import Formula, Origin

Array = NDArray[Any]
Float64 = NDArray[np.float64]

_SUMS = 2.0**-43
"""Relative error of sums in float64, whose order is another: 2^-53 for each of about a thousand terms."""


ARITHMETIC = 16.0
"""Steps, relative to a tensor's largest number, between two float32 programs of a constant expression."""


@dataclass(frozen=True)
class Computed:
    """A weight as its origin says.

    Attributes:
        value: Numbers in float64.
        bound: Largest distance of the stored numbers from ``value``, by element.
    """

    value: Float64
    bound: Float64


@dataclass(frozen=True)
class _Numbers:
    value: Float64
    magnitude: Float64
    roundings: int


@dataclass(frozen=True)
class _Terms:
    """Inputs and attributes of a formula; with ``absolute``, their magnitudes."""

    inputs: Sequence[Float64 | None]
    attributes: Mapping[str, Any]
    absolute: bool

    def __getitem__(self, index: int) -> Float64:
        """An input; 0 for a bias that the layer does not have."""
        array = self.inputs[index]
        return np.zeros(1) if array is None else array

    def signed(self, number: Any) -> Any:
        return np.abs(number) if self.absolute else number

    def layer(self, name: str = "") -> _Layer:
        """How a layer uses its weights: its attributes, or those under ``name``."""
        attributes = self.attributes[name] if name else self.attributes
        return _Layer(
            attributes["operator"],
            attributes["groups"],
            self.signed(attributes["alpha"]),
            self.signed(attributes["beta"]),
            attributes["transposed"],
        )


@dataclass(frozen=True)
class _Layer:
    operator: str
    groups: int
    alpha: float
    beta: float
    transposed: bool

    def outputs(self, weight: Float64) -> Array:
        """Output channel of each weight, broadcast over the first two axes."""
        rows, columns = np.ogrid[: weight.shape[0], : weight.shape[1]]
        if self.operator == "ConvTranspose":  # (inputs, outputs / groups, ...)
            return np.asarray(rows // (weight.shape[0] // self.groups) * weight.shape[1] + columns)
        return np.asarray(rows if self.operator == "Conv" or not self.transposed else columns)

    def inputs(self, weight: Float64) -> Array:
        """Input channel of each weight, broadcast over the first two axes."""
        rows, columns = np.ogrid[: weight.shape[0], : weight.shape[1]]
        if self.operator == "Conv" and self.groups > 1:  # (outputs, inputs / groups, ...)
            return np.asarray(rows // (weight.shape[0] // self.groups) * weight.shape[1] + columns)
        if self.operator == "Conv":
            return np.asarray(columns)
        return np.asarray(rows if self.operator == "ConvTranspose" or self.transposed else columns)

    def matrix(self, weight: Float64) -> Float64:
        """A dense layer's weights as (outputs, inputs)."""
        return self.alpha * (weight.T if self.transposed else weight)


def compute(origin: Origin, leaf: Callable[[Origin], Array], is_exact: Callable[[Origin], bool]) -> Computed:
    """Computes a weight from its leaves.

    Args:
        origin: Expression of the weight.
        leaf: Function that returns a leaf's numbers.
        is_exact: Whether a leaf is the same to the bit however it is computed; others are off by up to
            `ARITHMETIC` steps of their largest number.
    """
    numbers = _evaluate(origin, leaf, is_exact)
    step = epsilon(origin.dtype)
    relative = numbers.roundings * step / 2 * (1 + step) + _SUMS
    smallest = 2.0**-149 if step < 2.0**-11 else 2.0**-24
    return Computed(numbers.value, relative * numbers.magnitude + smallest)


def _evaluate(
    origin: Origin, leaf: Callable[[Origin], Array], is_exact: Callable[[Origin], bool]
) -> _Numbers:
    if origin.name:
        value = np.asarray(leaf(origin)).astype(np.float64)
        if is_exact(origin):
            return _Numbers(value, np.abs(value), 0)
        largest = np.full_like(value, np.abs(value).max(initial=0.0))
        return _Numbers(value, largest, int(2 * ARITHMETIC))
    used, formula = _FORMULAS[origin.formula][origin.index]
    inputs = [
        _evaluate(each, leaf, is_exact) if each is not None and i in used else None
        for i, each in enumerate(origin.inputs)
    ]
    with np.errstate(divide="ignore", invalid="ignore"):
        value, magnitude = (
            formula(_Terms(arrays, origin.attributes, absolute))
            for arrays, absolute in (
                ([None if n is None else n.value for n in inputs], False),
                ([None if n is None else n.magnitude for n in inputs], True),
            )
        )
    roundings = sum(n.roundings for n in inputs if n is not None)
    return _Numbers(value, magnitude, roundings + (origin.dtype is not None))


def _per_channel(numbers: Float64, channels: Array) -> Float64:
    """The number of each weight's channel, with an axis for each further axis of the weights."""
    return np.broadcast_to(numbers.reshape(-1), (int(channels.max(initial=0)) + 1,))[channels]


def _scaled(weight: Float64, factor: Float64) -> Float64:
    return weight * factor.reshape(*factor.shape, *[1] * (weight.ndim - 2))


def _batch_norm_scale(x: _Terms) -> Float64:
    return np.asarray(x[0] / np.sqrt(x[3] + x.attributes["epsilon"]))


def _batch_norm_shift(x: _Terms) -> Float64:
    product = _batch_norm_scale(x) * x[2]
    return np.asarray(x[1] + product if x.absolute else x[1] - product)


def _arithmetic_scale(x: _Terms) -> Float64:
    operator, one = x.attributes["operator"], np.ones(1)
    if operator == "Mul":
        return x[0].reshape(-1)
    if operator == "Div":
        return 1 / x[0].reshape(-1)
    return np.asarray(x.signed(-one if operator == "Sub" and x.attributes["swapped"] else one))


def _arithmetic_shift(x: _Terms) -> Float64:
    operator, number = x.attributes["operator"], x[0].reshape(-1)
    if operator in ("Mul", "Div"):
        return np.zeros(1)
    return np.asarray(x.signed(-number if operator == "Sub" and not x.attributes["swapped"] else number))


def _after_weight(x: _Terms) -> Float64:
    layer = x.layer()
    return _scaled(x[2], layer.alpha * _per_channel(x[0], layer.outputs(x[2])))


def _after_bias(x: _Terms) -> Float64:
    return np.asarray(x[0] * x.layer().beta * x[3].reshape(-1) + x[1])


def _before_weight(x: _Terms) -> Float64:
    layer = x.layer()
    return _scaled(x[2], layer.alpha * _per_channel(x[0], layer.inputs(x[2])))


def _before_bias(x: _Terms) -> Float64:
    """A shift of an input channel, times all weights that read it, summed for each output channel."""
    layer, bias = x.layer(), x.layer().beta * x[3].reshape(-1)
    if not x[1].any():
        return np.asarray(bias)
    shifted = _scaled(x[2], layer.alpha * _per_channel(x[1], layer.inputs(x[2])))
    sums = shifted.reshape(*shifted.shape[:2], -1).sum(axis=2)
    return np.asarray(bias + sums.sum(axis=0 if layer.operator != "Conv" and layer.transposed else 1))


def _dense_weight(x: _Terms) -> Float64:
    first, last = x.layer("first"), x.layer("last")
    product = last.matrix(x[2]) @ first.matrix(x[0])
    return product.T if last.transposed else product


def _dense_bias(x: _Terms) -> Float64:
    first, last = x.layer("first"), x.layer("last")
    matrix = last.matrix(x[2])
    inner = np.broadcast_to(first.beta * x[1].reshape(-1), matrix.shape[1:])
    return np.asarray(matrix @ inner + last.beta * x[3].reshape(-1))


def _convolution_weight(x: _Terms) -> Float64:
    return np.asarray(np.einsum("oh,h...->o...", x[2].reshape(x[2].shape[:2]), x[0], optimize=True))


def _convolution_bias(x: _Terms) -> Float64:
    mix = x[2].reshape(x[2].shape[:2])
    return np.asarray(mix @ np.broadcast_to(x[1], mix.shape[1:]) + x[3])


def _flattened_weight(x: _Terms) -> Float64:
    """The gradient of each row's product with the convolution's output, with respect to its input."""
    last, a = x.layer("last"), x.attributes
    rows = last.matrix(x[2])
    gradient = conv2d_input(  # type: ignore[no-untyped-call]
        (len(rows), *a["input"]),
        torch.from_numpy(x[0]),
        torch.from_numpy(np.ascontiguousarray(rows)).reshape(-1, *a["output"]),
        a["strides"],
        a["padding"],
        a["dilations"],
        a["first"]["groups"],
    )
    matrix = gradient.numpy().reshape(len(rows), -1)
    return np.asarray(matrix.T if last.transposed else matrix)


def _flattened_bias(x: _Terms) -> Float64:
    last = x.layer("last")
    channels, height, width = x.attributes["output"]
    inner = np.repeat(np.broadcast_to(x[1], (channels,)), height * width)
    return np.asarray(last.matrix(x[2]) @ inner + last.beta * x[3].reshape(-1))


def _exact_epsilon(x: _Terms) -> Float64:
    epsilon = x.attributes["epsilon"]
    return np.asarray(x[0] + x.signed(epsilon - float(np.float32(epsilon))))


_Formula = tuple[tuple[int, ...], Callable[[_Terms], Float64]]

_FORMULAS: dict[Formula, tuple[_Formula, ...]] = {
    "exact epsilon": (((0,), _exact_epsilon),),
    "batch norm": (((0, 3), _batch_norm_scale), ((0, 1, 2, 3), _batch_norm_shift)),
    "arithmetic": (((0,), _arithmetic_scale), ((0,), _arithmetic_shift)),
    "after layer": (((0, 2), _after_weight), ((0, 1, 3), _after_bias)),
    "before layer": (((0, 2), _before_weight), ((1, 2, 3), _before_bias)),
    "linear chain": (((0, 2), _dense_weight), ((1, 2, 3), _dense_bias)),
    "convolution chain": (((0, 2), _convolution_weight), ((1, 2, 3), _convolution_bias)),
    "flattened chain": (((0, 2), _flattened_weight), ((1, 2, 3), _flattened_bias)),
}
"""The results of each formula: the inputs that go in, and the function. Inputs are, in order: gamma, beta,
mean and variance; a scale, a shift, weights and bias; weights and bias of the first and the last layer."""
