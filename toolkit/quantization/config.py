"""Quantization config: the precision of each layer, as it is searched for and written into the file."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal, get_args

import numpy as np
import onnx_ir as ir

from cnntk.exporters.passes.graph import constant
from cnntk.exporters.shapes.dataflow import weight_of
from cnntk.quantization.options import Target
from cnntk.runtime.errors import UsageError

__all__ = [
    "PRECISIONS",
    "LayerPlan",
    "Precision",
    "QuantConfig",
    "default_config",
    "dense_weights",
    "is_depthwise",
    "linear_layers",
]

Precision = Literal["float32", "float16", "bfloat16", "int8", "int4"]

PRECISIONS: tuple[Precision, ...] = get_args(Precision)

_LARGE_DENSE = 1 << 17
"""Number of weights from which a fully connected layer takes as long as reading them."""

_FOUR_BIT_DENSE = 1 << 20
"""Number of weights from which 4 bits gain enough speed for what they cost in accuracy."""


@dataclass(frozen=True)
class LayerPlan:
    """Precision of one layer.

    Attributes:
        precision: ``int8``: a convolution in 8-bit integers, or a fully connected layer with 8-bit weights;
            ``int4``: a fully connected layer with 4-bit weights in blocks; ``float16`` and ``bfloat16``:
            16-bit weights that become float32 when the model is loaded; ``float32``: unchanged.
        reason: Why this precision was selected, as text for the user.
    """

    precision: Precision
    reason: str = ""


@dataclass(frozen=True)
class QuantConfig:
    """Precision of each linear layer, and what is done to reduce the error.

    Attributes:
        layers: Plans by node name, in the order of the graph.
        target: ``any``: no 16-bit sum can saturate, so that every CPU computes the same; ``vnni``: all 8 bits
            of the weights are used, which CPUs without VNNI compute wrongly.
        bias_correction: Whether biases compensate the mean shift that rounding the weights causes.
        equalized: Whether channels are scaled to similar ranges first.
    """

    layers: Mapping[str, LayerPlan]
    target: Target = "any"
    bias_correction: bool = False
    equalized: bool = False

    def with_precision(self, name: str, precision: Precision, reason: str) -> QuantConfig:
        """The config with one layer changed.

        Raises:
            UsageError: The layer or the precision does not exist.
        """
        if name not in self.layers or precision not in PRECISIONS:
            raise UsageError(
                f"layer {name!r} as {precision!r}: expected one of {', '.join(self.layers)}, as {PRECISIONS}"
            )
        return replace(self, layers={**self.layers, name: LayerPlan(precision, reason)})

    @property
    def reduced(self) -> tuple[str, ...]:
        """Names of the layers that are not in float32."""
        return tuple(name for name, plan in self.layers.items() if plan.precision != "float32")

    @property
    def is_float(self) -> bool:
        """Whether all layers stay in float32."""
        return not self.reduced

    def all_float(self) -> QuantConfig:
        """The config with all layers in float32; layers that already are keep their reason."""
        config = self
        for name in self.reduced:
            config = config.with_precision(name, "float32", "")
        return config


def linear_layers(model: ir.Model) -> tuple[ir.Node, ...]:
    """Convolutions and fully connected layers with constant weights, in the order of the graph."""
    return tuple(
        node
        for node in model.graph
        if not node.domain
        and node.op_type in ("Conv", "Gemm", "MatMul")
        and weight_of(node) is not None
        and node.name
    )


def is_depthwise(node: ir.Node) -> bool:
    """Whether each channel of a convolution's output is computed from one channel of its own."""
    weight = weight_of(node)
    groups = node.attributes.get_int("group", 1)
    return weight is not None and groups > 1 and weight.shape[1] == 1 and weight.shape[0] == groups


def dense_weights(node: ir.Node) -> tuple[Any, ir.Value | None] | None:
    """Weights (N, K) and bias of a fully connected layer; None if it computes more than that."""
    weight = weight_of(node)
    if weight is None or len(weight.shape) != 2:
        return None
    numbers = weight.numpy().astype(np.float64)
    if node.op_type == "MatMul":
        return numbers.T, None
    attributes = node.attributes
    factors = attributes.get_float("alpha", 1.0), attributes.get_float("beta", 1.0)
    if attributes.get_int("transA", 0) != 0 or factors != (1.0, 1.0):
        return None
    bias = node.inputs[2] if len(node.inputs) > 2 else None
    numbers_of_bias = constant(bias)
    if bias is not None and (numbers_of_bias is None or numbers_of_bias.ndim != 1):
        return None
    return (numbers if attributes.get_int("transB", 0) != 0 else numbers.T), bias


def default_config(model: ir.Model, target: Target = "any") -> QuantConfig:
    """Config to try first: convolutions in int8, large fully connected layers in int4, the last one in int8.

    Small fully connected layers stay in float32. Errors of the last layer go straight into the logits.
    """
    layers = linear_layers(model)
    return QuantConfig({str(n.name): _default_plan(n, last=n is layers[-1]) for n in layers}, target)


def _default_plan(node: ir.Node, *, last: bool) -> LayerPlan:
    weight = weight_of(node)
    size = 0 if weight is None else int(weight.size)
    if node.op_type == "Conv":
        return LayerPlan("int8", "a convolution")
    if size < _LARGE_DENSE:
        return LayerPlan("float32", f"only {size} weights")
    if last or size < _FOUR_BIT_DENSE:
        return LayerPlan("int8", "the last layer" if last else f"{size} weights")
    return LayerPlan("int4", f"{size} weights: its time is that of reading them")
