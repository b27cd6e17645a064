"""A float16 graph in float32, with its weights as they are."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

__all__ = ["to_float32"]

_FLOAT16, _FLOAT32 = ir.DataType.FLOAT16, ir.DataType.FLOAT


def to_float32(model: ir.Model) -> ir.Model:
    """A copy of ``model`` in which every float16 is a float32."""
    wide = model.clone()
    for weight in wide.graph.initializers.values():
        if weight.const_value is not None and weight.const_value.dtype is _FLOAT16:
            weight.const_value = ir.tensor(weight.const_value.numpy().astype(np.float32), name=weight.name)
    for value in (*wide.graph.inputs, *wide.graph.initializers.values()):
        _widen(value)
    bodies: list[ir.Graph | ir.Function] = [wide.graph, *wide.functions.values()]
    for node in (n for body in bodies for n in ir.traversal.RecursiveGraphIterator(body)):
        for name, attribute in tuple(node.attributes.items()):
            is_int = attribute.type is ir.AttributeType.INT
            if is_int and name in ("to", "dtype") and attribute.value == _FLOAT16:
                node.attributes[name] = ir.AttrInt64(name, int(_FLOAT32))
            elif attribute.type is ir.AttributeType.TENSOR and attribute.as_tensor().dtype is _FLOAT16:
                tensor = ir.tensor(attribute.as_tensor().numpy().astype(np.float32))
                node.attributes[name] = ir.AttrTensor(name, tensor)
        for value in node.outputs:
            _widen(value)
    return wide


def _widen(value: ir.Value) -> None:
    if value.dtype is _FLOAT16:
        value.type = ir.TensorType(_FLOAT32)
