"""Quantization config: the precision of each layer, as it is searched for and written into the file."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal, get_args

import numpy as np
import onnx_ir as ir

from cnntk.exporters.passes.graph import constant, dimensions, only_user
from cnntk.exporters.shapes.dataflow import weight_of
from cnntk.quantization.options import Format, Target
from cnntk.runtime.errors import UsageError

__all__ = [
    "PRECISIONS",
    "LayerPlan",
    "Precision",
    "QuantConfig",
    "bias_add",
    "default_config",
    "dense_weights",
    "groups_of",
    "has_explicit_pads",
    "is_depthwise",
    "linear_layers",
    "reads_integers",
    "rows_per_image",
]

Precision = Literal["float32", "float16", "bfloat16", "int8", "int4"]

PRECISIONS: tuple[Precision, ...] = get_args(Precision)

_LARGE_DENSE = 1 << 17
"""Number of weights from which a fully connected layer takes as long as reading them."""

_MANY_ROWS = 8
"""Number of rows from which a fully connected layer takes as long as its products, not as reading weights."""

_INTEGER_DENSE = 1 << 15
"""Number of weights from which float products with 8-bit weights are slow."""

_MANY_PRODUCTS = 1 << 18
"""Number of products from which integers gain more time than the conversion of their input takes."""

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
        format: ``onnxruntime``: its own integer operators; ``portable``: standard operators, in 8 bits only.
        bias_correction: Whether biases compensate the mean shift that rounding the weights causes.
        equalized: Whether channels are scaled to similar ranges first.
    """

    layers: Mapping[str, LayerPlan]
    target: Target = "any"
    format: Format = "onnxruntime"
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
    def smallest_dense(self) -> Precision:
        """Precision with the fewest bits of a fully connected layer: 4 only in onnxruntime's operators."""
        return "int8" if self.format == "portable" else "int4"

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


def groups_of(node: ir.Node) -> int:
    """Number of groups of a convolution."""
    return node.attributes.get_int("group", 1)


def has_explicit_pads(node: ir.Node) -> bool:
    """Whether a convolution or pooling states its padding in numbers."""
    return node.attributes.get_string("auto_pad", "NOTSET") == "NOTSET"


def is_depthwise(node: ir.Node) -> bool:
    """Whether each channel of a convolution's output is computed from one channel of its own."""
    weight = weight_of(node)
    groups = groups_of(node)
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


def bias_add(node: ir.Node) -> tuple[ir.Node, ir.Value] | None:
    """The Add of a constant (N,), the only reader of a matrix product, and that constant."""
    add = only_user(node.outputs[0])
    if add is None or add.domain or add.op_type != "Add" or add.outputs[0].is_graph_output():
        return None
    bias = add.inputs[1 if add.inputs[0] is node.outputs[0] else 0]
    weight, numbers = weight_of(node), constant(bias)
    fits = numbers is not None and weight is not None and numbers.shape == (weight.shape[-1],)
    return (add, bias) if fits and bias is not None else None


def rows_per_image(node: ir.Node) -> int:
    """Number of rows that a fully connected layer multiplies for each image; 1 if it is unknown."""
    shape = dimensions(node.inputs[0])
    rows = shape[1:-1] if shape is not None else ()
    return math.prod(n for n in rows if isinstance(n, int)) if all(isinstance(n, int) for n in rows) else 1


def reads_integers(node: ir.Node) -> bool:
    """Whether products of a fully connected layer's int8 weights with its input in integers are no slower.

    With blocks of weights and floats for inputs, products in integers round the inputs, on some CPUs only.
    """
    weight = weight_of(node)
    large = weight is not None and weight.size >= _INTEGER_DENSE
    return node.op_type != "Conv" and (large or rows_per_image(node) >= _MANY_ROWS)


def default_config(model: ir.Model, target: Target = "any", format: Format = "onnxruntime") -> QuantConfig:
    """Config to try first: convolutions in int8, large fully connected layers in int4, the last one in int8.

    Those that multiply many rows for each image, like the tokens of a transformer, are in int8.

    Small fully connected layers stay in float32. Errors of the last layer go straight into the logits.
    """
    layers = linear_layers(model)
    plans = {str(n.name): _default_plan(n, last=n is layers[-1]) for n in layers}
    config = QuantConfig(plans, target, format)
    for name, plan in plans.items():
        if plan.precision == "int4" and config.smallest_dense != "int4":
            reason = f"{plan.reason}, but blocks of 4 bits need operators of onnxruntime"
            config = config.with_precision(name, config.smallest_dense, reason)
    return config


def _default_plan(node: ir.Node, *, last: bool) -> LayerPlan:
    weight = weight_of(node)
    size = 0 if weight is None else int(weight.size)
    if node.op_type == "Conv":
        return LayerPlan("int8", "a convolution")
    if (rows := rows_per_image(node)) >= _MANY_ROWS:
        small = rows * size < _MANY_PRODUCTS
        return LayerPlan("float32" if small else "int8", f"{rows * size} multiply-adds")
    if size < _LARGE_DENSE:
        return LayerPlan("float32", f"only {size} weights")
    if last or size < _FOUR_BIT_DENSE:
        return LayerPlan("int8", "the last layer" if last else f"{size} weights")
    return LayerPlan("int4", f"{size} weights: its time is that of reading them")
