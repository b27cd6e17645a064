"""Linear layers with constant weights (Conv, ConvTranspose, Gemm, MatMul), and what can be folded in.

With weights W and bias b, for a factor s and a shift t that differ only between channels::

    s * (W x + b) + t   =  (s W) x + (s b + t)      s over W's output channels
    W (s * x + t) + b   =  (W s) x + (b + W t)      s over W's input channels

In the second line W t is a bias only where every output sees the whole kernel: not with padding, which
inserts zeros instead of t, and not for ConvTranspose.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from cnntk.exporters.passes.graph import add_weight, constant, dimensions, remove_unused, replace_node
from cnntk.exporters.passes.origins import Origin, absorb, origin_of

Array = NDArray[Any]

LINEAR = ("Conv", "ConvTranspose", "Gemm", "MatMul")


@dataclass(frozen=True)
class Affine:
    """The map ``scale * x + shift``; each is one float64 number, or one per channel.

    The results of ``origin`` are the scale and the shift.
    """

    scale: Array
    shift: Array
    origin: Origin | None = None

    @property
    def origins(self) -> tuple[Origin | None, Origin | None]:
        """Origins of scale and shift."""
        return self.origin, None if self.origin is None else self.origin.result(1)


@dataclass(frozen=True)
class LinearLayer:
    """A linear layer with constant weights.

    Attributes:
        node: Conv, ConvTranspose, Gemm or MatMul.
        weight: Weights as the node has them; Gemm's ``alpha`` is not yet multiplied in.
        bias: One number per output channel, with Gemm's ``beta`` multiplied in; zeros where there is no bias.
        added: Value that an Add behind a MatMul adds, which ``bias`` contains; None where there is none.
    """

    node: ir.Node
    weight: Array
    bias: Array
    added: ir.Value | None = None

    @property
    def groups(self) -> int:
        """Number of groups of a convolution; 1 for all other layers."""
        return self.node.attributes.get_int("group", 1)

    @property
    def alpha(self) -> float:
        """Factor of Gemm's weights; 1 for all other layers."""
        return self.node.attributes.get_float("alpha", 1.0)

    @property
    def origins(self) -> tuple[Origin | None, Origin | None]:
        """Origins of weights and bias, as the node has them."""
        bias = self.node.inputs[2] if len(self.node.inputs) > 2 else self.added
        return origin_of(self.node.inputs[1]), origin_of(bias)

    @property
    def algebra(self) -> dict[str, Any]:
        """What the node does with weights and bias, for `Origin.attributes`."""
        ints = self.node.attributes.get_int
        return {
            "operator": self.node.op_type,
            "groups": self.groups,
            "alpha": self.alpha,
            "beta": self.node.attributes.get_float("beta", 1.0),
            "transposed": self.node.op_type != "Gemm" or not ints("transB", 0),
        }

    @property
    def output_axis(self) -> int:
        """Axis of the output channels in the weights of Conv, Gemm and MatMul."""
        if self.node.op_type == "Conv":
            return 0
        return 0 if self.node.attributes.get_int("transB", 0) else 1

    @property
    def channels(self) -> int:
        """Number of output channels."""
        if self.node.op_type == "ConvTranspose":
            return int(self.weight.shape[1]) * self.groups
        return int(self.weight.shape[self.output_axis])

    @property
    def input_channels(self) -> int:
        """Number of input channels."""
        if self.node.op_type == "ConvTranspose":
            return int(self.weight.shape[0])
        return int(self.weight.shape[1 - self.output_axis]) * self.groups

    @property
    def dtype(self) -> ir.DataType:
        """Type of the weights in the graph."""
        weight = self.node.inputs[1]
        return weight.dtype if weight is not None and weight.dtype is not None else ir.DataType.FLOAT

    @property
    def channel_axis(self) -> int:
        """Axis of the channels in the output: 1, or the last for MatMul."""
        return -1 if self.node.op_type == "MatMul" else 1

    @property
    def is_padded(self) -> bool:
        """Whether the layer pads its input with zeros."""
        pads = self.node.attributes.get_ints("pads", ())
        return any(pads) or self.node.attributes.get_string("auto_pad", "NOTSET") not in ("NOTSET", "VALID")


def linear_layer(node: ir.Node | None) -> LinearLayer | None:
    """Returns the linear layer of a node; None where it is not one or its weights are not constant."""
    if node is None or node.domain or node.op_type not in LINEAR or len(node.inputs) < 2:
        return None
    weight = constant(node.inputs[1])
    if weight is None or weight.ndim < 2 or (node.op_type in ("Gemm", "MatMul") and weight.ndim != 2):
        return None
    if node.op_type == "Gemm" and node.attributes.get_int("transA", 0) != 0:
        return None
    layer = LinearLayer(node, weight, np.zeros(0))
    bias = _bias(node, layer.channels)
    return None if bias is None else replace(layer, bias=bias)


def _bias(node: ir.Node, channels: int) -> Array | None:
    if len(node.inputs) < 3 or node.inputs[2] is None:
        return np.zeros(channels)
    bias = constant(node.inputs[2])
    if bias is None or bias.size not in (1, channels) or (bias.ndim > 1 and bias.shape[-1] != bias.size):
        return None
    beta = node.attributes.get_float("beta", 1.0)
    return np.broadcast_to(bias.astype(np.float64).reshape(-1) * beta, (channels,)).copy()


