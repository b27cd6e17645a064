"""`quantized`: the graph of a model with the layers of a recipe in integers.

Between convolutions values stay uint8 (N, H, W, C), the order in which onnxruntime's integer kernels read
them. Each value of the graph may be there in up to two forms: as it was, float32 (N, C, H, W), and as levels.
A form is made where somebody first needs it, so that neighbors in integers exchange levels and nothing is
converted to and fro; ReLU is part of the levels' range, and max-pooling works on levels as they are.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, MutableMapping
from dataclasses import replace
from typing import Any

import numpy as np
import onnx_ir as ir
from onnx_ir.passes.common import RemoveUnusedNodesPass

from cnntk.exporters.passes.graph import constant, producer_of, replace_uses
from cnntk.exporters.shapes.dataflow import weight_of
from cnntk.quantization.builder import MICROSOFT, Levels, Tape
from cnntk.quantization.calibration import Calibration
from cnntk.quantization.config import Recipe, linear_layers
from cnntk.quantization.first_conv import Window, pixels_of
from cnntk.quantization.ranges import Method, find_range, scale_and_zero_point
from cnntk.quantization.reading import (
    clip_bounds,
    dense,
    dims,
    group_of,
    is_float,
    is_plain,
    is_rectified,
    is_spatial_mean,
    scalar,
    settled,
    window_of,
)
from cnntk.quantization.weights import Channelwise, full, in_blocks, in_floats, pair_safe, seven_bits

__all__ = ["Memo", "channels_to_watch", "quantized", "tensors_to_watch"]

Memo = MutableMapping[Hashable, Any]
"""Weights that were rounded once, by layer and form: candidates of one model share most of them."""

_FOUR_BIT_BLOCK = _EIGHT_BIT_BLOCK = 128
_FLOAT_PRODUCTS, _INT8_PRODUCTS = 1, 4
"""MatMulNBits' accuracy_level: activations as they are, or in 8 bits with products in integers.

