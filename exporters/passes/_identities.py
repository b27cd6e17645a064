"""Removes nodes whose output equals an input: Identity, casts to the same type, arithmetic with 0 and 1.

::

    Identity(x), x + 0, x - 0, x * 1, x / 1, x ** 1, cast to x's type, a transposition that keeps the order,
    a Slice of everything, Reshape, Expand and Flatten to x's own shape, a Concat or Sum of one   ->   x
"""

from __future__ import annotations

from collections.abc import Callable

import onnx_ir as ir

from cnntk.exporters.passes.graph import constant, label, remove_unused, replace_uses, same_shape, uniform
from cnntk.exporters.passes.infra import Rewrites
from cnntk.exporters.passes.origins import absorb, origin_of

_FAR = 2**31 - 1
"""Number that exporters write, or exceed, for the end of an axis."""


class RemoveIdentities:
    """Removes nodes without effect."""

    name = "identities"
    reason = "nodes whose output equals an input only take time"

    def __call__(self, model: ir.Model) -> Rewrites:
        applied, skipped = [], []
        for node in list(model.graph):
            value = _unchanged(node)
            if value is None:
                continue
            name, output = label(node), node.outputs[0]
            if replace_uses(output, value):
                applied.append(f"{name}: output equals {value.name}, removed")
                for neutral in node.inputs if node.op_type in _ARITHMETIC else ():
                    absorb(model, None if neutral is value else origin_of(neutral))
                remove_unused(model, output)
            else:
                skipped.append(f"{name}: a graph output must not be an input, a weight or another output")
        return Rewrites(tuple(applied), tuple(skipped))


def _unchanged(node: ir.Node) -> ir.Value | None:
    """Returns the input that a node returns unchanged; None where the node does something."""
    if node.domain or len(node.outputs) != 1:
        return None
    rule = _RULES.get(node.op_type)
    return rule(node) if rule is not None else None


def _single(node: ir.Node) -> ir.Value | None:
    return node.inputs[0] if len(node.inputs) == 1 else None


def _cast(node: ir.Node) -> ir.Value | None:
    value = node.inputs[0]
    return value if value is not None and value.dtype == node.attributes.get_int("to", 0) else None


def _cast_like(node: ir.Node) -> ir.Value | None:
    value, like = node.inputs[0], node.inputs[1]
    same = value is not None and like is not None and value.dtype is not None and value.dtype == like.dtype
    return value if same else None


def _transpose(node: ir.Node) -> ir.Value | None:
    order = node.attributes.get_ints("perm", ())
    return node.inputs[0] if order and list(order) == sorted(order) else None


def _slice(node: ir.Node) -> ir.Value | None:
    if len(node.inputs) < 3:
        return None
    starts, ends = constant(node.inputs[1]), constant(node.inputs[2])
    steps = uniform(node.inputs[4]) if len(node.inputs) > 4 else 1
    if starts is None or ends is None or steps != 1 or starts.any():
        return None
    return node.inputs[0] if (ends >= _FAR).all() else _same(node)


def _same(node: ir.Node) -> ir.Value | None:
    return node.inputs[0] if same_shape(node.inputs[0], node.outputs[0]) else None


def _with(neutral: float, *, either_side: bool) -> Callable[[ir.Node], ir.Value | None]:
    """Returns the rule for arithmetic with a number that changes nothing and does not widen x."""

    def rule(node: ir.Node) -> ir.Value | None:
        sides = [tuple(node.inputs), tuple(reversed(node.inputs))] if either_side else [tuple(node.inputs)]
        for value, number in sides:
            if uniform(number) == neutral and same_shape(value, node.outputs[0]):
                return value
        return None

    return rule


_ARITHMETIC = ("Add", "Sub", "Mul", "Div", "Pow")

_RULES: dict[str, Callable[[ir.Node], ir.Value | None]] = {
    "Identity": _single,
    "Cast": _cast,
    "CastLike": _cast_like,
    "Transpose": _transpose,
    "Slice": _slice,
    "Reshape": _same,
    "Expand": _same,
    "Flatten": _same,
    "Concat": _single,
    "Sum": _single,
    "Add": _with(0, either_side=True),
    "Sub": _with(0, either_side=False),
    "Mul": _with(1, either_side=True),
    "Div": _with(1, either_side=False),
    "Pow": _with(1, either_side=False),
}
