"""`integer_layer`: the parts of a layer in integers, whichever operators a quantized graph states it in."""

from __future__ import annotations

from dataclasses import dataclass

import onnx_ir as ir

from cnntk.exporters.passes.graph import constant, only_user, producer_of

__all__ = ["WEIGHTS_AND_SCALES", "IntegerLayer", "integer_layer"]

WEIGHTS_AND_SCALES = {
    **dict.fromkeys(("QLinearConv", "QLinearMatMul", "QGemm"), (3, 4)),
    "MatMulIntegerToFloat": (1, 3),
    "DynamicQuantizeMatMul": (1, 2),
    "MatMulNBits": (1, 2),
    **dict.fromkeys(("ConvInteger", "MatMulInteger"), (1,)),
}
"""Inputs of onnxruntime's integer operators that are weights, and their scales."""


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
        bias: Bias: of a convolution int32 in steps of ``x_scale * scales``, else float32; None without one.
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
    if node.domain or node.op_type not in ("Conv", "MatMul"):
        return None
    x, weight = (producer_of(value, "DequantizeLinear") for value in node.inputs[:2])
    if x is None or len(x.inputs) < 3 or weight is None or constant(weight.inputs[0]) is None:
        return None
    x_scale, x_zero_point = x.inputs[1:3]
    return IntegerLayer(
        is_conv=node.op_type == "Conv",
        x=x.inputs[0],
        x_scale=x_scale,
        x_zero_point=x_zero_point,
        weight=weight.inputs[0],
        scales=weight.inputs[1],
        bias=_bias(node),
    )


def _bias(node: ir.Node) -> ir.Value | None:
    """Bias of a layer in standard operators: that of a MatMul is added behind it."""
    if node.op_type == "MatMul":
        add = only_user(node.outputs[0])
        return add.inputs[1] if add is not None and add.op_type == "Sum" else None
    bias = producer_of(node.inputs[2], "DequantizeLinear") if len(node.inputs) > 2 else None
    return None if bias is None else bias.inputs[0]