CPUs without an int8 kernel for it (Nehalem, Cortex-A53) take floats in either case, and LeNet's logits were
1.2 steps off there; with floats everywhere 0.00005.
"""

_SMALL = {4: 1 << 20, 8: 1 << 15}
"""Weights, by their bits, below which floats take no time that counts; 8 bits with floats are very slow."""

_LARGEST = 255
_HALVES = {"float16": ir.DataType.FLOAT16, "bfloat16": ir.DataType.BFLOAT16}

_CHANNELS_LAST, _CHANNELS_FIRST = (0, 2, 3, 1), (0, 3, 1, 2)


def tensors_to_watch(model: ir.Model) -> tuple[str, ...]:
    """The values whose ranges `quantized` needs: what convolutions read, and what they and sums answer."""
    found: dict[str, None] = {}
    for node in model.graph:
        if node.op_type not in ("Conv", "Add", "Concat") or node.domain or not is_float(node.outputs[0]):
            continue
        read = node.inputs[0]
        for value in (*((read,) if node.op_type == "Conv" else ()), settled(node.outputs[0])):
            if value is not None and value.name and not value.is_initializer():
                found[value.name] = None
    return tuple(found)


def channels_to_watch(model: ir.Model) -> dict[str, int]:
    """The values whose channels correcting and equalizing need, with their axis: what linear layers read."""
    read = (node.inputs[0] for node in linear_layers(model))
    return {
        str(v.name): 1 for v in read if v is not None and v.name and v.shape is not None and len(v.shape) > 1
    }


def quantized(
    model: ir.Model,
    recipe: Recipe,
    calibration: Calibration,
    *,
    method: Method = "mse",
    memo: Memo | None = None,
) -> ir.Model:
    """A model of the same inputs and outputs, with the layers of ``recipe`` in integers.

    Args:
        model: float32; it is not changed.
        recipe: for its linear layers; one that the graph does not allow as integers stays float32.
        calibration: of at least `tensors_to_watch`; for a recipe that is corrected, with
            `channels_to_watch`.
        method: by which ranges are chosen.
        memo: for this model alone; it grows.
    """
    copy = model.clone()
    _Builder(copy, recipe, calibration, method, {} if memo is None else memo).run()
    RemoveUnusedNodesPass()(copy)
    return copy


class _Builder:
    def __init__(
        self, model: ir.Model, recipe: Recipe, calibration: Calibration, method: Method, memo: Memo
    ) -> None:
        self._model = model
        self._tape = Tape(model)
        self._recipe = recipe
        self._calibration = calibration
        self._method: Method = method
        self._memo = memo
        self._linear = {node: str(node.name) for node in linear_layers(model)}
        self._levels: dict[ir.Value, Levels] = {}
        self._floats: dict[ir.Value, ir.Value] = {}
        self._rules: dict[str, Callable[[ir.Node], bool]] = {
            "Conv": self._conv,
            "Gemm": self._fully_connected,
            "MatMul": self._fully_connected,
            "Relu": self._relu,
            "Clip": self._clip,
            "Concat": self._concat,
            "MaxPool": self._max_pool,
            "Add": self._add,
            "ReduceMean": self._mean,
            "GlobalAveragePool": self._mean,
        }

    def run(self) -> None:
        for node in tuple(self._model.graph):
            self._tape.move(node)
            rule = self._rules.get(node.op_type) if not node.domain else None
            if rule is None or not rule(node):
                self._keep(node)
        for value in tuple(self._model.graph.outputs):
            producer = value.producer()
            if value in self._levels and producer is not None:
                self._tape.move(producer, behind=True)
                replace_uses(value, self._float(value))

    def _keep(self, node: ir.Node) -> None:
        """A node that stays as it was reads floats."""
        for i, value in enumerate(node.inputs):
            if value is not None and value in self._levels and value.producer() is not None:
                node.replace_input_with(i, self._float(value))

    def _conv(self, node: ir.Node) -> bool:
        weight, x = weight_of(node), node.inputs[0]
        bias = constant(node.inputs[2]) if len(node.inputs) > 2 and node.inputs[2] is not None else None
        if self._kind(node) in _HALVES:
            return self._halved(node)
        if self._kind(node) != "int8" or weight is None or x is None or len(weight.shape) != 4:
            return False
        if (len(node.inputs) > 2 and node.inputs[2] is not None and bias is None) or not is_plain(node):
            return False
        scaling = self._scaling(node.outputs[0])
        numbers = weight.numpy().astype(np.float64)
        offsets = np.zeros(len(numbers)) if bias is None else bias.astype(np.float64)
        window = window_of(node, numbers.shape)
        pixels = None if x in self._levels else pixels_of(x, window, self._tape)
        levels = pixels.levels if pixels is not None else self._integers(x)
        if scaling is None or levels is None:
            return False
        means = self._means(x)
        if pixels is not None:  # what is subtracted from every pixel goes into the bias
            offsets = offsets - (numbers.sum(axis=(2, 3)) * pixels.mean).sum(axis=1)
            numbers, window = pixels.weights(numbers), pixels.window
            means = None if means is None else np.tile(means + pixels.mean, pixels.columns)
        answer = self._convolved(node, levels, numbers, offsets, window, means, *scaling)
        self._levels[node.outputs[0]] = answer
        return True

    def _convolved(
        self,
        node: ir.Node,
        x: Levels,
        weight: Any,
        bias: Any,
        window: Window,
        means: Any,
        scale: float,
        zero: int,
    ) -> Levels:
        rows = weight.transpose(0, 2, 3, 1)  # the kernel sums over height, width, channels
        integers = self._weights(node, rows.reshape(len(rows), -1))
        values = np.ascontiguousarray(integers.values.reshape(rows.shape).transpose(0, 3, 1, 2))
        if means is not None:
            errors = (values * integers.scales[:, None, None, None].astype(np.float64) - weight).sum(
                axis=(2, 3)
            )
            bias = bias - (errors * _by_group(means, group_of(node), len(values))).sum(axis=1)
        steps = x.scale * integers.scales.astype(np.float64)
        limit = 2**31 - 1
        offsets = np.rint(bias / steps).clip(-limit, limit).astype(np.int32)
        tape, name = self._tape, str(node.name)
        inputs = [
            *(x.value, tape.number(x.scale), tape.byte(x.zero_point)),
            *(tape.weight(f"{name}_weight", values), tape.weight(f"{name}_scales", integers.scales)),
            tape.weight(f"{name}_zeros", np.zeros(len(values), np.int8)),
            *(tape.number(scale), tape.byte(zero), tape.weight(f"{name}_bias", offsets)),
        ]
        value = tape.put(
            "QLinearConv",
            inputs,
            {
                "channels_last": 1,
                "group": group_of(node),
                "kernel_shape": window.kernel,
                "strides": window.strides,
                "pads": window.pads,
                "dilations": window.dilations,
            },
            domain=MICROSOFT,
            like=node,
        )
        return Levels(value, scale, zero)

    def _fully_connected(self, node: ir.Node) -> bool:
        kind, x, found = self._kind(node), node.inputs[0], dense(node)
        if kind in _HALVES:
            return self._halved(node)
        if kind == "float32" or x is None or found is None:
            return False
        numbers, bias = found
        bits, block = (4, _FOUR_BIT_BLOCK) if kind == "int4" else (8, _EIGHT_BIT_BLOCK)
        blocks = self._once((node.name, bits), lambda: in_blocks(numbers, bits, block))
        tape, name = self._tape, str(node.name)
        if bias is not None and (means := self._means(x)) is not None:
            shift = in_floats(blocks)[:, : numbers.shape[1]] @ means - numbers @ means
            held = constant(bias)
            bias = tape.weight(f"{name}_bias", (held - shift).astype(np.float32))
        inputs = [
            self._float(x) if x in self._levels else x,
            *(tape.weight(f"{name}_weight", blocks.values), tape.weight(f"{name}_scales", blocks.scales)),
            *((None, None, bias) if bias is not None else ()),
        ]
        answer = tape.put(
            "MatMulNBits",
            inputs,
            {
                "N": numbers.shape[0],
                "K": numbers.shape[1],
                "bits": bits,
                "block_size": block,
                "accuracy_level": self._level(bits, numbers.size),
            },
            domain=MICROSOFT,
            like=node,
        )
        self._replace(node.outputs[0], answer)
        return True

    def _level(self, bits: int, weights: int) -> int:
        portable = self._recipe.target == "any" and weights < _SMALL[bits]
        return _FLOAT_PRODUCTS if portable else _INT8_PRODUCTS

    def _halved(self, node: ir.Node) -> bool:
        """Weights in 16 bits; onnxruntime makes them float32 once, when it loads the model."""
        weight, value = weight_of(node), node.inputs[1]
        if weight is None or value is None:
            return False
        half = _HALVES[self._kind(node)]
        numbers = weight.numpy().astype(half.numpy())
        stored = self._tape.weight(f"{node.name}_weight", numbers)
        floats = self._tape.put("Cast", [stored], {"to": int(ir.DataType.FLOAT)})
        floats.shape, floats.type = value.shape, value.type
        self._keep(node)
        node.replace_input_with(1, floats)
        return True

    def _relu(self, node: ir.Node) -> bool:
        x = self._levels.get(node.inputs[0]) if node.inputs[0] is not None else None
        if x is None:
            return False
        if x.zero_point == 0:  # its range begins at zero: nothing is below
            self._levels[node.outputs[0]] = x
            return True
        value = self._tape.put("Max", [x.value, self._tape.byte(x.zero_point)], like=node)
        self._levels[node.outputs[0]] = Levels(value, x.scale, x.zero_point)
        return True

    def _clip(self, node: ir.Node) -> bool:
        """From 0 to a limit, like ReLU6: levels above the limit are brought down to its level."""
        limits = [float(v) for v in map(scalar, clip_bounds(node)) if v is not None]
        if len(limits) != 2 or limits[0] != 0 or not self._relu(node):
            return False
        y = self._levels[node.outputs[0]]
        top = round(limits[1] / y.scale) + y.zero_point
        if top < _LARGEST:
            value = self._tape.put("Min", [y.value, self._tape.byte(top)])
            self._levels[node.outputs[0]] = replace(y, value=value)
        return True

    def _concat(self, node: ir.Node) -> bool:
        """Channels behind channels, all brought to one scale."""
        parts = [self._levels.get(v) for v in node.inputs if v is not None]
        scaling = self._scaling(node.outputs[0])
        if scaling is None or node.attributes.get_int("axis", 0) not in (1, -3):
            return False
        tape, (scale, zero) = self._tape, scaling
        inputs = [tape.number(scale), tape.byte(zero)]
        for x in parts:
            if x is None:
                return False
            inputs += [x.value, tape.number(x.scale), tape.byte(x.zero_point)]
        value = tape.put("QLinearConcat", inputs, {"axis": 3}, domain=MICROSOFT, like=node)
        self._levels[node.outputs[0]] = Levels(value, scale, zero)
        return True

    def _max_pool(self, node: ir.Node) -> bool:
        x = self._levels.get(node.inputs[0]) if node.inputs[0] is not None else None
        if x is None or not is_plain(node) or len(node.outputs) > 1:
            return False
        kept = ("kernel_shape", "strides", "pads", "dilations")
        attributes: dict[str, Any] = {
            key: list(node.attributes.get_ints(key)) for key in kept if key in node.attributes
        }
        if len(attributes["kernel_shape"]) != 2:
            return False
        attributes["ceil_mode"] = node.attributes.get_int("ceil_mode", 0)
        value = self._tape.put("NhwcMaxPool", [x.value], attributes, domain=MICROSOFT, like=node)
        self._levels[node.outputs[0]] = Levels(value, x.scale, x.zero_point)
        return True

    def _add(self, node: ir.Node) -> bool:
        one, other = (self._levels.get(v) if v is not None else None for v in node.inputs)
        if one is None or other is None or dims(node.inputs[0]) != dims(node.inputs[1]):
            return False
        scaling = self._scaling(node.outputs[0])
        if scaling is None:
            return False
        tape, (scale, zero) = self._tape, scaling
        inputs = [
            part for x in (one, other) for part in (x.value, tape.number(x.scale), tape.byte(x.zero_point))
        ]
        value = tape.put(
            "QLinearAdd", [*inputs, tape.number(scale), tape.byte(zero)], domain=MICROSOFT, like=node
        )
        self._levels[node.outputs[0]] = Levels(value, scale, zero)
        return True

    def _mean(self, node: ir.Node) -> bool:
        """The mean over height and width, of floats that keep the levels' order."""
        x = self._levels.get(node.inputs[0]) if node.inputs[0] is not None else None
        if x is None or not is_spatial_mean(node):
            return False
        tape = self._tape
        floats = tape.dequantized(x)
        axes = tape.weight("spatial", np.array([1, 2], np.int64))
        mean = tape.put("ReduceMean", [floats, axes], {"keepdims": 0}, like=node)
        if node.op_type == "GlobalAveragePool" or node.attributes.get_int("keepdims", 1) != 0:
            shape = tape.weight("as_map", np.array([0, -1, 1, 1], np.int64))
            mean = tape.put("Reshape", [mean, shape])
        self._replace(node.outputs[0], mean)
        return True

    def _kind(self, node: ir.Node) -> str:
        planned = self._recipe.layers.get(self._linear.get(node, ""))
        return "float32" if planned is None else planned.kind

    def _weights(self, node: ir.Node, rows: Any) -> Channelwise:
        # Grouped kernels sum in orders of their own.
        anywhere = seven_bits if group_of(node) > 1 else pair_safe
        form = full if self._recipe.target == "vnni" else anywhere
        found: Channelwise = self._once((node.name, form), lambda: form(rows))
        return found

    def _once(self, key: Hashable, make: Callable[[], Any]) -> Any:
        if key not in self._memo:
            self._memo[key] = make()
        return self._memo[key]

    def _means(self, value: ir.Value) -> Any:
        """The mean of each channel that a layer reads, where biases are to be corrected by it."""
        channels = self._calibration.channels.get(str(value.name))
        return channels.mean if self._recipe.corrected and channels is not None else None

    def _scaling(self, value: ir.Value) -> tuple[float, int] | None:
        """Scale and zero point of what a node answers, as far as anybody sees it."""
        histogram = self._calibration.histograms.get(str(settled(value).name))
        if histogram is None:
            return None
        found = scale_and_zero_point(find_range(histogram, self._method), "uint8")
        if is_rectified(value) and found.zero_point:
            return float(np.float32(max(histogram.maximum, 1e-6) / 255)), 0
        return found.scale, found.zero_point

    def _integers(self, value: ir.Value) -> Levels | None:
        """A value's levels; made of its floats where there are none yet."""
        if value in self._levels:
            return self._levels[value]
        histogram = self._calibration.histograms.get(str(value.name))
        if histogram is None:
            return None
        found = scale_and_zero_point(find_range(histogram, self._method), "uint8")
        tape = self._tape
        levels = tape.put("QuantizeLinear", [value, tape.number(found.scale), tape.byte(found.zero_point)])
        turned = tape.put("Transpose", [levels], {"perm": list(_CHANNELS_LAST)})
        answer = Levels(turned, found.scale, found.zero_point)
        if producer_of(value) is not None or value.is_graph_input():
            self._levels[value] = answer
            self._floats[value] = value
        return answer

    def _float(self, value: ir.Value) -> ir.Value:
        """A value's floats, (N, C, H, W); made of its levels where there are none yet."""
        if value not in self._floats:
            levels = self._levels[value]
            turned = self._tape.put("Transpose", [levels.value], {"perm": list(_CHANNELS_FIRST)})
            floats = self._tape.dequantized(Levels(turned, levels.scale, levels.zero_point))
            floats.shape = value.shape
            self._floats[value] = floats
        return self._floats[value]

    def _replace(self, old: ir.Value, new: ir.Value) -> None:
        """Lets everybody read ``new`` instead of ``old``, under whose name an output of the graph goes on."""
        new.type, new.shape = old.type, None if old.shape is None else old.shape.copy()
        answered, name = old.is_graph_output(), old.name
        old.replace_all_uses_with(new, replace_graph_outputs=True)
        if answered:
            old.name = None
            new.name = name


def _by_group(means: Any, groups: int, count: int) -> Any:
    """The means (C,) as each of ``count`` output channels reads them: (count, C / groups)."""
    return np.repeat(means.reshape(groups, -1), count // groups, axis=0)
