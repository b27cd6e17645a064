"""Adds nodes before the first node of a graph, one after the other."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from cnntk.exporters.passes.graph import add_weight, fresh_name
from cnntk.exporters.passes.origins import Origin

FLOAT, INT64, UINT8 = ir.DataType.FLOAT, ir.DataType.INT64, ir.DataType.UINT8

Dims = tuple[int | str, ...]


class NodeBuilder:
    """Adds nodes before the first node of ``model``, with names that begin with ``scope``."""

    def __init__(self, model: ir.Model, scope: str) -> None:
        self.model = model
        self.nodes: list[ir.Node] = []
        self._scope = scope
        self._first = next(iter(model.graph), None)

    def add(
        self,
        operator: str,
        inputs: Sequence[ir.Value | None],
        attributes: Mapping[str, Any] | None = None,
        *,
        name: str,
        dtype: ir.DataType | None = None,
        shape: Dims | None = None,
    ) -> ir.Value:
        """Adds a node and returns its only output; ``name`` is made unique.

        Its type and shape are by default those of the first input.
        """
        node = ir.node(operator, list(inputs), dict(attributes or {}))
        value, like = node.outputs[0], inputs[0]
        node.name = value.name = fresh_name(self.model.graph, f"{self._scope}/{name}")
        if like is not None and like.shape is not None:
            value.type, value.shape = like.type, like.shape.copy()
        if dtype is not None:
            value.type = ir.TensorType(dtype)
        if shape is not None:
            value.shape = ir.Shape(shape)
        if self._first is None:
            self.model.graph.append(node)
        else:
            self.model.graph.insert_before(self._first, node)
        self.nodes.append(node)
        return value

    def constant(
        self, name: str, numbers: float | Sequence[float] | NDArray[Any], dtype: ir.DataType
    ) -> ir.Value:
        """Adds a weight; a single number has no dimensions, with which onnxruntime computes faster."""
        origin = Origin("preprocessing", f"{self._scope}/{name}")
        return add_weight(self.model, origin.name, np.array(numbers), dtype, origin)


@dataclass(frozen=True)
class ImageValue:
    """A batch of images in the graph, NHWC or NCHW.

    Attributes:
        value: Pixel values, uint8 or float32.
        dims: Shape of the value, with a name for each dimension that the graph computes.
        sizes: Height and width that the graph computes, int64 [2]; None where ``dims`` has them as numbers.
        axes: Axes of height and width: (1, 2), or (2, 3) in NCHW.
    """

    value: ir.Value
    dims: Dims
    sizes: ir.Value | None = None
    axes: tuple[int, int] = (1, 2)

    @property
    def dtype(self) -> ir.DataType:
        """Type of the pixel values."""
        return self.value.dtype or UINT8

    @property
    def channels(self) -> int | str:
        """1, 3, or a name where both are allowed."""
        return self.dims[3 if self.axes == (1, 2) else 1]

    def with_size(self, height: int | str, width: int | str) -> Dims:
        """Returns the shape with another height and width."""
        before, after = self.dims[: self.axes[0]], self.dims[self.axes[1] + 1 :]
        return (*before, height, width, *after)

    def with_value(self, value: ir.Value) -> ImageValue:
        """Returns the same shape with another value."""
        return replace(self, value=value)


def as_float(builder: NodeBuilder, image: ImageValue) -> ImageValue:
    """Returns the same pixel values in float32."""
    if image.dtype == FLOAT:
        return image
    return image.with_value(builder.add("Cast", [image.value], {"to": int(FLOAT)}, name="float", dtype=FLOAT))
