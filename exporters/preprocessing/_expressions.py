"""Subgraphs written as arithmetic: ``(a + b) * 2`` adds two nodes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from cnntk.exporters.preprocessing._node_builder import FLOAT, INT64

DOUBLE = ir.DataType.DOUBLE


class Nodes:
    """Nodes of a subgraph, whose names begin with ``scope``."""

    def __init__(self, scope: str) -> None:
        self._scope = scope
        self._nodes: list[ir.Node] = []
        self._constants: dict[tuple[Any, ...], ir.Value] = {}

    def add(
        self,
        operator: str,
        *inputs: Expression | ir.Value,
        dtype: ir.DataType | None = None,
        **attributes: Any,
    ) -> Expression:
        """Adds a node; its type is by default that of the first input."""
        return self.add_several(operator, *inputs, count=1, dtype=dtype, **attributes)[0]

    def add_several(
        self,
        operator: str,
        *inputs: Expression | ir.Value,
        count: int,
        dtype: ir.DataType | None = None,
        **attributes: Any,
    ) -> list[Expression]:
        """Adds a node of ``count`` outputs."""
        values = [x.value if isinstance(x, Expression) else x for x in inputs]
        node = ir.node(operator, values, attributes, num_outputs=count)
        node.name = f"{self._scope}/{operator}_{len(self._nodes)}"
        for i, output in enumerate(node.outputs):
            output.name = f"{node.name}.{i}" if count > 1 else node.name
            output.type = ir.TensorType(dtype or values[0].dtype or FLOAT)
        self._nodes.append(node)
        return [Expression(self, output) for output in node.outputs]

    def constant(self, numbers: float | Sequence[int] | NDArray[Any], dtype: ir.DataType) -> Expression:
        """Adds a weight, once for equal numbers."""
        array = np.array(numbers, dtype.numpy())
        key = (array.tobytes(), array.shape, dtype)
        if key not in self._constants:
            name = f"{self._scope}/constant_{len(self._constants)}"
            tensor = ir.tensor(array, name=name)
            self._constants[key] = ir.Value(
                name=name, shape=ir.Shape(array.shape), type=ir.TensorType(dtype), const_value=tensor
            )
        return Expression(self, self._constants[key])

    def int64(self, numbers: int | Sequence[int] | NDArray[np.int64]) -> Expression:
        """Adds an int64 weight."""
        return self.constant(numbers, INT64)

    def loop(
        self,
        inputs: Sequence[Expression],
        build: Callable[[Nodes, Sequence[Expression]], Expression],
        name: str,
    ) -> Expression:
        """Adds a Loop over the first axis of the inputs; ``build`` adds the nodes of one step.

        Not a Scan, whose steps in OpenVINO 2026.4 cannot read values of the outer graph. It does not read a
        Loop whose body returns an input either: Identity makes another value of it.
        """
        body = Nodes(f"{self._scope}/{name}")
        types = {"step": INT64, "more": ir.DataType.BOOL}
        step, more = (
            ir.Value(name=f"{body._scope}/{key}", type=ir.TensorType(dtype), shape=ir.Shape(()))
            for key, dtype in types.items()
        )
        output = build(body, [body.use(x).gather(body.use(step), 0) for x in inputs])
        graph = body.graph([body.add("Identity", more), output], body._scope, [step, more])
        count = self.add("Shape", inputs[0], start=0, end=1, dtype=INT64).reshape()
        always = self.constant(True, ir.DataType.BOOL)
        return self.add("Loop", count, always, dtype=output.dtype, body=graph)

    def use(self, other: Expression | ir.Value) -> Expression:
        """A value of an outer graph, for nodes of this one."""
        return Expression(self, other.value if isinstance(other, Expression) else other)

    def graph(self, outputs: Sequence[Expression], name: str, inputs: Sequence[ir.Value] = ()) -> ir.Graph:
        """The subgraph that returns ``outputs``."""
        constants = list(self._constants.values())
        return ir.Graph(
            inputs, [x.value for x in outputs], nodes=self._nodes, initializers=constants, name=name
        )


@dataclass(frozen=True)
class Expression:
    """A value of a subgraph, with numpy's operators, which add nodes; numbers get the type of the value."""

    nodes: Nodes
    value: ir.Value

    def _binary(self, operator: str, other: Expression | float) -> Expression:
        return self.nodes.add(operator, self, self._like(other))

    def _like(self, other: Expression | float) -> Expression:
        return other if isinstance(other, Expression) else self.nodes.constant(other, self.dtype)

    @property
    def dtype(self) -> ir.DataType:
        """Type of the value."""
        return self.value.dtype or FLOAT

    def __add__(self, other: Expression | float) -> Expression:
        return self._binary("Add", other)

    def __sub__(self, other: Expression | float) -> Expression:
        return self._binary("Sub", other)

    def __mul__(self, other: Expression | float) -> Expression:
        return self._binary("Mul", other)

    def __truediv__(self, other: Expression | float) -> Expression:
        """The quotient; of integers, without its fraction."""
        return self._binary("Div", other)

    def __rsub__(self, other: float) -> Expression:
        return self._like(other) - self

    def __lt__(self, other: Expression | float) -> Expression:
        return self.nodes.add("Less", self, self._like(other), dtype=ir.DataType.BOOL)

    def max(self, other: Expression | float) -> Expression:
        """The larger of two values."""
        return self._binary("Max", other)

    def min(self, other: Expression | float) -> Expression:
        """The smaller of two values."""
        return self._binary("Min", other)

    def cast(self, dtype: ir.DataType) -> Expression:
        """The value as another type."""
        return self if self.dtype == dtype else self.nodes.add("Cast", self, dtype=dtype, to=int(dtype))

    def slice(self, start: int | Expression, end: int | Expression, axes: Sequence[int]) -> Expression:
        """A part of the value, from ``start`` to ``end``, which have one number an axis."""
        ends = [x if isinstance(x, Expression) else self.nodes.int64([x]) for x in (start, end)]
        return self.nodes.add("Slice", self, *ends, self.nodes.int64(axes))

    def gather(self, indices: Expression, axis: int) -> Expression:
        """The elements of these indices."""
        return self.nodes.add("Gather", self, indices, axis=axis)

    def reshape(self, *sizes: int | Expression) -> Expression:
        """The value with another shape; 0 keeps a size, -1 is what is left."""
        if all(isinstance(size, int) for size in sizes):
            shape = self.nodes.int64([size for size in sizes if isinstance(size, int)])
        else:
            parts = [size if isinstance(size, Expression) else self.nodes.int64([size]) for size in sizes]
            shape = self.nodes.add("Concat", *parts, axis=0)
        return self.nodes.add("Reshape", self, shape)