def shared_weights_reason(layer: LinearLayer) -> str | None:
    """Returns why a layer's weights can't be changed; None where they can."""
    weight = layer.node.inputs[1]
    if weight is not None and len(weight.uses()) > 1:
        return f"the weights {weight.name} are used elsewhere"
    return None


def blocking_reason(layer: LinearLayer, affine: Affine, *, follows: bool) -> str | None:
    """Returns why a map that follows (or precedes) a layer can't be folded into it; None where it can."""
    shared = shared_weights_reason(layer)
    if shared is not None:
        return shared
    if not (np.isfinite(affine.scale).all() and np.isfinite(affine.shift).all()):
        return "its scale or shift is not finite"
    if follows or not affine.shift.any():
        return None
    if layer.node.op_type == "ConvTranspose":
        return "a shift before a ConvTranspose is not a bias after it"
    return "the convolution pads with zeros, to which the shift does not apply" if layer.is_padded else None


def with_output_affine(layer: LinearLayer, affine: Affine) -> tuple[Array, Array]:
    """Returns weights and bias of ``scale * layer(x) + shift``."""
    scale = np.broadcast_to(affine.scale, (layer.channels,))
    bias = scale * layer.bias + affine.shift
    if layer.node.op_type == "ConvTranspose":
        return _grouped(layer, scale, axis=2), bias
    shape = [1] * layer.weight.ndim
    shape[layer.output_axis] = -1
    return _times(layer.weight, scale.reshape(shape) * layer.alpha), bias


def with_input_affine(layer: LinearLayer, affine: Affine) -> tuple[Array, Array]:
    """Returns weights and bias of ``layer(scale * x + shift)``."""
    scale, shift = (np.broadcast_to(v, (layer.input_channels,)) for v in (affine.scale, affine.shift))
    if layer.node.op_type in ("Gemm", "MatMul"):
        weight = layer.weight if layer.output_axis == 0 else layer.weight.T
        bias = layer.bias + layer.alpha * (weight.astype(np.float64) @ shift if shift.any() else 0.0)
        shape = (1, -1) if layer.output_axis == 0 else (-1, 1)
        return _times(layer.weight, scale.reshape(shape) * layer.alpha), bias
    if layer.node.op_type == "ConvTranspose":
        return _grouped(layer, scale, axis=1), layer.bias
    shifted = _grouped(layer, shift, axis=2).astype(np.float64)
    return _grouped(layer, scale, axis=2), layer.bias + shifted.reshape(layer.channels, -1).sum(axis=1)


def _grouped(layer: LinearLayer, factor: Array, axis: int) -> Array:
    """Returns a convolution's weights (groups, A / groups, B, k...), times a factor along axis 1 or 2."""
    groups, weight = layer.groups, layer.weight
    split = weight.reshape(groups, weight.shape[0] // groups, *weight.shape[1:])
    shape = [groups, 1, 1, *[1] * (weight.ndim - 2)]
    shape[axis] = -1
    return _times(split, factor.reshape(shape)).reshape(weight.shape)


def _times(weight: Array, factor: Array) -> Array:
    """Multiplies in float64 and rounds once; large float32 weights are not copied to float64."""
    if weight.dtype != np.float32:
        return weight.astype(np.float64) * factor
    out = np.empty(weight.shape, np.float32)
    np.multiply(weight, factor, out=out, dtype=np.float64, casting="same_kind")
    return out


def rebuild(
    model: ir.Model,
    layer: LinearLayer,
    weights: tuple[Array, Array],
    output: ir.Value,
    source: ir.Value | None,
    origin: Origin,
    attributes: Mapping[str, Any] | None = None,
) -> ir.Value:
    """Replaces what computes ``output`` by ``layer`` on ``source``, with new weights and bias.

    The results of ``origin`` are weights and bias. The layer's name and torch metadata stay, its attributes
    where ``attributes`` is None.
    """
    node, graph = layer.node, model.graph
    names = [v.name if v is not None and v.name else None for v in node.inputs[1:3]]
    operator, bias = _operator(layer, weights[1], source)
    stem = names[0] or f"{node.name}.weight"
    new_weight = add_weight(model, stem, weights[0], layer.dtype, origin)
    inputs = [source, new_weight]
    if bias is None:
        absorb(model, origin.result(1))
    else:
        old = (names[1] if len(names) > 1 else None) or f"{stem.removesuffix('.weight')}.bias"
        inputs.append(add_weight(model, old, bias, layer.dtype, origin.result(1)))
    new = replace_node(output, operator, inputs, attributes or _attributes(node), like=node)
    remove_unused(model, output)
    for value, name in zip(inputs[1:], names, strict=False):
        if value is not None and name and name not in graph.initializers and _free(model, name):
            value.name = name
    return new


def _free(model: ir.Model, name: str) -> bool:
    return all(v.name != name for node in model.graph for v in node.outputs)


def _operator(layer: LinearLayer, bias: Array, source: ir.Value | None) -> tuple[str, Array | None]:
    """Returns operator and bias: a MatMul with a bias becomes a Gemm, on 2-D inputs."""
    kind = layer.node.op_type
    if kind != "MatMul":
        has_bias = len(layer.node.inputs) > 2 and layer.node.inputs[2] is not None
        return kind, bias if has_bias or bias.any() else None
    shape = dimensions(source)
    return ("Gemm", bias) if bias.any() and shape is not None and len(shape) == 2 else ("MatMul", None)


def _attributes(node: ir.Node) -> dict[str, Any]:
    return {k: a.value for k, a in node.attributes.items() if k not in ("alpha", "beta")}
