"""Nodes that answer what they are given: Identity, casts to the same type, and arithmetic with 0 and 1.

::

    Identity(x), x + 0, x - 0, x * 1, x / 1, x ** 1, cast to x's type, a transposition that moves nothing,
    a Slice of everything, Reshape, Expand and Flatten to x's own shape, a Concat or Sum of one   ->   x
"""

from __future__ import annotations

from collections.abc import Callable

import onnx_ir as ir

from cnntk.exporters.passes.graph import bypass, constant, label, same_shape, sweep, uniform
from cnntk.exporters.passes.infra import Rewrites

__all__ = ["RemoveIdentities"]

_FAR = 2**31 - 1
"""Exporters write this, or more, for the end of an axis."""


class RemoveIdentities:
    """Removes nodes without effect."""

    name = "identities"
    reason = "nodes that answer what they are given only take time"

    def __call__(self, model: ir.Model) -> Rewrites:
        done, declined = [], []
        for node in list(model.graph):
            given = _unchanged(node)
            if given is None:
                continue
            told, output = label(node), node.outputs[0]
            if bypass(output, given):
                done.append(f"{told}: answers {given.name} unchanged, removed")
                sweep(model, output)
            else:
                declined.append(f"{told}: the graph answers its own input, a weight or one value twice")
        return Rewrites(tuple(done), tuple(declined))


def _unchanged(node: ir.Node) -> ir.Value | None:
    """Which of its inputs a node answers as it is; None where it does something."""
    if node.domain or len(node.outputs) != 1:
        return None
    rule = _RULES.get(node.op_type)
    return rule(node) if rule is not None else None


def _first(node: ir.Node) -> ir.Value | None:
    return node.inputs[0]


def _single(node: ir.Node) -> ir.Value | None:
    return node.inputs[0] if len(node.inputs) == 1 else None


def _cast(node: ir.Node) -> ir.Value | None:
    given = node.inputs[0]
    return given if given is not None and given.dtype == node.attributes.get_int("to", 0) else None


def _cast_like(node: ir.Node) -> ir.Value | None:
    given, like = node.inputs[0], node.inputs[1]
    same = given is not None and like is not None and given.dtype is not None and given.dtype == like.dtype
    return given if same else None


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
    """Arithmetic with a number that changes nothing, and that does not widen the other side."""

    def rule(node: ir.Node) -> ir.Value | None:
        sides = [tuple(node.inputs), tuple(reversed(node.inputs))] if either_side else [tuple(node.inputs)]
        for given, number in sides:
            if uniform(number) == neutral and same_shape(given, node.outputs[0]):
                return given
        return None

    return rule


_RULES: dict[str, Callable[[ir.Node], ir.Value | None]] = {
    "Identity": _first,
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
