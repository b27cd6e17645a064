"""`GraphBuilder`: inserts the nodes of a quantized graph next to those that they replace."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from cnntk.quantization.ranges import Scaling

__all__ = ["MICROSOFT", "GraphBuilder", "QuantizedValue"]

CHANNELS_LAST, CHANNELS_FIRST = (0, 2, 3, 1), (0, 3, 1, 2)
"""Permutations from (N, C, H, W) to (N, H, W, C), and back."""

MICROSOFT = "com.microsoft"
"""Domain of onnxruntime's own operators."""


@dataclass(frozen=True)
class QuantizedValue:
    """A value of the graph as uint8.

    Attributes:
        value: The integers, uint8 (N, H, W, C).
        scaling: Their scale and zero point.
    """

    value: ir.Value
    scaling: Scaling


class GraphBuilder:
    """Inserts nodes before or after a node of a graph.

    Args:
        model: Model that is changed in place.
    """

    def __init__(self, model: ir.Model) -> None:
        graph = model.graph
        self._model = model
        self._anchor: ir.Node | None = None
        self._after = False
        self._used_names = {str(v.name) for n in graph for v in n.outputs} | {str(n.name) for n in graph}
        self._used_names |= {str(v.name) for v in graph.inputs} | set(graph.initializers)
        graph.opset_imports.setdefault(MICROSOFT, 1)

    def insert_at(self, node: ir.Node, *, after: bool = False) -> None:
        """Inserts the next nodes before ``node``, or after it."""
        self._anchor, self._after = node, after

    def add_node(
        self,
        operator: str,
        inputs: Sequence[ir.Value | None],
        attributes: Mapping[str, Any] | None = None,
        *,
        domain: str = "",
        replaces: ir.Node | None = None,
    ) -> ir.Value:
        """Adds a node and returns its only output.

        Args:
            operator: Operator of the node.
            inputs: Inputs, which precede it in the graph.
            attributes: Attributes by name.
            domain: Domain of the operator.
            replaces: Node whose name and torch metadata the new one takes over.
        """
        if self._anchor is None:
            raise ValueError("no node to insert at; call insert_at first")
        node = ir.node(operator, list(inputs), dict(attributes or {}), domain=domain)
        node.name = self._unused(f"{self._anchor.name or self._anchor.op_type}/{operator}")
        if replaces is not None:
            node.metadata_props.update(replaces.metadata_props)
            name, replaces.name = replaces.name, None
            node.name = name or node.name
        node.outputs[0].name = self._unused(f"{node.name}_{operator}")
        if self._after:
            self._model.graph.insert_after(self._anchor, node)
            self._anchor = node
        else:
            self._model.graph.insert_before(self._anchor, node)
        return node.outputs[0]

    def dequantize(self, quantized: QuantizedValue) -> ir.Value:
        """Adds the conversion of a value to float32, in the same order of dimensions."""
        value = self.add_node("DequantizeLinear", self.inputs_of(quantized))
        value.type = ir.TensorType(ir.DataType.FLOAT)
        return value

    def convert(self, quantized: QuantizedValue) -> ir.Value:
        """Adds the same conversion in plain arithmetic, ``(q - zero point) * scale``.

        onnxruntime computes a linear layer between DequantizeLinear and QuantizeLinear in integers, with
        weights that it rounds itself, to one scale for all channels.
        """
        scaling = quantized.scaling
        value = self.add_node("Cast", [quantized.value], {"to": int(ir.DataType.FLOAT)})
        if scaling.zero_point:
            zero_point = self.add_weight("float_zero_point", np.array(scaling.zero_point, np.float32))
            value = self.add_node("Sub", [value, zero_point])
        value = self.add_node("Mul", [value, self.add_weight("scale", np.array(scaling.scale, np.float32))])
        value.type = ir.TensorType(ir.DataType.FLOAT)
        return value

    def inputs_of(self, quantized: QuantizedValue) -> list[ir.Value]:
        """A value with its scale and zero point, as onnxruntime's operators read them."""
        return [quantized.value, *self.scaling(quantized.scaling)]

    def scaling(self, scaling: Scaling) -> list[ir.Value]:
        """Adds a scale and a zero point as constants without dimensions."""
        scale = self.add_weight("scale", np.array(scaling.scale, np.float32))
        return [scale, self.zero_point(scaling.zero_point)]

    def zero_point(self, integer: int) -> ir.Value:
        """Adds a uint8 constant without dimensions."""
        return self.add_weight("zero_point", np.array(integer, np.uint8))

    def add_weight(self, name: str, array: NDArray[Any]) -> ir.Value:
        """Adds a constant to the graph; ``name`` gets a number if it is in use."""
        tensor = ir.Tensor(np.array(array, order="C"), name=self._unused(name))
        value = ir.Value(
            name=tensor.name, shape=tensor.shape, type=ir.TensorType(tensor.dtype), const_value=tensor
        )
        self._model.graph.register_initializer(value)
        return value

    def _unused(self, name: str) -> str:
        numbered = (f"{name}_{i}" for i in itertools.count(1))
        unused = next(n for n in itertools.chain([name], numbered) if n not in self._used_names)
        self._used_names.add(unused)
        return unused
