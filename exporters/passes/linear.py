"""Linear layers with constant weights: Conv, ConvTranspose, Gemm and MatMul, and what can be moved into them.

With weights W and bias b, for a factor s and a shift t that differ by channel alone::

    s * (W x + b) + t   =  (s W) x + (s b + t)      s over W's output channels
    W (s * x + t) + b   =  (W s) x + (b + W t)      s over W's input channels

The second line's W t is a bias only where every output sees the whole kernel: not with padding, which puts
in zeros and not t, and not for ConvTranspose.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from cnntk.exporters.passes.graph import add_weight, constant, dimensions, put, sweep

__all__ = ["LINEAR", "Affine", "Layer", "explain", "explain_shared", "fed", "layer_at", "rebuild", "scaled"]

Array = NDArray[Any]

LINEAR = ("Conv", "ConvTranspose", "Gemm", "MatMul")


@dataclass(frozen=True)
class Affine:
    """``scale * x + shift``, each a number or one a channel, float64."""

    scale: Array
    shift: Array


@dataclass(frozen=True)
class Layer:
    """A linear layer.

    Attributes:
        node: Conv, ConvTranspose, Gemm or MatMul.
        weight: as the node has it; Gemm's ``alpha`` is still to be multiplied in.
        bias: one a channel, Gemm's ``beta`` in it; zeros where there is none.
        channels: of the output.
    """

    node: ir.Node
    weight: Array
    bias: Array
    channels: int

    @property
    def groups(self) -> int:
        """Of a convolution; 1 for all else."""
        return self.node.attributes.get_int("group", 1)

    @property
    def alpha(self) -> float:
        """Factor of Gemm's weights."""
        return self.node.attributes.get_float("alpha", 1.0)

    @property
    def output_axis(self) -> int:
        """Of the weight of Conv, Gemm and MatMul."""
        if self.node.op_type == "Conv":
            return 0
        return 0 if self.node.attributes.get_int("transB", 0) else 1

    @property
    def channel_axis(self) -> int:
        """Of the output's channels: 1, or the last for MatMul."""
        return -1 if self.node.op_type == "MatMul" else 1

    @property
    def is_padded(self) -> bool:
        """Whether zeros are put around the input."""
        pads = self.node.attributes.get_ints("pads", ())
        return any(pads) or self.node.attributes.get_string("auto_pad", "NOTSET") not in ("NOTSET", "VALID")


def layer_at(node: ir.Node | None) -> Layer | None:
    """The linear layer that a node is; None where it is none, or its weights are not constant."""
    if node is None or node.domain or node.op_type not in LINEAR or len(node.inputs) < 2:
        return None
    weight = constant(node.inputs[1])
    if weight is None or weight.ndim < 2 or (node.op_type in ("Gemm", "MatMul") and weight.ndim != 2):
        return None
    if node.op_type == "Gemm" and node.attributes.get_int("transA", 0) != 0:
        return None
    layer = Layer(node, weight, np.zeros(0), _channels(node, weight))
    bias = _bias(node, layer.channels)
    return None if bias is None else Layer(node, weight, bias, layer.channels)


def _channels(node: ir.Node, weight: Array) -> int:
    if node.op_type == "ConvTranspose":
        return int(weight.shape[1]) * node.attributes.get_int("group", 1)
    transposed = node.op_type == "Conv" or node.attributes.get_int("transB", 0) != 0
    return int(weight.shape[0 if transposed else 1])


def _bias(node: ir.Node, channels: int) -> Array | None:
    if len(node.inputs) < 3 or node.inputs[2] is None:
        return np.zeros(channels)
    bias = constant(node.inputs[2])
    if bias is None or bias.size not in (1, channels) or (bias.ndim > 1 and bias.shape[-1] != bias.size):
        return None
    beta = node.attributes.get_float("beta", 1.0)
    return np.broadcast_to(bias.astype(np.float64).reshape(-1) * beta, (channels,)).copy()


def explain_shared(layer: Layer) -> str | None:
    """Why a layer's weights can't be changed; None where they can."""
    weight = layer.node.inputs[1]
    if weight is not None and len(weight.uses()) > 1:
        return f"the weights {weight.name} are used elsewhere, too"
    return None


def explain(layer: Layer, affine: Affine, *, behind: bool) -> str | None:
    """Why something can't be moved into a layer; None where it can.

    Args:
        layer: to move it into.
        affine: what is to be moved.
        behind: whether it comes behind the layer.
    """
    shared = explain_shared(layer)
    if shared is not None:
        return shared
    if not (np.isfinite(affine.scale).all() and np.isfinite(affine.shift).all()):
        return "its scale or shift is not finite"
    if behind or not affine.shift.any():
        return None
    if layer.node.op_type == "ConvTranspose":
        return "a shift in front of a ConvTranspose is no bias behind it"
    return "the convolution pads with zeros, which the shift would not reach" if layer.is_padded else None


