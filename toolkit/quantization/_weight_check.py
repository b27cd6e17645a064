"""Weights of a quantized graph against the float32 graph that it was created from, without running either.

Each integer is the nearest to ``w / scale``, except for two neighbors whose sum would exceed `PAIR_LIMIT`:
both are reduced by the same amount, as far as they go, to exactly that sum. Biases are computed again from
the integers, with the correction by the channels' means. What stays in floats is equal to the bit, in 16 bits
rounded once.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from cnntk.exporters.passes.graph import constant, producer_of
from cnntk.quantization.calibration import CalibrationData
from cnntk.quantization.config import bias_add, groups_of
from cnntk.quantization.first_conv import trace_to_bytes
from cnntk.quantization.integer_layers import IntegerLayer, integer_layer
from cnntk.quantization.weights import BIAS_LIMIT, PAIR_LIMIT, BlockWeights, dequantize_blocks
from cnntk.runtime.errors import ExportCheckError

Array = NDArray[Any]

_NEAREST = 0.5 + 1e-3
"""Largest distance from ``w / scale``; quantizers compute the quotient in float32."""

_SMALLEST_FACTOR = 0.78
"""Smallest scale of a block, relative to the scale without clipping."""


def check_quantized_weights(
    before: ir.Model, after: ir.Model, calibration: CalibrationData | None, *, corrected: bool
) -> None:
    """Compares the weights, scales and biases of each layer with those of the float32 graph.

    Args:
        before: Graph in float32, of which ``after`` was created.
        after: Quantized graph.
        calibration: Calibration whose means correct biases; None skips biases that may be corrected.
        corrected: Whether biases are corrected.

    Raises:
        ExportCheckError: A number is not what it should be; the message names the layer and the number.
    """
    nodes = {str(node.name): node for node in before.graph if node.name}
    for node in after.graph:
        _check_scales(node)
        original, integers = nodes.get(str(node.name)), integer_layer(node)
        if original is None or (integers is None and node.op_type != "MatMulNBits"):
            continue
        means = None if calibration is None else _means(original, calibration, corrected)
        layer = _LayerPair(original, node, integers, means, unknown=corrected and calibration is None)
        if integers is None:
            _check_dense(layer)
        else:
            (_check_convolution if integers.is_conv else _check_dense_integers)(layer)
    _check_floats(before, after)


@dataclass(frozen=True)
class _LayerPair:
    """A layer before and after.

    Attributes:
        before: Node in float32.
        after: Node in integers.
        stored: Its weights, scales and biases; None if they are in blocks.
        means: Mean of each channel that the layer reads, by which its bias is corrected; None: it is not.
        unknown: Whether the bias may be corrected by means that are not known.
    """

    before: ir.Node
    after: ir.Node
    stored: IntegerLayer | None
    means: Array | None
    unknown: bool

    def float_input(self, index: int) -> Array | None:
        """A constant of the layer in float32; None where it has none."""
        return constant(self.before.inputs[index]) if index < len(self.before.inputs) else None

    def integers(self, field: str | int) -> Array:
        """A constant of the quantized layer: a field of `IntegerLayer`, or an input of its node by number."""
        value = self.after.inputs[field] if isinstance(field, int) else getattr(self.stored, field)
        array = constant(value)
        if array is None:
            raise ExportCheckError(f"{self.after.name}: {field} of the quantized layer is not constant")
        return array

    def refuse(self, what: str, wrong: Array, actual: Array, expected: Array) -> None:
        """Raises ExportCheckError for the first wrong number."""
        if not wrong.any():
            return
        at = np.unravel_index(int(np.argmax(wrong)), wrong.shape)
        raise ExportCheckError(
            f"{self.after.name}: {what} {list(map(int, at))} is {actual[at]:.7g}, expected "
            f"{expected[at]:.7g}; {int(wrong.sum())} of {wrong.size} differ. Nothing was written"
        )


def _means(node: ir.Node, calibration: CalibrationData, corrected: bool) -> Array | None:
    value = node.inputs[0]
    channels = calibration.channels.get(str(value.name)) if value is not None else None
    return channels.mean if corrected and channels is not None else None


def _check_scales(node: ir.Node) -> None:
    """Scales of activations and weights are finite and above 0; those of blocks are not 0."""
    if node.op_type not in _SCALES:
        return
    indices = (
        (0, *range(3, len(node.inputs), 3)) if node.op_type == "QLinearConcat" else _SCALES[node.op_type]
    )
    for index in indices:
        scales = constant(node.inputs[index])
        if scales is None:
            continue
        sound = np.isfinite(scales) & (scales != 0 if node.op_type == "MatMulNBits" else scales > 0)
        if not sound.all():
            raise ExportCheckError(
                f"{node.name}: scale {scales.reshape(-1)[np.argmin(sound)]} (input {index}), expected a "
                "finite number above 0. Nothing was written"
            )


_SCALES = {
    "QLinearConv": (1, 4, 6),
    "QLinearGlobalAveragePool": (1, 3),
    "MatMulIntegerToFloat": (2, 3),
    "QLinearAdd": (1, 4, 6),
    "QLinearConcat": (0,),
    "QuantizeLinear": (1,),
    "DequantizeLinear": (1,),
    "MatMulNBits": (2,),
}
"""Inputs that are scales, by operator; of QLinearConcat every third is one, too."""


def _check_convolution(layer: _LayerPair) -> None:
    weight = layer.float_input(1)
    if weight is None:
        return
    numbers, scales, stored = weight.astype(np.float64), *_first_outputs(layer, len(weight))
    _check_range(layer, numbers.reshape(len(numbers), -1), scales)
    ideal = numbers / scales[:, None, None, None]
    offset = _offset(layer, stored.shape[1] // numbers.shape[1])
    values, rest = _by_columns(stored.astype(np.float64), numbers.shape, offset)
    layer.refuse("a weight beyond the window", rest != 0, rest, np.zeros_like(rest))
    off = np.abs(values - ideal) > _NEAREST
    if off.any():  # in the order in which the kernel sums, where neighbors are pairs
        rows, columns = stored.transpose(0, 2, 3, 1), stored.shape[1] // numbers.shape[1]
        arranged = _to_columns(ideal, columns, stored.shape, offset).transpose(0, 2, 3, 1)
        wrong = _unlimited(rows.reshape(len(rows), -1).astype(np.float64), arranged.reshape(len(rows), -1))
        layer.refuse("weight", wrong.reshape(rows.shape), rows, arranged)
    _check_integer_bias(layer, numbers, values * scales[:, None, None, None] - numbers, scales)


def _first_outputs(layer: _LayerPair, count: int) -> tuple[Array, Array]:
    """Scales and weights of the first columns of the output; those of other columns are the same, moved."""
    scales, stored = layer.integers("scales").astype(np.float64), layer.integers("weight")
    first = stored[:count]
    copies, rows = len(stored) // count, first.transpose(0, 2, 3, 1).reshape(count, first.shape[2], -1)
    for i in range(1, copies):
        column = slice(i * count, (i + 1) * count)
        moved = stored[column].transpose(0, 2, 3, 1).reshape(rows.shape)
        step = i * first.shape[1] // copies
        wrong = moved != np.pad(rows, ((0, 0), (0, 0), (step, 0)))[:, :, : rows.shape[2]]
        layer.refuse(f"in column {i} of the output, weight", wrong, moved, rows)
        layer.refuse("scale", scales[column] != scales[:count], scales[column], scales[:count])
        bias = layer.integers("bias")
        layer.refuse("bias", bias[column] != bias[:count], bias[column], bias[:count])
    return scales[:count], first


def _offset(layer: _LayerPair, columns: int) -> int:
    """Number of columns of the first group that lie before the window, where the padding is whole groups."""
    left = layer.before.attributes.get_ints("pads", [0] * 4)[1]
    groups = layer.after.attributes.get_ints("pads", [0] * 4)[1]
    return groups * columns - left if groups else 0


def _check_range(layer: _LayerPair, numbers: Array, scales: Array) -> None:
    """The largest weight of a channel is 127, or as little as 64, of its scales.

    It is less where a bias would else need more than `BIAS_LIMIT` steps.
    """
    largest = np.abs(numbers).max(axis=1)
    low, high = largest / 127 * (1 - 1e-5), largest / (PAIR_LIMIT // 2 - 0.5) * (1 + 1e-5)
    if layer.stored is not None and layer.stored.is_conv:
        steps = np.abs(layer.integers("bias")[: len(scales)].astype(np.float64))
        high = np.where(steps > BIAS_LIMIT / 4, np.inf, high)
    layer.refuse("scale", (largest > 1e-9) & ~((low <= scales) & (scales <= high)), scales, largest / 127)


def _by_columns(values: Array, shape: tuple[int, ...], offset: int) -> tuple[Array, Array]:
    """Weights (M, s C, h, w / s), where s columns are one, as (M, C, h, w), and what is beyond."""
    count, channels, height, width = shape
    columns, groups = values.shape[1] // channels, values.shape[3]
    parts = values.reshape(count, columns, channels, height, groups).transpose(0, 2, 3, 4, 1)
    wide = parts.reshape(count, channels, height, groups * columns)
    beyond = np.concatenate([wide[..., :offset], wide[..., offset + width :]], axis=-1)
    return wide[..., offset : offset + width], beyond


def _to_columns(weights: Array, columns: int, shape: tuple[int, ...], offset: int) -> Array:
    """The inverse of `_by_columns`, with zeros beyond."""
    count, channels, height, width = weights.shape
    padded = np.zeros((count, channels, height, shape[3] * columns))
    padded[..., offset : offset + width] = weights
    parts = padded.reshape(count, channels, height, shape[3], columns)
    return parts.transpose(0, 4, 1, 2, 3).reshape(shape)


def _unlimited(values: Array, ideal: Array) -> Array:
    """Weights (M, K) that are neither nearest nor reduced to the limit of their pair."""
    width = ideal.shape[1]
    pad = ((0, 0), (0, width % 2))
    actual, exact = (np.pad(a, pad).reshape(len(a), -1, 2) for a in (values, ideal))
    nearest = np.abs(actual - exact) <= _NEAREST
    signs = np.sign(exact)
    reduced = np.abs(exact) - np.abs(actual)
    same = (signs[..., 0] == signs[..., 1])[..., None] & (signs * actual >= 0) & (reduced >= -_NEAREST)
    full = np.abs(actual).sum(axis=-1, keepdims=True) == PAIR_LIMIT
    even = np.abs(reduced[..., :1] - reduced[..., 1:]) <= 2 + 2e-3
    emptied = (actual == 0).any(axis=-1, keepdims=True)
    sound = nearest | (same & full & (even | emptied))
    wrong: Array = ~sound.reshape(len(values), -1)[:, :width]
    return wrong


def _check_integer_bias(layer: _LayerPair, numbers: Array, errors: Array, scales: Array) -> None:
    if layer.unknown:
        return
    bias = layer.float_input(2)
    expected = np.zeros(len(numbers)) if bias is None else bias.astype(np.float64)
    input_scale, channels = float(layer.integers("x_scale")), numbers.shape[1]
    means, groups = layer.means, groups_of(layer.before)
    origin = trace_to_bytes(layer.before.inputs[0]) if layer.before.inputs[0] is not None else None
    if (
        origin is not None
        and input_scale == 1
        and layer.stored is not None
        and producer_of(layer.stored.x, "QuantizeLinear") is None
    ):
        zero_point = float(layer.integers("x_zero_point"))
        subtracted = np.broadcast_to(origin[1] - zero_point, (channels * groups,))
        expected = expected - (numbers.sum(axis=(2, 3)) * _read(subtracted, groups, len(numbers))).sum(axis=1)
        means = None if means is None else means + subtracted
    if means is not None:
        expected = expected - (errors.sum(axis=(2, 3)) * _read(means, groups, len(numbers))).sum(axis=1)
    largest = 2**31 - 1
    ideal = (expected / (input_scale * scales)).clip(-largest, largest)
    actual = layer.integers("bias")[: len(ideal)]
    layer.refuse("bias", np.abs(actual - ideal) > _NEAREST + 1e-6 * np.abs(ideal), actual, ideal)


def _read(means: Array, groups: int, outputs: int) -> Array:
    """Numbers of the channels (C,) as each output channel reads them, (M, C / groups)."""
    return np.repeat(means.reshape(groups, -1), outputs // groups, axis=0)


def _dense_numbers(layer: _LayerPair) -> Array | None:
    """Weights (N, K) in float64."""
    weight = layer.float_input(1)
    transposed = layer.before.op_type == "Gemm" and layer.before.attributes.get_int("transB", 0) != 0
    return None if weight is None else (weight if transposed else weight.T).astype(np.float64)


def _check_dense_integers(layer: _LayerPair) -> None:
    numbers = _dense_numbers(layer)
    if numbers is None:
        return
    stored, scales = layer.integers("weight").T, layer.integers("scales").astype(np.float64)
    _check_range(layer, numbers, scales)
    ideal = numbers / scales[:, None]
    wrong = _unlimited(stored.astype(np.float64), ideal) & (np.abs(stored - ideal) > _NEAREST)
    layer.refuse("weight", wrong, stored, ideal)
    field = "bias" if layer.stored is not None and layer.stored.bias is not None else None
    _check_dense_bias(layer, field, numbers, stored * scales[:, None])


def _check_dense(layer: _LayerPair) -> None:
    numbers, attributes = _dense_numbers(layer), layer.after.attributes
    if numbers is None:
        return
    bits, block = attributes.get_int("bits", 0), attributes.get_int("block_size", 0)
    stored = BlockWeights(layer.integers(1), layer.integers(2), bits, block)
    width, middle = numbers.shape[1], 1 << (bits - 1)
    padded = np.zeros((len(numbers), -(-width // block) * block))
    padded[:, :width] = numbers
    scales = np.repeat(np.abs(stored.scales.astype(np.float64)).reshape(len(numbers), -1), block, axis=1)
    values = dequantize_blocks(stored)
    limit = np.where(np.abs(values) >= scales * (middle - 1), middle / _SMALLEST_FACTOR - middle + 1, 0)
    beyond = (np.abs(padded) >= np.abs(values)) & (padded * values > 0)
    distance = np.abs(values - padded)
    wrong = ~((distance <= _NEAREST * scales) | (beyond & (distance <= limit * scales)))
    layer.refuse("weight", wrong, values, padded)
    _check_dense_bias(layer, 5 if len(layer.after.inputs) > 5 else None, numbers, values[:, :width])


def _check_dense_bias(layer: _LayerPair, field: str | int | None, numbers: Array, values: Array) -> None:
    """Checks the bias of a dense layer, a field of `IntegerLayer` or an input of its node."""
    added, means = bias_add(layer.before), layer.means
    bias = layer.float_input(2) if added is None or field is None else constant(added[1])
    if bias is None or layer.unknown:
        return
    if field is None:
        raise ExportCheckError(f"{layer.after.name}: the quantized layer has no bias. Nothing was written")
    actual, expected = layer.integers(field).astype(np.float64), bias.astype(np.float64)
    if np.array_equal(actual, expected):
        return  # not every input of a dense layer has means
    scale = np.abs(expected)
    if means is not None:
        expected = expected - (values - numbers) @ means
        scale = scale + np.abs(values - numbers) @ np.abs(means)
    layer.refuse("bias", ~(np.abs(actual - expected) <= 1e-6 * scale + 1e-30), actual, expected)


def _check_floats(before: ir.Model, after: ir.Model) -> None:
    """Weights with the name that they have in float32 are equal to the bit; 16-bit ones are rounded once."""
    for name, expected, value in _floats(before, after):
        array = value.const_value.numpy() if value.const_value is not None else np.zeros(0)
        rounded = expected.astype(array.dtype)
        if rounded.shape != array.shape or rounded.tobytes() != array.tobytes():
            raise ExportCheckError(
                f"weight {name}: differs from the float32 graph's, which the layer keeps. Nothing was written"
            )


def _floats(before: ir.Model, after: ir.Model) -> Iterator[tuple[str, Array, ir.Value]]:
    originals = {str(node.name): node for node in before.graph if node.name}
    for name, value in after.graph.initializers.items():
        array = constant(before.graph.initializers.get(name))
        if array is not None:
            yield name, array, value
    for node in after.graph:
        cast = producer_of(node.inputs[1], "Cast") if len(node.inputs) > 1 else None
        original = originals.get(str(node.name))
        stored = cast.inputs[0] if cast is not None else None
        linear = original is not None and original.op_type in ("Conv", "Gemm", "MatMul")
        array = constant(original.inputs[1]) if original is not None and linear else None
        if array is not None and stored is not None and stored.is_initializer():
            yield str(stored.name), array, stored
