"""`integer_layer`: the parts of a layer in integers, whichever operators a quantized graph states it in."""

from __future__ import annotations

from dataclasses import dataclass

import onnx_ir as ir

from cnntk.exporters.passes.graph import constant, only_user, producer_of

__all__ = ["IntegerLayer", "integer_layer"]


@dataclass(frozen=True)
class IntegerLayer:
    """A convolution or fully connected layer that multiplies integers.

    Attributes:
        is_conv: Whether it is a convolution, whose weights are (M, C / groups, h, w); otherwise (K, N).
        x: Input, uint8.
        x_scale: Scale of the input.
        x_zero_point: Zero point of the input.
        weight: Weights, int8.
        scales: Scales of the weights, one for each output channel.
        bias: Bias, int32 in steps of ``x_scale * scales``, or float32; None without one.
    """

    is_conv: bool
    x: ir.Value | None
    x_scale: ir.Value | None
    x_zero_point: ir.Value | None
    weight: ir.Value | None
    scales: ir.Value | None
    bias: ir.Value | None


_ORDERS = {"QLinearConv": (0, 1, 2, 3, 4, 8), "MatMulIntegerToFloat": (0, 2, 4, 1, 3, 6)}
"""Where onnxruntime's operators have the fields of `IntegerLayer`, from ``x`` on."""


def integer_layer(node: ir.Node) -> IntegerLayer | None:
    """The layer that a node computes in integers, in onnxruntime's or in standard operators."""
    if (order := _ORDERS.get(node.op_type)) is not None:
        parts = (node.inputs[i] if i < len(node.inputs) else None for i in order)
        return IntegerLayer(node.op_type == "QLinearConv", *parts)
    if node.domain or node.op_type not in ("Conv", "Gemm", "MatMul"):
        return None
    parts = [producer_of(value, "DequantizeLinear") for value in node.inputs[:2]]
    x, weight = (() if part is None else part.inputs for part in parts)
    if len(x) < 3 or len(weight) < 2 or constant(weight[0]) is None:
        return None
    return IntegerLayer(node.op_type == "Conv", x[0], x[1], x[2], weight[0], weight[1], _bias(node))


def _bias(node: ir.Node) -> ir.Value | None:
    """Bias of a layer in standard operators; that of a MatMul is added behind it, in float32."""
    if node.op_type == "MatMul":
        add = only_user(node.outputs[0])
        is_bias = add is not None and add.op_type == "Add" and constant(add.inputs[1]) is not None
        return add.inputs[1] if add is not None and is_bias else None
    value = node.inputs[2] if len(node.inputs) > 2 else None
    dequantized = producer_of(value, "DequantizeLinear")
    return value if dequantized is None else dequantized.inputs[0]
