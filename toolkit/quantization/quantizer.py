"""`quantize_graph`: the graph of a model with some of its layers in integers.

Between convolutions values stay uint8 (N, H, W, C), the order in which onnxruntime's integer kernels read
them. Each value of the graph exists in up to two forms: unchanged, float32 (N, C, H, W), and quantized. A
form is created where a node first needs it, so that neighbors in integers exchange integers and nothing is
converted back and forth; ReLU is part of the range, and max-pooling works on integers as they are.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, MutableMapping
from dataclasses import replace
from typing import Any

import numpy as np
import onnx_ir as ir
from onnx_ir.passes.common import RemoveUnusedNodesPass

from cnntk.exporters.passes.graph import constant, dimensions, producer_of, replace_uses
from cnntk.exporters.shapes.dataflow import weight_of
from cnntk.quantization.builder import CHANNELS_FIRST, CHANNELS_LAST, MICROSOFT, GraphBuilder, QuantizedValue
from cnntk.quantization.calibration import (
    CalibrationData,
    behind_activation,
    clip_limits,
    dense_reader,
    is_non_negative,
    is_spatial_mean,
)
from cnntk.quantization.config import (
    QuantConfig,
    bias_add,
    dense_weights,
    groups_of,
    has_explicit_pads,
    is_depthwise,
    linear_layers,
    reads_integers,
)
from cnntk.quantization.first_conv import ConvWindow, ImageBytes, image_bytes
from cnntk.quantization.options import RangeMethod
from cnntk.quantization.portable import to_portable
from cnntk.quantization.ranges import Scaling, find_range, scale_and_zero_point
from cnntk.quantization.weights import (
    BIAS_LIMIT,
    ChannelWeights,
    coarser,
    dequantize_blocks,
    full_range,
    no_saturation,
    quantize_blocks,
    seven_bits,
)

__all__ = ["INT8_PRODUCTS", "WeightCache", "quantize_graph"]

WeightCache = MutableMapping[Hashable, Any]
"""Quantized weights by layer and form: the candidates of one model share most of them."""

_BLOCK = 128
"""Number of weights in a block of a fully connected layer."""

_FLOAT_PRODUCTS, INT8_PRODUCTS = 1, 4
"""MatMulNBits' accuracy_level: activations in float32, or in 8 bits with products in integers.

