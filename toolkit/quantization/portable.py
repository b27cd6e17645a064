"""`to_portable`: a quantized graph in standard ONNX operators, which other runtimes than onnxruntime read.

Each of onnxruntime's integer operators becomes the operator of the float graph, in (N, C, H, W), between
DequantizeLinear and QuantizeLinear with the same scales, weights and biases. onnxruntime turns them into the
same integer operators again when it loads the model; other runtimes do that in their own way.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx_ir as ir
from onnx_ir.passes.common import RemoveUnusedNodesPass

from cnntk.exporters.passes.graph import constant, producer_of, replace_uses
from cnntk.quantization.builder import CHANNELS_FIRST, CHANNELS_LAST, MICROSOFT, GraphBuilder

__all__ = ["to_portable"]


Values = Sequence[ir.Value | None]


def to_portable(model: ir.Model) -> None:
    """Replaces onnxruntime's operators in a graph of `quantize_graph`, in place.

    Operators without a rule here stay as they are.
    """
    _Portable(model).run()
    RemoveUnusedNodesPass()(model)
    if not any(node.domain == MICROSOFT for node in model.graph):
        del model.graph.opset_imports[MICROSOFT]


@dataclass(frozen=True)
class _Quantized:
    """Integers in the order of dimensions that standard operators read, (N, C, H, W) or (N, C), or floats.

    Attributes:
        value: The value.
        scaling: Scale and zero point of integers; empty for floats.
    """

    value: ir.Value
    scaling: tuple[ir.Value | None, ...] = ()


class _Portable:
    def __init__(self, model: ir.Model) -> None:
        self._model = model
        self._builder = GraphBuilder(model)
        self._moved: dict[ir.Value, _Quantized] = {}  # by the value that onnxruntime's operators read
        self._floats: dict[ir.Value, ir.Value] = {}  # by the integers
        self._rules: dict[str, Callable[[ir.Node], bool]] = {
            "QLinearConv": self._conv,
            "QLinearAdd": self._add,
            "QLinearConcat": self._concat,
            "NhwcMaxPool": self._max_pool,
            "QLinearGlobalAveragePool": self._global_mean,
            "MatMulIntegerToFloat": self._dense,
            "Max": self._limit,
            "Min": self._limit,
            "Reshape": self._rows,
            "Transpose": self._transpose,
            "DequantizeLinear": self._dequantize_linear,
            "ReduceMean": self._mean,
        }

    def run(self) -> None:
        for node in tuple(self._model.graph):
            self._builder.insert_at(node)
            rule = self._rules.get(node.op_type)
            if rule is None or not rule(node):
                self._restore_inputs(node)

    def _restore_inputs(self, node: ir.Node) -> None:
        """Lets a node that stays as it is read values with channels last, as before."""
        for i, value in enumerate(node.inputs):
            if value is not None and value in self._moved:
                moved = self._moved[value].value
                last = self._builder.add_node("Transpose", [moved], {"perm": CHANNELS_LAST})
                last.type, last.shape = value.type, value.shape
                node.replace_input_with(i, last)

    def _conv(self, node: ir.Node) -> bool:
        x, x_scale, x_zero, weight, scales, zeros, y_scale, y_zero, bias = node.inputs
        parts = [
            self._read(x, (x_scale, x_zero)),
            self._weight([weight, scales, zeros], axis=0),
            self._weight([bias, self._steps(node, x_scale, scales)], axis=0),
        ]
        attributes = {name: a for name, a in node.attributes.items() if name != "channels_last"}
        return self._replace(node, "Conv", parts, (y_scale, y_zero), attributes)

    def _add(self, node: ir.Node) -> bool:
        a, b, y = (node.inputs[i : i + 3] for i in (0, 3, 6))
        return self._replace(node, "Add", [self._read(x, scaling) for x, *scaling in (a, b)], y)

    def _concat(self, node: ir.Node) -> bool:
        triples = [node.inputs[i : i + 3] for i in range(2, len(node.inputs), 3)]
        parts = [self._read(x, scaling) for x, *scaling in triples]
        return self._replace(node, "Concat", parts, node.inputs[:2], {"axis": 1})

    def _max_pool(self, node: ir.Node) -> bool:
        moved = self._moved_input(node)
        if moved is None:
            return False
        return self._replace(node, "MaxPool", [self._dequantize(moved)], moved.scaling, node.attributes)

    def _global_mean(self, node: ir.Node) -> bool:
        x, x_scale, x_zero, *y = node.inputs
        return self._replace(node, "GlobalAveragePool", [self._read(x, (x_scale, x_zero))], y)

    def _limit(self, node: ir.Node) -> bool:
        """Limits integers, whose order of dimensions does not matter."""
        moved = self._moved_input(node)
        if moved is None:
            return False
        value = self._builder.add_node(node.op_type, [moved.value, node.inputs[1]], replaces=node)
        self._moved[node.outputs[0]] = _Quantized(value, moved.scaling)
        return True

    def _rows(self, node: ir.Node) -> bool:
        """Means over the map as rows (N, C): one pixel has its channels in the same order."""
        moved = self._moved_input(node)
        quantize = None if moved is None else producer_of(moved.value, "QuantizeLinear")
        if moved is None or quantize is None or not producer_of(quantize.inputs[0], "GlobalAveragePool"):
            return False
        parts = [self._dequantize(moved), node.inputs[1]]
        return self._replace(node, "Reshape", parts, moved.scaling)

    def _dense(self, node: ir.Node) -> bool:
        """A matrix product; Sum adds the bias.

        onnxruntime would rather join Gemm with an activation that follows, and compute both in float32, and
        of MatMul and Add it makes Gemm.
        """
        x, weight, x_scale, scales, x_zero, _, *bias = node.inputs
        numbers = constant(scales)
        if x is None or numbers is None:
            return False
        moved = self._moved.get(x, _Quantized(x, (x_scale, x_zero)))
        zeros = self._builder.add_weight(f"{node.name}_zeros", np.zeros(numbers.shape, np.int8))
        parts = [self._dequantize(moved), self._weight([weight, scales, zeros], axis=1)]
        value = self._builder.add_node("MatMul", parts, replaces=node)
        value = self._builder.add_node("Sum", [value, *bias]) if bias else value
        value.type, value.shape = node.outputs[0].type, node.outputs[0].shape
        return replace_uses(node.outputs[0], value)

    def _transpose(self, node: ir.Node) -> bool:
        order, x, y = tuple(node.attributes.get_ints("perm", [])), node.inputs[0], node.outputs[0]
        quantize = producer_of(x, "QuantizeLinear")
        if order == CHANNELS_LAST and quantize is not None and x is not None:
            self._moved[y] = _Quantized(x, tuple(quantize.inputs[1:]))
            return True
        moved = self._moved_input(node)
        if order != CHANNELS_FIRST or moved is None:
            return False
        return replace_uses(y, moved.value)

    def _dequantize_linear(self, node: ir.Node) -> bool:
        x, y, moved = node.inputs[0], node.outputs[0], self._moved_input(node)
        if moved is not None:
            self._moved[y] = _Quantized(self._dequantize(moved))
            return True
        if x in self._floats:
            return replace_uses(y, self._floats[x])
        if x is not None:
            self._floats[x] = y
        return False

    def _mean(self, node: ir.Node) -> bool:
        moved, axes = self._moved_input(node), constant(node.inputs[1])
        if moved is None or axes is None or axes.tolist() != [1, 2]:
            return False
        inputs = [moved.value, self._builder.add_weight("spatial", np.array([2, 3], np.int64))]
        value = self._builder.add_node("ReduceMean", inputs, node.attributes, replaces=node)
        value.type, value.shape = node.outputs[0].type, node.outputs[0].shape
        return replace_uses(node.outputs[0], value)

    def _moved_input(self, node: ir.Node) -> _Quantized | None:
        value = node.inputs[0]
        return None if value is None else self._moved.get(value)

    def _read(self, value: ir.Value | None, scaling: Values) -> ir.Value | None:
        """Floats (N, C, H, W) of integers (N, H, W, C)."""
        if value is not None and value not in self._moved:  # the image's bytes
            first = self._builder.add_node("Transpose", [value], {"perm": CHANNELS_FIRST})
            self._moved[value] = _Quantized(first, tuple(scaling))
        return None if value is None else self._dequantize(self._moved[value])

    def _dequantize(self, quantized: _Quantized) -> ir.Value:
        """Floats of integers: one DequantizeLinear for all that read them."""
        if quantized.value not in self._floats:
            floats = self._builder.add_node("DequantizeLinear", [quantized.value, *quantized.scaling])
            floats.type = ir.TensorType(ir.DataType.FLOAT)
            self._floats[quantized.value] = floats
        return self._floats[quantized.value]

    def _weight(self, inputs: Values, *, axis: int) -> ir.Value:
        """Floats of constant integers with a scale for each index along an axis."""
        return self._builder.add_node("DequantizeLinear", inputs, {"axis": axis})

    def _steps(self, node: ir.Node, x_scale: ir.Value | None, scales: ir.Value | None) -> ir.Value:
        """The steps of a bias: the scale of the input times those of the weights."""
        steps = np.float64(constant(x_scale)) * np.float64(constant(scales))
        return self._builder.add_weight(f"{node.name}_steps", np.asarray(steps, np.float32))

    def _replace(
        self,
        node: ir.Node,
        operator: str,
        parts: Values,
        scaling: Values,
        attributes: Mapping[str, Any] | None = None,
    ) -> bool:
        """Replaces a node by a standard operator on floats, whose output is quantized."""
        floats = self._builder.add_node(operator, parts, attributes, replaces=node)
        integers = self._builder.add_node("QuantizeLinear", [floats, *scaling])
        self._moved[node.outputs[0]] = _Quantized(integers, tuple(scaling))
        return True
