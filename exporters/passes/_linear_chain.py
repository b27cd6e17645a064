"""Merges two linear layers with nothing between: W2 (W1 x + b1) + b2 = (W2 W1) x + (W2 b1 + b2).

Three forms::

    Gemm o Gemm, and MatMul (+ bias) likewise      W = W2 W1
    Conv 1x1 o Conv                                W[o, i, k] = sum_h W2[o, h] W1[h, i, k]
    Gemm o Flatten o Conv                          W = the adjoint of the convolution, of each row of W2

They are merged only where one layer is cheaper, in multiply-adds and in parameters: a bottleneck is a chain
on purpose.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import onnx_ir as ir

from cnntk.exporters.passes._linear import (
    LINEAR,
    Array,
    LinearLayer,
    linear_layer,
    rebuild,
    shared_weights_reason,
)
from cnntk.exporters.passes.graph import (
    add_weight,
    constant,
    dimensions,
    fresh_name,
    label,
    only_user,
    producer_of,
    remove_unused,
    replace_node,
)
from cnntk.exporters.passes.infra import Rewrites
from cnntk.exporters.passes.origins import Formula, Origin


@dataclass(frozen=True)
class _Chain:
    """Two consecutive layers, and their cost per image before and after a merge.

    Attributes:
        first: Layer that reads ``source``.
        last: Layer that computes the output.
        source: Input of the chain.
        positions: Number of positions that ``first`` computes, per position of the merged layer.
        weights: Number of weights of the merged layer.
    """

    first: LinearLayer
    last: LinearLayer
    source: ir.Value
    positions: int
    weights: int

    @property
    def output(self) -> ir.Value:
        return self.last.node.outputs[0]

    @property
    def before(self) -> tuple[int, int]:
        """Multiply-adds (per output position, for convolutions) and parameters of both layers."""
        sizes = self.first.weight.size, self.last.weight.size
        biases = sum(layer.channels for layer in (self.first, self.last) if layer.bias.any())
        return self.positions * sizes[0] + sizes[1], sum(sizes) + biases

    @property
    def after(self) -> tuple[int, int]:
        """Multiply-adds and parameters of the merged layer."""
        has_bias = self.first.bias.any() or self.last.bias.any()
        return self.weights, self.weights + (self.last.channels if has_bias else 0)

    @property
    def cheaper(self) -> bool:
        return self.after[0] < self.before[0] and self.after[1] < self.before[1]

    def __str__(self) -> str:
        adds, parameters = zip(self.before, self.after, strict=True)
        return f"{adds[0]} to {adds[1]} multiply-adds, {parameters[0]} to {parameters[1]} parameters"


class CollapseLinearChains:
    """Merges two linear layers into one, where that is cheaper."""

    name = "linear chains"
    reason = "two linear layers with nothing between them are one linear layer"

    def __call__(self, model: ir.Model) -> Rewrites:
        applied: list[str] = []
        skipped: list[str] = []
        for node in list(model.graph):
            layer = linear_layer(node)
            chain = _chain(layer) if layer is not None and node.graph is not None else None
            if chain is None:
                continue
            names = f"{label(chain.first.node)} and {label(node)}"
            reason = shared_weights_reason(chain.first) or shared_weights_reason(chain.last)
            if reason is None and chain.cheaper:
                applied.append(f"{names}: one layer, {chain}")
                _collapse(model, chain)
            else:
                skipped.append(f"{names}: not merged: {reason or f'not cheaper: {chain}'}")
        return Rewrites(tuple(applied), tuple(skipped))


def _chain(last: LinearLayer) -> _Chain | None:
    if last.node.op_type in ("Gemm", "MatMul"):
        return _dense(last) or _flattened(last)
    return _pointwise(last) if last.node.op_type == "Conv" else None


def _dense(last: LinearLayer) -> _Chain | None:
    first = _layer_before(last.node.inputs[0])
    source = first.node.inputs[0] if first is not None else None
    if first is None or source is None or first.node.op_type not in ("Gemm", "MatMul"):
        return None
    return _Chain(first, last, source, 1, first.input_channels * last.channels)


def _layer_before(value: ir.Value | None) -> LinearLayer | None:
    """Returns the layer that computes a value for one reader, with the bias of an Add between."""
    if only_user(value) is None:
        return None
    add = producer_of(value, "Add")
    for source, other in (add.inputs, reversed(add.inputs)) if add is not None else ():
        layer, bias = linear_layer(producer_of(source, "MatMul")), constant(other)
        if layer is not None and bias is not None and only_user(source) is not None:
            fits = bias.shape == (layer.channels,)
            return replace(layer, bias=layer.bias + bias, added=other) if fits else None
    return linear_layer(producer_of(value, *LINEAR))


def _pointwise(last: LinearLayer) -> _Chain | None:
    """Reads a 1x1 convolution after any other convolution; neither grouped."""
    value = last.node.inputs[0]
    first = linear_layer(producer_of(value, "Conv"))
    source = first.node.inputs[0] if first is not None else None
    plain = last.groups == 1 and not last.is_padded and math.prod(last.weight.shape[2:]) == 1
    if first is None or source is None or only_user(value) is None or first.groups != 1 or not plain:
        return None
    strides = math.prod(last.node.attributes.get_ints("strides", (1,)))
    return _Chain(first, last, source, strides, first.weight[0].size * last.channels)


def _flattened(last: LinearLayer) -> _Chain | None:
    """Reads a dense layer on all pixels of a convolution."""
    value = last.node.inputs[0]
    flat = producer_of(value, "Flatten", "Reshape")
    image = flat.inputs[0] if flat is not None else None
    first = linear_layer(producer_of(image, "Conv"))
    if first is None or only_user(value) is None or only_user(image) is None:
        return None
    source, flattened = first.node.inputs[0], dimensions(value)
    into, out = _pixels(source), _pixels(image)
    if source is None or into is None or out is None or flattened is None or len(flattened) != 2:
        return None
    if flattened[1] != math.prod(out) or not _symmetric(first):
        return None
    return _Chain(first, last, source, math.prod(out[1:]), math.prod(into) * last.channels)


def _pixels(value: ir.Value | None) -> tuple[int, int, int] | None:
    """Returns channels, height and width of a batch of images, where they are fixed."""
    match dimensions(value):
        case (_, int(channels), int(height), int(width)):
            return channels, height, width
    return None


def _symmetric(layer: LinearLayer) -> bool:
    pads = list(layer.node.attributes.get_ints("pads", (0, 0, 0, 0)))
    explicit = layer.node.attributes.get_string("auto_pad", "NOTSET") in ("NOTSET", "VALID")
    return explicit and pads[: len(pads) // 2] == pads[len(pads) // 2 :]


def _collapse(model: ir.Model, chain: _Chain) -> None:
    first, last = chain.first, chain.last
    if first.node.op_type == "Conv" and last.node.op_type == "Conv":
        _replace_by_convolution(model, chain)
        return
    if first.node.op_type == "Conv":
        weight, bias = _adjoint(chain)
    else:
        weight, bias = _matrix(last) @ _matrix(first), _matrix(last) @ first.bias + last.bias
    _replace_by_dense(model, chain, weight, bias)


def _replace_by_convolution(model: ir.Model, chain: _Chain) -> None:
    first, last = chain.first, chain.last
    mix = last.weight.astype(np.float64).reshape(last.channels, first.channels)
    weight = np.tensordot(mix, first.weight.astype(np.float64), axes=(1, 0))
    attributes = {k: a.value for k, a in first.node.attributes.items()}
    steps = last.node.attributes.get_ints("strides", [1] * (weight.ndim - 2))
    strides = first.node.attributes.get_ints("strides", [1] * (weight.ndim - 2))
    attributes["strides"] = [a * b for a, b in zip(strides, steps, strict=True)]
    new = weight, mix @ first.bias + last.bias
    origin = _origin("convolution chain", chain)
    rebuild(model, first, new, chain.output, chain.source, origin, attributes)


def _replace_by_dense(model: ir.Model, chain: _Chain, weight: Array, bias: Array) -> None:
    """Replaces the chain by a dense layer with the last layer's name, which computes the output."""
    last = chain.last
    stored = weight if last.output_axis == 0 else weight.T
    source, origin = chain.source, _origin("linear chain", chain)
    if chain.first.node.op_type == "Conv":
        source, origin = _flatten(model, chain), _origin("flattened chain", chain)
    shape = dimensions(source)
    if last.node.op_type != "MatMul" or (shape is not None and len(shape) == 2) or not bias.any():
        rebuild(model, last, (stored, bias), chain.output, source, origin)
        return
    name = fresh_name(model.graph, f"{chain.output.name}_product")
    output = chain.output
    new_weight = add_weight(model, f"{last.node.name}.weight", stored, last.dtype, origin)
    new_bias = add_weight(model, f"{last.node.name}.bias", bias, last.dtype, origin.result(1))
    product = replace_node(output, "MatMul", [source, new_weight], like=last.node, name=name)
    product.type, product.shape = output.type, None if output.shape is None else output.shape.copy()
    replace_node(output, "Add", [product, new_bias])
    remove_unused(model, output)


