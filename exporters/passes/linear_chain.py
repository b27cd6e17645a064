"""Two linear layers with nothing between are one: W2 (W1 x + b1) + b2 = (W2 W1) x + (W2 b1 + b2).

Three forms::

    Gemm o Gemm, and MatMul (+ bias) likewise      W = W2 W1
    Conv 1x1 o Conv                                W[o, i, k] = sum_h W2[o, h] W1[h, i, k]
    Gemm o Flatten o Conv                          W = the adjoint of the convolution, of each row of W2

They are made one only where that is cheaper, in multiply-adds and in parameters: a bottleneck is a chain on
purpose.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir
import torch

from cnntk.exporters.passes.graph import (
    add_weight,
    constant,
    dimensions,
    fresh_name,
    label,
    made_by,
    only_user,
    put,
    sweep,
)
from cnntk.exporters.passes.infra import Rewrites
from cnntk.exporters.passes.linear import Array, Layer, explain_shared, layer_at, rebuild

__all__ = ["CollapseLinearChains"]


@dataclass(frozen=True)
class _Chain:
    """Two layers, first to last, and what they cost an image before and after.

    Attributes:
        first: reads ``given``.
        last: makes ``output``.
        given: input of both together.
        output: of both together.
        before: multiply-adds (of an output position, for convolutions) and parameters.
        after: likewise.
    """

    first: Layer
    last: Layer
    given: ir.Value
    output: ir.Value
    before: tuple[int, int]
    after: tuple[int, int]

    @property
    def cheaper(self) -> bool:
        return self.after[0] < self.before[0] and self.after[1] < self.before[1]

    def __str__(self) -> str:
        adds, parameters = zip(self.before, self.after, strict=True)
        return f"{adds[0]} to {adds[1]} multiply-adds, {parameters[0]} to {parameters[1]} parameters"


class CollapseLinearChains:
    """Makes one layer of two, where that is cheaper."""

    name = "linear chains"
    reason = "two linear layers with nothing between them are one"

    def __call__(self, model: ir.Model) -> Rewrites:
        done: list[str] = []
        declined: list[str] = []
        for node in list(model.graph):
            layer = layer_at(node)
            chain = _chain(layer) if layer is not None and node.graph is not None else None
            if chain is None:
                continue
            told = f"{label(chain.first.node)} and {label(node)}"
            reason = explain_shared(chain.first) or explain_shared(chain.last)
            if reason is None and chain.cheaper:
                done.append(f"{told}: one layer, {chain}")
                _collapse(model, chain)
            else:
                declined.append(f"{told}: would be one layer, but {reason or f'not cheaper: {chain}'}")
        return Rewrites(tuple(done), tuple(declined))


def _chain(last: Layer) -> _Chain | None:
    if last.node.op_type in ("Gemm", "MatMul"):
        return _dense(last) or _flattened(last)
    return _pointwise(last) if last.node.op_type == "Conv" else None


def _dense(last: Layer) -> _Chain | None:
    first, bias, value = _source(last)
    if first is None or value is None or first.node.op_type not in ("Gemm", "MatMul"):
        return None
    given = first.node.inputs[0]
    if given is None:
        return None
    first = Layer(first.node, first.weight, first.bias + bias, first.channels)
    i, h, o = _matrix(first).shape[1], first.channels, last.channels
    biases = int(first.bias.any()) * h + int(last.bias.any()) * o
    after = i * o + o * int(first.bias.any() or last.bias.any())
    return _Chain(
        first, last, given, last.node.outputs[0], (i * h + h * o, i * h + h * o + biases), (i * o, after)
    )


def _source(last: Layer) -> tuple[Layer | None, Array | float, ir.Value | None]:
    """The layer in front; with what is added to it, where that is a MatMul."""
    value = last.node.inputs[0]
    if value is None or only_user(value) is None:
        return None, 0.0, None
    add = made_by(value, "Add")
    for given, other in (add.inputs, reversed(add.inputs)) if add is not None else ():
        layer, bias = layer_at(made_by(given, "MatMul")), constant(other)
        if layer is not None and bias is not None and given is not None and only_user(given) is not None:
            return (
                (layer, bias.astype(np.float64), value)
                if bias.shape == (layer.channels,)
                else (None, 0.0, None)
            )
    return layer_at(value.producer()), 0.0, value


def _pointwise(last: Layer) -> _Chain | None:
    """A convolution of 1x1 pixels behind any other; neither grouped."""
    value = last.node.inputs[0]
    first = layer_at(made_by(value, "Conv"))
    plain = last.groups == 1 and not last.is_padded and math.prod(last.weight.shape[2:]) == 1
    if first is None or value is None or only_user(value) is None or first.groups != 1 or not plain:
        return None
    given, kernel = first.node.inputs[0], math.prod(first.weight.shape[2:])
    strides = math.prod(last.node.attributes.get_ints("strides", (1,)))
    i, h, o = int(first.weight.shape[1]), first.channels, last.channels
    if given is None:
        return None
    biases = int(first.bias.any()) * h + int(last.bias.any()) * o
    parameters = i * h * kernel + h * o + biases
    after = i * o * kernel + o * int(first.bias.any() or last.bias.any())
    before = strides * i * h * kernel + h * o, parameters
    return _Chain(first, last, given, last.node.outputs[0], before, (i * o * kernel, after))


def _flattened(last: Layer) -> _Chain | None:
    """A dense layer on all pixels of a convolution."""
    value = last.node.inputs[0]
    flat = made_by(value, "Flatten", "Reshape")
    image = flat.inputs[0] if flat is not None else None
    first = layer_at(made_by(image, "Conv"))
    if (
        first is None
        or value is None
        or image is None
        or only_user(value) is None
        or only_user(image) is None
    ):
        return None
    given = first.node.inputs[0]
    into, out = _pixels(given), _pixels(image)
    flattened = dimensions(value)
    if given is None or into is None or out is None or flattened is None or len(flattened) != 2:
        return None
    if flattened[1] != math.prod(out) or not _symmetric(first):
        return None
    convolved = math.prod(out[1:]) * first.weight.size
    held = int(first.weight.size + first.bias.size * int(first.bias.any()) + last.weight.size)
    after = math.prod(into) * last.channels
    before = convolved + int(last.weight.size), held + last.channels
    return _Chain(first, last, given, last.node.outputs[0], before, (after, after + last.channels))


def _pixels(value: ir.Value | None) -> tuple[int, int, int] | None:
    shape = dimensions(value)
    if shape is None or len(shape) != 4:
        return None
    channels, height, width = shape[1:]
    if isinstance(channels, int) and isinstance(height, int) and isinstance(width, int):
        return channels, height, width
    return None


def _symmetric(layer: Layer) -> bool:
    pads = list(layer.node.attributes.get_ints("pads", (0, 0, 0, 0)))
    explicit = layer.node.attributes.get_string("auto_pad", "NOTSET") in ("NOTSET", "VALID")
    return explicit and pads[: len(pads) // 2] == pads[len(pads) // 2 :]


def _collapse(model: ir.Model, chain: _Chain) -> None:
    first, last = chain.first, chain.last
    if first.node.op_type == "Conv" and last.node.op_type == "Conv":
        _put_convolution(model, chain)
        return
    if first.node.op_type == "Conv":
        weight, bias = _adjoint(chain)
    else:
        weight, bias = _matrix(last) @ _matrix(first), _matrix(last) @ first.bias + last.bias
    _put_dense(model, chain, weight, bias)


def _put_convolution(model: ir.Model, chain: _Chain) -> None:
    first, last = chain.first, chain.last
    mix = last.weight.astype(np.float64).reshape(last.channels, first.channels)
    weight = np.tensordot(mix, first.weight.astype(np.float64), axes=(1, 0))
    attributes = {k: a.value for k, a in first.node.attributes.items()}
    steps = last.node.attributes.get_ints("strides", [1] * (weight.ndim - 2))
    own = first.node.attributes.get_ints("strides", [1] * (weight.ndim - 2))
    attributes["strides"] = [a * b for a, b in zip(own, steps, strict=True)]
    rebuild(model, first, (weight, mix @ first.bias + last.bias), chain.output, chain.given, attributes)


def _put_dense(model: ir.Model, chain: _Chain, weight: Array, bias: Array) -> None:
    """As the last layer would have it: its name stays, because it makes the answer."""
    last = chain.last
    stored = weight if last.output_axis == 0 else weight.T
    given = chain.given
    if chain.first.node.op_type == "Conv":
        given = _flatten(model, chain)
    rank = dimensions(given)
    if last.node.op_type != "MatMul" or (rank is not None and len(rank) == 2) or not bias.any():
        rebuild(model, last, (stored, bias), chain.output, given)
        return
    name = fresh_name(model.graph, f"{chain.output.name}_product")
    output = chain.output
    product = put(
        output, "MatMul", [given, _weight(model, last, "weight", stored)], like=last.node, name=name
    )
    product.type, product.shape = output.type, None if output.shape is None else output.shape.copy()
    put(output, "Add", [product, _weight(model, last, "bias", bias)])
    sweep(model, output)


def _weight(model: ir.Model, layer: Layer, kind: str, array: Array) -> ir.Value:
    old = layer.node.inputs[1]
    dtype = old.dtype if old is not None and old.dtype is not None else ir.DataType.FLOAT
    return add_weight(model, f"{layer.node.name}.{kind}", array, dtype)


def _flatten(model: ir.Model, chain: _Chain) -> ir.Value:
    node = ir.node("Flatten", [chain.given], {"axis": 1})
    before = chain.last.node
    model.graph.insert_before(before, node)
    flat = node.outputs[0]
    flat.name = f"{chain.output.name}_flat"
    node.name = f"{before.name}/flatten"
    flat.type = chain.given.type
    shape = chain.given.shape
    if shape is not None:
        flat.shape = ir.Shape([shape[0], math.prod(_pixels(chain.given) or (0,))])
    return flat


def _matrix(layer: Layer) -> Array:
    """(outputs, inputs), float64, with alpha."""
    weight = layer.weight.astype(np.float64) * layer.alpha
    return weight if layer.output_axis == 0 else weight.T


def _adjoint(chain: _Chain) -> tuple[Array, Array]:
    """Rows of the dense layer, taken back through the convolution; its bias, through the rows."""
    first, out, into = chain.first, _pixels(chain.first.node.outputs[0]), _pixels(chain.given)
    if out is None or into is None:
        raise ValueError(f"{label(chain.first.node)}: its shapes are not known")
    rows = _matrix(chain.last)
    ints = first.node.attributes.get_ints
    strides, dilations, pads = (
        ints("strides", (1, 1)),
        ints("dilations", (1, 1)),
        ints("pads", (0, 0, 0, 0))[:2],
    )
    back = [
        (n - 1) * s - 2 * p + d * (k - 1) + 1
        for n, s, p, d, k in zip(out[1:], strides, pads, dilations, first.weight.shape[2:], strict=True)
    ]
    extra = [n - b for n, b in zip(into[1:], back, strict=True)]
    weight = torch.nn.functional.conv_transpose2d(
        torch.from_numpy(rows.reshape(-1, *out)),
        torch.from_numpy(first.weight.astype(np.float64)),
        stride=tuple(strides),
        padding=tuple(pads),
        output_padding=tuple(extra),
        groups=first.groups,
        dilation=tuple(dilations),
    )
    spread = np.repeat(first.bias, out[1] * out[2])
    return weight.numpy().reshape(rows.shape[0], -1), rows @ spread + chain.last.bias
