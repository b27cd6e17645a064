"""Writes the nodes of a quantized graph, in front of the one that they stand for."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

__all__ = ["MICROSOFT", "Levels", "Tape"]

MICROSOFT = "com.microsoft"
"""onnxruntime's own operators."""


@dataclass(frozen=True)
class Levels:
    """A value as uint8: ``v = scale * (q - zero_point)``.

    Attributes:
        value: uint8, (N, H, W, C).
        scale: above 0.
        zero_point: the level of 0.
    """

    value: ir.Value
    scale: float
    zero_point: int


class Tape:
    """Writes nodes beside a node of a graph.

    Args:
        model: changed in place.
    """

    def __init__(self, model: ir.Model) -> None:
        graph = model.graph
        self._model = model
        self._place: ir.Node | None = None
        self._behind = False
        self._taken = {str(v.name) for n in graph for v in n.outputs} | {str(n.name) for n in graph}
        self._taken |= {str(v.name) for v in graph.inputs} | set(graph.initializers)
        graph.opset_imports.setdefault(MICROSOFT, 1)

    def move(self, place: ir.Node, *, behind: bool = False) -> None:
        """Goes on writing before ``place``, or behind it."""
        self._place, self._behind = place, behind

    def put(
        self,
        operator: str,
        inputs: Sequence[ir.Value | None],
        attributes: Mapping[str, Any] | None = None,
        *,
        domain: str = "",
        like: ir.Node | None = None,
    ) -> ir.Value:
        """A node's only output.

        Args:
            operator: of the node.
            inputs: all made before.
            attributes: of the node.
            domain: of the operator.
            like: the node that it stands for, whose name and torch notes it takes over.
        """
        if self._place is None:
            raise ValueError("there is no node to write beside; move there first")
        node = ir.node(operator, list(inputs), dict(attributes or {}), domain=domain)
        node.name = self._free(f"{self._place.name or self._place.op_type}/{operator}")
        if like is not None:
            node.metadata_props.update(like.metadata_props)
            name, like.name = like.name, None
            node.name = name or node.name
        node.outputs[0].name = self._free(f"{node.name}_{operator}")
        if self._behind:
            self._model.graph.insert_after(self._place, node)
            self._place = node
        else:
            self._model.graph.insert_before(self._place, node)
        return node.outputs[0]

    def dequantized(self, levels: Levels) -> ir.Value:
        """float32, in the order of the levels."""
        value = self.put(
            "DequantizeLinear", [levels.value, self.number(levels.scale), self.byte(levels.zero_point)]
        )
        value.type = ir.TensorType(ir.DataType.FLOAT)
        return value

    def weight(self, name: str, array: NDArray[Any]) -> ir.Value:
        """A weight of the graph."""
        tensor = ir.Tensor(np.array(array, order="C"), name=self._free(name))
        value = ir.Value(
            name=tensor.name, shape=tensor.shape, type=ir.TensorType(tensor.dtype), const_value=tensor
        )
        self._model.graph.register_initializer(value)
        return value

    def number(self, value: float) -> ir.Value:
        """A float32 without dimensions."""
        return self.weight("scale", np.array(value, np.float32))

    def byte(self, value: int) -> ir.Value:
        """A uint8 without dimensions."""
        return self.weight("zero_point", np.array(value, np.uint8))

    def _free(self, name: str) -> str:
        numbered = (f"{name}_{i}" for i in itertools.count(1))
        free = next(n for n in itertools.chain([name], numbered) if n not in self._taken)
        self._taken.add(free)
        return free
