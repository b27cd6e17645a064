"""`equalize_channels`: the same network with channels of similar range, so that one scale suits them all.

ReLU and max-pooling between two layers commute with a positive factor: what one layer's channel is divided
by, the next layer's weights for it are multiplied by, and the network computes the same (Nagel et al.,
"Data-Free Quantization Through Weight Equalization and Bias Correction", 2019, section 4.1). The factor
balances the channel's values and the weights that read it (Xiao et al., "SmoothQuant", 2022, formula 4,
with alpha = 1/2)::

    s = sqrt(max |x| / max |w|)
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from cnntk.exporters.passes.graph import only_user
from cnntk.exporters.shapes.dataflow import weight_of
from cnntk.quantization.calibration import CalibrationData
from cnntk.quantization.config import groups_of, linear_layers

__all__ = ["equalize_channels"]

_MIN_IMBALANCE = 4.0
"""Ratio of the largest channel to the median one from which equalizing is worth a second calibration."""

_MAX_FACTOR = 64.0
"""A larger factor would only exchange a nearly dead channel for one that dominates the range."""


def equalize_channels(model: ir.Model, calibration: CalibrationData) -> ir.Model | None:
    """A model that computes the same with equalized channels; None if they are similar already.

    Args:
        model: Model in float32; it is not changed.
        calibration: Calibration with the channels of all inputs of convolutions.
    """
    copy = model.clone()
    changes = [_equalize(*pair, calibration) for pair in tuple(_pairs(copy))]
    return copy if any(changes) else None


def _pairs(model: ir.Model) -> Iterator[tuple[ir.Node, ir.Value, ir.Node]]:
    """Convolutions, the values that they give behind ReLU and max-pooling, and their only readers."""
    layers = linear_layers(model)
    for node in layers:
        value = node.outputs[0]
        user = only_user(value)
        while user is not None and not user.domain and user.op_type in ("Relu", "MaxPool"):
            value = user.outputs[0]
            user = only_user(value)
        if user is None or user not in layers or not user.op_type == node.op_type == "Conv":
            continue
        if groups_of(user) == 1:
            yield node, value, user


def _equalize(first: ir.Node, between: ir.Value, second: ir.Node, calibration: CalibrationData) -> bool:
    channels = calibration.channels.get(str(between.name))
    weights = weight_of(second)
    if channels is None or weights is None or not _has_exclusive_weights(first, second):
        return False
    largest = np.maximum(np.abs(channels.minimum), np.abs(channels.maximum))
    largest_weight = np.abs(weights.numpy()).max(axis=(0, 2, 3)).astype(np.float64)
    alive = (largest > 0) & (largest_weight > 0)
    if not alive.any() or largest.max() <= _MIN_IMBALANCE * np.median(largest[alive]):
        return False
    factors = np.ones(len(largest))
    factors[alive] = np.sqrt(largest[alive] / largest_weight[alive])
    factors[alive] /= np.exp(np.log(factors[alive]).mean())
    factors = factors.clip(1 / _MAX_FACTOR, _MAX_FACTOR)
    for index in (1, 2):
        _scale(first, index, 1 / factors, axis=0)
    _scale(second, 1, factors, axis=1)
    return True


def _has_exclusive_weights(first: ir.Node, second: ir.Node) -> bool:
    """Whether the weights that would change are constants that no other node reads."""
    values = [v for v in (*first.inputs[1:3], second.inputs[1]) if v is not None]
    return all(v.is_initializer() and len(v.uses()) == 1 and not v.is_graph_output() for v in values)


def _scale(node: ir.Node, index: int, factors: NDArray[Any], axis: int) -> None:
    value = node.inputs[index] if index < len(node.inputs) else None
    if value is None or value.const_value is None:
        return
    numbers = value.const_value.numpy()
    shape = [len(factors) if i == axis else 1 for i in range(numbers.ndim)]
    scaled = (numbers.astype(np.float64) * factors.reshape(shape)).astype(numbers.dtype)
    value.const_value = ir.Tensor(scaled, name=value.name)