def scaled(layer: Layer, affine: Affine) -> tuple[Array, Array]:
    """Weights and bias of ``scale * layer(x) + shift``."""
    scale = np.broadcast_to(affine.scale, (layer.channels,))
    bias = scale * layer.bias + affine.shift
    if layer.node.op_type == "ConvTranspose":
        return _grouped(layer, scale, axis=2), bias
    shape = [1] * layer.weight.ndim
    shape[layer.output_axis] = -1
    return _times(layer.weight, scale.reshape(shape) * layer.alpha), bias


def fed(layer: Layer, affine: Affine) -> tuple[Array, Array]:
    """Weights and bias of ``layer(scale * x + shift)``."""
    if layer.node.op_type in ("Gemm", "MatMul"):
        inputs = layer.weight.shape[1 - layer.output_axis]
        scale, shift = (np.broadcast_to(v, (inputs,)) for v in (affine.scale, affine.shift))
        weight = layer.weight if layer.output_axis == 0 else layer.weight.T
        bias = layer.bias + layer.alpha * (weight.astype(np.float64) @ shift if shift.any() else 0.0)
        shape = (1, -1) if layer.output_axis == 0 else (-1, 1)
        return _times(layer.weight, scale.reshape(shape) * layer.alpha), bias
    transposed = layer.node.op_type == "ConvTranspose"
    inputs = layer.weight.shape[0] if transposed else layer.weight.shape[1] * layer.groups
    scale, shift = (np.broadcast_to(v, (inputs,)) for v in (affine.scale, affine.shift))
    if transposed:
        return _grouped(layer, scale, axis=1), layer.bias
    moved = _grouped(layer, shift, axis=2).astype(np.float64)
    return _grouped(layer, scale, axis=2), layer.bias + moved.reshape(layer.channels, -1).sum(axis=1)


def _grouped(layer: Layer, factor: Array, axis: int) -> Array:
    """A convolution's weights (groups, A / groups, B, k...), times a factor along axis 1 or 2."""
    groups, weight = layer.groups, layer.weight
    split = weight.reshape(groups, weight.shape[0] // groups, *weight.shape[1:])
    shape = [groups, 1, 1, *[1] * (weight.ndim - 2)]
    shape[axis] = -1
    return _times(split, factor.reshape(shape)).reshape(weight.shape)


def _times(weight: Array, factor: Array) -> Array:
    """In float64, rounded once; without a float64 copy of large float32 weights."""
    if weight.dtype != np.float32:
        return weight.astype(np.float64) * factor
    out = np.empty(weight.shape, np.float32)
    np.multiply(weight, factor, out=out, dtype=np.float64, casting="same_kind")
    return out


def rebuild(
    model: ir.Model,
    layer: Layer,
    weights: tuple[Array, Array],
    output: ir.Value,
    given: ir.Value | None,
    attributes: Mapping[str, Any] | None = None,
) -> ir.Value:
    """Puts a layer with new weights, under its own name, where ``output`` was made.

    Args:
        model: changed in place.
        layer: whose name, torch notes and attributes stay.
        weights: new ones, and the bias.
        output: last value of what is replaced.
        given: the new layer's input.
        attributes: of the new layer; by default the old ones.
    """
    node, graph = layer.node, model.graph
    dtype = node.inputs[1].dtype if node.inputs[1] is not None and node.inputs[1].dtype else ir.DataType.FLOAT
    names = [v.name if v is not None and v.name else None for v in node.inputs[1:3]]
    operator, bias = _operator(layer, weights[1], given)
    stem = names[0] or f"{node.name}.weight"
    new_weight = add_weight(model, stem, weights[0], dtype)
    inputs = [given, new_weight]
    if bias is not None:
        old = names[1] if len(names) > 1 else None
        inputs.append(add_weight(model, old or f"{stem.removesuffix('.weight')}.bias", bias, dtype))
    new = put(output, operator, inputs, attributes or _attributes(node), like=node)
    sweep(model, output)
    for value, name in zip(inputs[1:], names, strict=False):
        if value is not None and name and name not in graph.initializers and _free(model, name):
            value.name = name
    return new


def _free(model: ir.Model, name: str) -> bool:
    return all(v.name != name for node in model.graph for v in node.outputs)


def _operator(layer: Layer, bias: Array, given: ir.Value | None) -> tuple[str, Array | None]:
    """MatMul has no bias: with one, on rows, it becomes a Gemm."""
    kind = layer.node.op_type
    if kind != "MatMul":
        had = len(layer.node.inputs) > 2 and layer.node.inputs[2] is not None
        return kind, bias if had or bias.any() else None
    shape = dimensions(given)
    return ("Gemm", bias) if bias.any() and shape is not None and len(shape) == 2 else ("MatMul", None)


def _attributes(node: ir.Node) -> dict[str, Any]:
    kept = {k: a for k, a in node.attributes.items() if k not in ("alpha", "beta")}
    return {k: a.value for k, a in kept.items()}
