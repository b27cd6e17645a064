"""`equalized`: the same network with channels of like size, so that one scale suits them all.

Between two layers ReLU and max-pooling let a positive factor through: what one layer's channel is divided
by, the next layer's weights for it are multiplied by, and the network computes what it did (Nagel et al.,
"Data-Free Quantization Through Weight Equalization and Bias Correction", 2019, section 4.1). The factor
weighs the channel's values against the weights that read it (Xiao et al., "SmoothQuant", 2022, formula 4,
with alpha = 1/2)::

    s = sqrt(max |x| / max |w|)
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from cnntk.exporters.passes.graph import only_user
from cnntk.exporters.shapes.dataflow import weight_of
from cnntk.quantization.calibration import Calibration
from cnntk.quantization.config import linear_layers

__all__ = ["equalized"]

_LOPSIDED = 4.0
"""How many times the median channel the largest is, from which it is worth a second calibration."""

_FURTHEST = 64.0
"""A factor beyond this would trade a channel that is nearly dead for one that is nearly all."""


@dataclass(frozen=True)
class _Pair:
    first: ir.Node
    between: ir.Value
    second: ir.Node


def equalized(model: ir.Model, calibration: Calibration) -> ir.Model | None:
    """A model that computes the same, its channels of like size; None where they are alike already.

    Args:
        model: float32; it is not changed.
        calibration: with the channels of what its convolutions read.
    """
    copy = model.clone()
    done = [_equalize(pair, calibration) for pair in tuple(_pairs(copy))]
    return copy if any(done) else None


def _pairs(model: ir.Model) -> Iterator[_Pair]:
    """A layer and the convolution that alone reads it, with nothing but ReLU and max-pooling between."""
    layers = linear_layers(model)
    for node in layers:
        value = node.outputs[0]
        user = only_user(value)
        while user is not None and not user.domain and user.op_type in ("Relu", "MaxPool"):
            value = user.outputs[0]
            user = only_user(value)
        if user in layers and user is not None and user.op_type == node.op_type == "Conv" and _is_dense(user):
            yield _Pair(node, value, user)


def _is_dense(node: ir.Node) -> bool:
    return node.attributes.get_int("group", 1) == 1


def _equalize(pair: _Pair, calibration: Calibration) -> bool:
    channels = calibration.channels.get(str(pair.between.name))
    weights = weight_of(pair.second)
    if channels is None or weights is None or not _owns_weights(pair):
        return False
    reach = np.maximum(np.abs(channels.minimum), np.abs(channels.maximum))
    read = np.abs(weights.numpy()).max(axis=(0, 2, 3)).astype(np.float64)
    alive = (reach > 0) & (read > 0)
    if not alive.any() or reach.max() <= _LOPSIDED * np.median(reach[alive]):
        return False
    factors = np.ones(len(reach))
    factors[alive] = np.sqrt(reach[alive] / read[alive])
    factors[alive] /= np.exp(np.log(factors[alive]).mean())
    factors = factors.clip(1 / _FURTHEST, _FURTHEST)
    for index in (1, 2):
        _scale(pair.first, index, 1 / factors, axis=0)
    _scale(pair.second, 1, factors, axis=1)
    return True


def _owns_weights(pair: _Pair) -> bool:
    """Whether nobody else reads the weights that change, and all of them are there."""
    values = [v for v in (*pair.first.inputs[1:3], pair.second.inputs[1]) if v is not None]
    return all(v.is_initializer() and len(v.uses()) == 1 and not v.is_graph_output() for v in values)


def _scale(node: ir.Node, index: int, factors: NDArray[Any], axis: int) -> None:
    value = node.inputs[index] if index < len(node.inputs) else None
    if value is None or value.const_value is None:
        return
    numbers = value.const_value.numpy()
    shape = [len(factors) if i == axis else 1 for i in range(numbers.ndim)]
    scaled = (numbers.astype(np.float64) * factors.reshape(shape)).astype(numbers.dtype)
    value.const_value = ir.Tensor(scaled, name=value.name)
