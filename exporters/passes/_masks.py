"""Recognizes random masks: values that are ``offset + scale * B`` with B = 1 at a known probability, else 0.

A value is read backward to its random node::

    Bernoulli(q)                          keep = q
    U > p, U >= p, p < U, p <= U          keep = (high - p) / (high - low), U uniform in [low, high)
    U < q, U <= q, q > U, q >= U          keep = (q - low) / (high - low)
    Floor(q + U), U in [0, 1)             keep = q, the form of stochastic depth
    Not(B)                                keep = 1 - keep
    B * c, c * B, B / c                   scale by c
    B + c                                 offset by c, which only alpha dropout has
    casts and changes of shape            the same mask
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import onnx_ir as ir

from cnntk.exporters.passes.graph import SHAPE_OPERATORS, producer_of, uniform


@dataclass(frozen=True)
class Mask:
    """A value whose every entry is ``offset + scale`` with probability ``keep``, and ``offset`` otherwise.

    It comes from the random ``node``.
    """

    keep: float
    node: ir.Node
    scale: float = 1.0
    offset: float = 0.0

    @property
    def mean(self) -> float:
        """Expectation of every entry."""
        return self.offset + self.scale * self.keep


_ABOVE, _BELOW = ("Greater", "GreaterOrEqual"), ("Less", "LessOrEqual")


def mask_of(value: ir.Value | None) -> Mask | None:
    """Reads a value as a random mask; None where it has no known form."""
    node = value.producer() if value is not None else None
    if node is None or node.domain:
        return None
    if node.op_type in SHAPE_OPERATORS:
        return mask_of(node.inputs[0])
    if node.op_type in (*_ABOVE, *_BELOW):
        return _compared(node)
    rule = _RULES.get(node.op_type)
    return rule(node) if rule is not None else None


def _bernoulli(node: ir.Node) -> Mask | None:
    keep = uniform(node.inputs[0])
    return None if keep is None else Mask(keep, node)


def _compared(node: ir.Node) -> Mask | None:
    left, right = node.inputs[0], node.inputs[1]
    source, limit, above = _uniform_source(left), uniform(right), node.op_type in _ABOVE
    if source is None:
        source, limit, above = _uniform_source(right), uniform(left), not above
    if source is None or limit is None:
        return None
    low, high = _range(source)
    below = min(max((limit - low) / (high - low), 0.0), 1.0)
    return Mask(1 - below if above else below, source)


def _floor(node: ir.Node) -> Mask | None:
    total = producer_of(node.inputs[0], "Add")
    if total is None:
        return None
    for noise, shift in (total.inputs, reversed(total.inputs)):
        source, keep = _uniform_source(noise), uniform(shift)
        if source is not None and keep is not None and 0 <= keep <= 1 and _range(source) == (0.0, 1.0):
            return Mask(keep, source)
    return None


def _not(node: ir.Node) -> Mask | None:
    mask = mask_of(node.inputs[0])
    return None if mask is None else replace(mask, keep=1 - mask.keep)


def _with_number(node: ir.Node) -> Mask | None:
    """Reads B * c, c * B, B / c, B + c and c + B."""
    for one, other in (node.inputs, reversed(node.inputs)):
        number = uniform(other)
        mask = mask_of(one) if number is not None else None
        if mask is None or number is None:
            continue
        if node.op_type == "Add":
            return replace(mask, offset=mask.offset + number)
        if node.op_type == "Mul":
            return replace(mask, scale=mask.scale * number, offset=mask.offset * number)
        if number and other is node.inputs[1]:
            return replace(mask, scale=mask.scale / number, offset=mask.offset / number)
    return None


_RULES = {
    "Bernoulli": _bernoulli,
    "Floor": _floor,
    "Not": _not,
    "Mul": _with_number,
    "Div": _with_number,
    "Add": _with_number,
}


def _uniform_source(value: ir.Value | None) -> ir.Node | None:
    """Returns the node that draws uniform numbers, seen through casts and changes of shape."""
    source = producer_of(value, "RandomUniform", "RandomUniformLike")
    through = producer_of(value, *SHAPE_OPERATORS)
    if source is not None or through is None:
        return source
    return _uniform_source(through.inputs[0])


def _range(node: ir.Node) -> tuple[float, float]:
    return node.attributes.get_float("low", 0.0), node.attributes.get_float("high", 1.0)