CPUs without an int8 kernel for it (Nehalem, Cortex-A53) use floats in either case, and LeNet's logits
differed by 1.2 steps there; with floats everywhere by 0.00005.
"""

_SMALL_DENSE = 1 << 20
"""Number of weights below which float products cost no measurable time."""

_HALVES = {"float16": ir.DataType.FLOAT16, "bfloat16": ir.DataType.BFLOAT16}

_LINEAR = frozenset({"Conv", "ConvTranspose", "Gemm", "MatMul"})


def quantize_graph(
    model: ir.Model,
    config: QuantConfig,
    calibration: CalibrationData,
    cache: WeightCache | None = None,
    *,
    range_method: RangeMethod = "mse",
) -> ir.Model:
    """A model with the same inputs and outputs, and its layers in the precision of ``config``.

    Args:
        model: Model in float32; it is not changed.
        config: Precision of its linear layers; a layer that integers can't compute stays float32.
        calibration: Calibration of at least `tensors_to_calibrate`; for bias correction also of
            `channels_to_calibrate`.
        cache: Cache of this model's quantized weights, which is extended.
        range_method: Method that chooses the ranges of activations.
    """
    copy = model.clone()
    _GraphQuantizer(copy, config, calibration, {} if cache is None else cache, range_method).run()
    if config.format == "portable":
        to_portable(copy)
    RemoveUnusedNodesPass()(copy)
    return copy


class _GraphQuantizer:
    def __init__(
        self,
        model: ir.Model,
        config: QuantConfig,
        calibration: CalibrationData,
        cache: WeightCache,
        range_method: RangeMethod,
    ) -> None:
        self._model = model
        self._builder = GraphBuilder(model)
        self._config = config
        self._calibration = calibration
        self._cache = cache
        self._range_method: RangeMethod = range_method
        self._linear = {node: str(node.name) for node in linear_layers(model)}
        self._quantized: dict[ir.Value, QuantizedValue] = {}
        self._floats: dict[ir.Value, ir.Value] = {}
        self._rows: dict[ir.Value, QuantizedValue] = {}  # uint8 (N, C), of means over the map
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
            self._builder.insert_at(node)
            rule = self._rules.get(node.op_type) if not node.domain else None
            if rule is None or not rule(node):
                self._read_floats(node)
        for value in tuple(self._model.graph.outputs):
            producer = value.producer()
            if value in self._quantized and producer is not None:
                self._builder.insert_at(producer, after=True)
                replace_uses(value, self._float(value))

    def _read_floats(self, node: ir.Node) -> None:
        """Lets a node that stays as it is read floats."""
        for i, value in enumerate(node.inputs):
            if value is not None and value in self._quantized and value.producer() is not None:
                node.replace_input_with(i, self._float(value))

    def _conv(self, node: ir.Node) -> bool:
        weight, x = weight_of(node), node.inputs[0]
        bias_value = node.inputs[2] if len(node.inputs) > 2 else None
        bias = constant(bias_value)
        if self._precision(node) in _HALVES:
            return self._half_weights(node)
        if self._precision(node) != "int8" or weight is None or x is None or len(weight.shape) != 4:
            return False
        if (bias_value is not None and bias is None) or not has_explicit_pads(node):
            return False
        output = self._output_scaling(node.outputs[0])
        numbers = weight.numpy().astype(np.float64)
        offsets = np.zeros(len(numbers)) if bias is None else bias.astype(np.float64)
        window = ConvWindow.of(node, numbers.shape)
        image = None if x in self._quantized else image_bytes(x, window, self._builder)
        quantized = image.quantized if image is not None else self._quantize_input(x)
        if output is None or quantized is None:
            return False
        means = self._channel_means(x)
        if image is not None:  # what is subtracted from every pixel goes into the bias
            offsets = offsets - (numbers.sum(axis=(2, 3)) * image.mean).sum(axis=1)
            means = None if means is None else np.tile(means + image.mean, image.columns)
            numbers, window = image.weights(numbers), image.window
        integers = self._conv_integers(node, numbers, offsets, quantized.scaling.scale, means)
        self._quantized[node.outputs[0]] = self._integer_conv(
            node, quantized, integers, window, output, image
        )
        return True

    def _conv_integers(
        self, node: ir.Node, weight: Any, bias: Any, input_scale: float, means: Any
    ) -> tuple[Any, Any, Any]:
        """Weights int8 (M, C, h, w), their scales float32 (M,) and biases int32 (M,)."""
        rows = weight.transpose(0, 2, 3, 1)  # the kernel sums over height, width, channels
        integers = coarser(
            self._conv_weights(node, rows.reshape(len(rows), -1)),
            rows.reshape(len(rows), -1),
            np.abs(bias) / (input_scale * BIAS_LIMIT),
        )
        values = np.ascontiguousarray(integers.values.reshape(rows.shape).transpose(0, 3, 1, 2))
        if means is not None:
            errors = (values * integers.scales[:, None, None, None].astype(np.float64) - weight).sum(
                axis=(2, 3)
            )
            # The means (C,) as each output channel reads them: (M, C / groups).
            groups = groups_of(node)
            read = np.repeat(means.reshape(groups, -1), len(values) // groups, axis=0)
            bias = bias - (errors * read).sum(axis=1)
        steps = input_scale * integers.scales.astype(np.float64)
        limit = 2**31 - 1
        return values, integers.scales, np.rint(bias / steps).clip(-limit, limit).astype(np.int32)

    def _integer_conv(
        self,
        node: ir.Node,
        x: QuantizedValue,
        integers: tuple[Any, Any, Any],
        window: ConvWindow,
        output: Scaling,
        image: ImageBytes | None,
    ) -> QuantizedValue:
        values, scales, bias = integers
        channels, copies = len(values), 1 if image is None else image.outputs
        if image is not None and copies > 1:
            values, scales, bias = (
                image.for_all_outputs(values),
                np.tile(scales, copies),
                np.tile(bias, copies),
            )
        builder, name = self._builder, str(node.name)
        inputs = [
            *builder.inputs_of(x),
            builder.add_weight(f"{name}_weight", values),
            builder.add_weight(f"{name}_scales", scales),
            builder.add_weight(f"{name}_zeros", np.zeros(len(values), np.int8)),
            *builder.scaling(output),
            builder.add_weight(f"{name}_bias", bias),
        ]
        attributes = {"channels_last": 1, "group": groups_of(node), **window.attributes}
        value = builder.add_node("QLinearConv", inputs, attributes, domain=MICROSOFT, replaces=node)
        if copies > 1:
            shape = builder.add_weight("one_column", np.array([0, 0, -1, channels], np.int64))
            value = builder.add_node("Reshape", [value, shape])
        return QuantizedValue(value, output)

    def _fully_connected(self, node: ir.Node) -> bool:
        precision, x, layer = self._precision(node), node.inputs[0], dense_weights(node)
        if precision in _HALVES:
            return self._half_weights(node)
        if precision == "float32" or x is None or layer is None:
            return False
        numbers, bias = layer
        if precision == "int8" and (rows := self._integer_rows(node, x)) is not None:
            self._dense_on_integers(node, rows, numbers, bias, self._channel_means(x))
            return True
        if self._config.format == "portable":
            return False
        bits = 4 if precision == "int4" else 8
        blocks = self._cached((node.name, bits), lambda: quantize_blocks(numbers, bits, _BLOCK))
        builder, name = self._builder, str(node.name)
        if bias is not None and (means := self._channel_means(x)) is not None:
            shift = dequantize_blocks(blocks)[:, : numbers.shape[1]] @ means - numbers @ means
            bias = builder.add_weight(f"{name}_bias", (constant(bias) - shift).astype(np.float32))
        inputs = [
            self._float(x) if x in self._quantized else x,
            builder.add_weight(f"{name}_weight", blocks.values),
            builder.add_weight(f"{name}_scales", blocks.scales),
            *((None, None, bias) if bias is not None else ()),
        ]
        portable = self._config.target == "any" and numbers.size < _SMALL_DENSE
        attributes = {
            "N": numbers.shape[0],
            "K": numbers.shape[1],
            "bits": bits,
            "block_size": _BLOCK,
            "accuracy_level": _FLOAT_PRODUCTS if portable else INT8_PRODUCTS,
        }
        output = builder.add_node("MatMulNBits", inputs, attributes, domain=MICROSOFT, replaces=node)
        self._replace(node.outputs[0], output)
        return True

    def _integer_rows(self, node: ir.Node, x: ir.Value) -> QuantizedValue | None:
        """The input of a fully connected layer as uint8, where that is no slower than reading floats."""
        if x not in self._rows and reads_integers(node) and (integers := self._quantize(x)) is not None:
            self._rows[x] = integers
        return self._rows.get(x)

    def _dense_on_integers(
        self, node: ir.Node, x: QuantizedValue, numbers: Any, bias: ir.Value | None, means: Any
    ) -> None:
        """A fully connected layer whose products are integers on every CPU, and whose outputs are floats."""
        output_of = node
        if bias is None and (add := bias_add(node)) is not None:
            output_of, bias = add
        form = full_range if self._config.target == "vnni" else no_saturation
        integers: ChannelWeights = self._cached((node.name, form), lambda: form(numbers))
        builder, name = self._builder, str(node.name)
        if bias is not None and means is not None:
            errors = integers.values * integers.scales[:, None].astype(np.float64) - numbers
            bias = builder.add_weight(f"{name}_bias", (constant(bias) - errors @ means).astype(np.float32))
        scale, zero_point = builder.scaling(x.scaling)
        inputs = [
            x.value,
            builder.add_weight(f"{name}_weight", np.ascontiguousarray(integers.values.T)),
            scale,
            builder.add_weight(f"{name}_scales", integers.scales),
            zero_point,
            builder.add_weight(f"{name}_zero", np.array(0, np.int8)),
            *([bias] if bias is not None else []),
        ]
        output = builder.add_node("MatMulIntegerToFloat", inputs, domain=MICROSOFT, replaces=node)
        self._replace(output_of.outputs[0], output)

    def _half_weights(self, node: ir.Node) -> bool:
        """Stores weights in 16 bits; onnxruntime makes them float32 once, when it loads the model."""
        weight, value = weight_of(node), node.inputs[1]
        if weight is None or value is None:
            return False
        half = _HALVES[self._precision(node)]
        stored = self._builder.add_weight(f"{node.name}_weight", weight.numpy().astype(half.numpy()))
        floats = self._builder.add_node("Cast", [stored], {"to": int(ir.DataType.FLOAT)})
        floats.shape, floats.type = value.shape, value.type
        self._read_floats(node)
        node.replace_input_with(1, floats)
        return True

    def _relu(self, node: ir.Node) -> bool:
        x = self._quantized_input(node)
        if x is None:
            return False
        if x.scaling.zero_point == 0:  # its range begins at zero
            self._quantized[node.outputs[0]] = x
            return True
        zero = self._builder.zero_point(x.scaling.zero_point)
        value = self._builder.add_node("Max", [x.value, zero], replaces=node)
        self._quantized[node.outputs[0]] = replace(x, value=value)
        return True

    def _clip(self, node: ir.Node) -> bool:
        """Clips from 0 to a limit, like ReLU6: integers above the limit's are reduced to it."""
        limits = clip_limits(node)
        if limits[0] != 0 or limits[1] is None or not self._relu(node):
            return False
        y = self._quantized[node.outputs[0]]
        top = round(limits[1] / y.scaling.scale) + y.scaling.zero_point
        if top < 255:
            value = self._builder.add_node("Min", [y.value, self._builder.zero_point(top)])
            self._quantized[node.outputs[0]] = replace(y, value=value)
        return True

    def _concat(self, node: ir.Node) -> bool:
        """Concatenates channels, all converted to one scale."""
        if node.attributes.get_int("axis", 0) not in (1, -3):
            return False
        parts = [self._quantized.get(v) for v in node.inputs if v is not None]
        return self._join("QLinearConcat", node, parts, scaling_first=True, attributes={"axis": 3})

    def _max_pool(self, node: ir.Node) -> bool:
        x = self._quantized_input(node)
        if x is None or not has_explicit_pads(node) or len(node.outputs) > 1:
            return False
        names = ("kernel_shape", "strides", "pads", "dilations")
        attributes: dict[str, Any] = {
            name: list(node.attributes.get_ints(name)) for name in names if name in node.attributes
        }
        if len(attributes["kernel_shape"]) != 2:
            return False
        attributes["ceil_mode"] = node.attributes.get_int("ceil_mode", 0)
        value = self._builder.add_node("NhwcMaxPool", [x.value], attributes, domain=MICROSOFT, replaces=node)
        self._quantized[node.outputs[0]] = replace(x, value=value)
        return True

    def _add(self, node: ir.Node) -> bool:
        if dimensions(node.inputs[0]) != dimensions(node.inputs[1]):
            return False
        parts = [self._quantized.get(v) if v is not None else None for v in node.inputs]
        return self._join("QLinearAdd", node, parts, scaling_first=False)

    def _join(
        self,
        operator: str,
        node: ir.Node,
        parts: list[QuantizedValue | None],
        *,
        scaling_first: bool,
        attributes: dict[str, Any] | None = None,
    ) -> bool:
        """Replaces a node by an operator that reads several quantized values."""
        output = self._output_scaling(node.outputs[0])
        quantized = [x for x in parts if x is not None]
        if output is None or len(quantized) < len(parts):
            return False
        builder = self._builder
        first = builder.scaling(output) if scaling_first else []
        inputs = [*first, *(v for x in quantized for v in builder.inputs_of(x))]
        inputs += [] if scaling_first else builder.scaling(output)
        value = builder.add_node(operator, inputs, attributes, domain=MICROSOFT, replaces=node)
        self._quantized[node.outputs[0]] = QuantizedValue(value, output)
        return True

    def _mean(self, node: ir.Node) -> bool:
        """Computes the mean over height and width from floats in the order of the integers."""
        x = self._quantized_input(node)
        if x is None or not is_spatial_mean(node):
            return False
        builder = self._builder
        layer, scaling = dense_reader(node.outputs[0]), self._output_scaling(node.outputs[0])
        in_integers = layer is not None and self._precision(layer) == "int8" and dense_weights(layer)
        if in_integers and layer is not None and layer.inputs[0] is not None and scaling:
            inputs = [*builder.inputs_of(x), *builder.scaling(scaling)]
            attributes = {"channels_last": 1}
            pooled = builder.add_node("QLinearGlobalAveragePool", inputs, attributes, domain=MICROSOFT)
            rows = builder.add_node("Reshape", [pooled, builder.add_weight("rows", np.array([0, -1]))])
            self._rows[layer.inputs[0]] = QuantizedValue(rows, scaling)
            return True
        floats = builder.dequantize(x)
        axes = builder.add_weight("spatial", np.array([1, 2], np.int64))
        mean = builder.add_node("ReduceMean", [floats, axes], {"keepdims": 0}, replaces=node)
        if node.op_type == "GlobalAveragePool" or node.attributes.get_int("keepdims", 1) != 0:
            shape = builder.add_weight("as_map", np.array([0, -1, 1, 1], np.int64))
            mean = builder.add_node("Reshape", [mean, shape])
        self._replace(node.outputs[0], mean)
        return True

    def _precision(self, node: ir.Node) -> str:
        plan = self._config.layers.get(self._linear.get(node, ""))
        return "float32" if plan is None else plan.precision

    def _conv_weights(self, node: ir.Node, rows: Any) -> ChannelWeights:
        if self._config.target == "vnni" or is_depthwise(node):
            form = full_range
        else:  # kernels for grouped convolutions sum in other orders
            form = seven_bits if groups_of(node) > 1 else no_saturation
        weights: ChannelWeights = self._cached((node.name, form), lambda: form(rows))
        return weights

    def _cached(self, key: Hashable, compute: Callable[[], Any]) -> Any:
        if key not in self._cache:
            self._cache[key] = compute()
        return self._cache[key]

    def _channel_means(self, value: ir.Value) -> Any:
        """Mean of each channel that a layer reads, if biases are to be corrected by it."""
        channels = self._calibration.channels.get(str(value.name))
        return channels.mean if self._config.bias_correction and channels is not None else None

    def _quantized_input(self, node: ir.Node) -> QuantizedValue | None:
        value = node.inputs[0]
        return None if value is None else self._quantized.get(value)

    def _output_scaling(self, value: ir.Value) -> Scaling | None:
        """Scaling of an output, as far as other nodes see its range."""
        histogram = self._calibration.histograms.get(str(behind_activation(value).name))
        if histogram is None:
            return None
        scaling = scale_and_zero_point(find_range(histogram, self._range_method))
        if is_non_negative(value) and scaling.zero_point:
            return Scaling(float(np.float32(max(histogram.maximum, 1e-6) / 255)), 0)
        return scaling

    def _quantize_input(self, value: ir.Value) -> QuantizedValue | None:
        """The quantized form of a value, which is converted from floats if it does not exist yet."""
        if value in self._quantized:
            return self._quantized[value]
        if (integers := self._quantize(value)) is None:
            return None
        transposed = self._builder.add_node("Transpose", [integers.value], {"perm": CHANNELS_LAST})
        quantized = replace(integers, value=transposed)
        if producer_of(value) is not None or value.is_graph_input():
            self._quantized[value] = quantized
            self._floats[value] = value
        return quantized

    def _quantize(self, value: ir.Value) -> QuantizedValue | None:
        """Converts floats, in the same order of dimensions; None without a range."""
        histogram = self._calibration.histograms.get(str(value.name))
        if histogram is None:
            return None
        scaling = scale_and_zero_point(find_range(histogram, self._range_method))
        inputs = [value, *self._builder.scaling(scaling)]
        return QuantizedValue(self._builder.add_node("QuantizeLinear", inputs), scaling)

    def _float(self, value: ir.Value) -> ir.Value:
        """The float32 form of a value, (N, C, H, W), which is converted if it does not exist yet."""
        if value not in self._floats:
            quantized = self._quantized[value]
            transposed = self._builder.add_node("Transpose", [quantized.value], {"perm": CHANNELS_FIRST})
            transposed_integers = replace(quantized, value=transposed)
            if any(use.node.op_type in _LINEAR for use in value.uses()):
                floats = self._builder.convert(transposed_integers)
            else:
                floats = self._builder.dequantize(transposed_integers)
            floats.shape = value.shape
            self._floats[value] = floats
        return self._floats[value]

    def _replace(self, old: ir.Value, new: ir.Value) -> None:
        new.type, new.shape = old.type, None if old.shape is None else old.shape.copy()
        replace_uses(old, new)