def _origin(formula: Formula, chain: _Chain) -> Origin:
    """How the weights and the bias of the merged layer are computed."""
    ints = chain.first.node.attributes.get_ints
    attributes: dict[str, Any] = {"first": chain.first.algebra, "last": chain.last.algebra}
    if formula == "flattened chain":
        attributes |= {
            "input": _pixels(chain.source),
            "output": _pixels(chain.first.node.outputs[0]),
            "strides": tuple(ints("strides", (1, 1))),
            "padding": tuple(ints("pads", (0, 0, 0, 0)))[:2],
            "dilations": tuple(ints("dilations", (1, 1))),
        }
    return Origin(formula, inputs=(*chain.first.origins, *chain.last.origins), attributes=attributes)


def _flatten(model: ir.Model, chain: _Chain) -> ir.Value:
    name = fresh_name(model.graph, f"{chain.output.name}_flat")
    flat = replace_node(chain.output, "Flatten", [chain.source], {"axis": 1}, name=name)
    flat.type = chain.source.type
    if chain.source.shape is not None:
        flat.shape = ir.Shape([chain.source.shape[0], math.prod(_pixels(chain.source) or (0,))])
    return flat


def _matrix(layer: LinearLayer) -> Array:
    """Returns a dense layer's weights as float64 (outputs, inputs), with alpha multiplied in."""
    weight = layer.weight.astype(np.float64) * layer.alpha
    return weight if layer.output_axis == 0 else weight.T


