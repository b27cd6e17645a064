"""Attributes of float64 networks in float64: an ONNX file stores attributes in float32.

A BatchNorm's epsilon of 1e-5 becomes 9.9999997e-6, and a LeakyReLU's slope is off in the eighth digit: no
difference in float32, but a million steps of float64. Such a number is moved to a weight::

    BatchNormalization(x, var; e32)  =  BatchNormalization(x, var + (e - e32); e32)
    LeakyRelu(x; a32)                =  PRelu(x, a)

In memory an attribute still has torch's value, so this is done before the graph is written or run. For other
operators the parity check fails.
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from cnntk.exporters.passes.graph import add_weight, constant, remove_unused, replace_node
from cnntk.exporters.passes.origins import Origin, origin_of


def widen_attributes(model: ir.Model) -> None:
    """Moves the attributes of a graph's float64 operators to weights; ``model`` is changed in place."""
    for node in tuple(model.graph):
        if node.domain or node.outputs[0].dtype is not ir.DataType.DOUBLE:
            continue
        if node.op_type == "BatchNormalization":
            _widen_epsilon(model, node)
        elif node.op_type == "LeakyRelu":
            _widen_slope(model, node)


def _widen_epsilon(model: ir.Model, node: ir.Node) -> None:
    epsilon, value = node.attributes.get_float("epsilon", 1e-5), node.inputs[4]
    rounded = float(np.float32(epsilon))
    variance = constant(value)
    if value is None or variance is None or rounded == epsilon:
        return
    origin = Origin("exact epsilon", inputs=(origin_of(value),), attributes={"epsilon": epsilon})
    new = variance + (epsilon - rounded)
    exact = add_weight(model, f"{value.name}_exact", new, ir.DataType.DOUBLE, origin)
    node.replace_input_with(4, exact)
    node.attributes["epsilon"] = ir.AttrFloat32("epsilon", rounded)
    remove_unused(model, value)


def _widen_slope(model: ir.Model, node: ir.Node) -> None:
    old, slope = node.outputs[0], np.array([node.attributes.get_float("alpha", 0.01)])
    origin = Origin("number", str(old.name), attributes={"value": float(slope[0])})
    weight = add_weight(model, f"{old.name}_slope", slope, ir.DataType.DOUBLE, origin)
    replace_node(old, "PRelu", [node.inputs[0], weight])
    remove_unused(model, old)