def _adjoint(chain: _Chain) -> tuple[Array, Array]:
    """Returns the dense layer's rows mapped back through the convolution, and the merged bias."""
    first, out, into = chain.first, _pixels(chain.first.node.outputs[0]), _pixels(chain.source)
    if out is None or into is None:
        raise ValueError(f"{label(chain.first.node)}: shapes are unknown")
    rows = _matrix(chain.last)
    ints = first.node.attributes.get_ints
    weight = _spread(
        rows.reshape(-1, *out),
        first.weight.astype(np.float64),
        into,
        first.groups,
        tuple(ints("strides", (1, 1))),
        tuple(ints("pads", (0, 0, 0, 0)))[:2],
        tuple(ints("dilations", (1, 1))),
    )
    spread = np.repeat(first.bias, out[1] * out[2])
    return weight.reshape(rows.shape[0], -1), rows @ spread + chain.last.bias


def _spread(
    rows: Array,
    weight: Array,
    into: tuple[int, int, int],
    groups: int,
    strides: tuple[int, ...],
    pads: tuple[int, ...],
    dilations: tuple[int, ...],
) -> Array:
    """The adjoint of a convolution: what (N, C', H', W') at its output weighs at its input, (N, C, H, W)."""
    count, channels, *positions = rows.shape
    grouped = rows.reshape(count, groups, channels // groups, *positions)
    kernel = weight.reshape(groups, channels // groups, *weight.shape[1:])
    padded = np.zeros((count, into[0], *(n + 2 * p for n, p in zip(into[1:], pads, strict=True))))
    for y, x in np.ndindex(*weight.shape[2:]):
        products = np.einsum("ngohw,goc->ngchw", grouped, kernel[..., y, x], optimize=True)
        rows_at, columns_at = (
            slice(tap * d, tap * d + (n - 1) * s + 1, s)
            for tap, d, n, s in zip((y, x), dilations, positions, strides, strict=True)
        )
        padded[:, :, rows_at, columns_at] += products.reshape(count, into[0], *positions)
    return padded[:, :, pads[0] : pads[0] + into[1], pads[1] : pads[1] + into[2]]
