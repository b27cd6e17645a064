"""Replaces handwritten softmax by Softmax, and the logarithm of one by LogSoftmax.

::

    exp(x) / sum(exp(x))                        ->  Softmax(x)
    exp(x - m) / sum(exp(x - m)), m = max(x)    ->  Softmax(x)
    exp(x) * (1 / sum(exp(x)))                  ->  Softmax(x)
    log(Softmax(x))                             ->  LogSoftmax(x)
    x - log(sum(exp(x))), x - logsumexp(x)      ->  LogSoftmax(x)
    x - (m + log(sum(exp(x - m))))              ->  LogSoftmax(x)
    exp(LogSoftmax(x))                          ->  Softmax(x)

All are equal in real numbers. In float32, exp overflows above 88.7 and the quotient is NaN, and
log(Softmax(x)) is minus infinity where Softmax underflows; Softmax and LogSoftmax subtract the maximum first,
and do neither. A subtraction of m is removed only where m is the maximum over the same axis.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import onnx_ir as ir

from cnntk.exporters.passes.graph import (
    constant,
    dimensions,
    label,
    opset,
    producer_of,
    remove_unused,
    replace_node,
    uniform,
)
from cnntk.exporters.passes.infra import Rewrites

_LOG_OF_SMALLEST = -80.0
"""exp(-87.3) is the smallest normal float32; some way below it, log(softmax) has lost its digits."""


@dataclass(frozen=True)
class _Match:
    """A recognized softmax: its input ``source``, the ``axis``, and how messages call the form."""

    source: ir.Value
    axis: int
    form: str


class StableSoftmax:
    """Replaces handwritten softmaxes by operators that neither overflow nor underflow."""

    name = "stable softmax"
    reason = (
        "exp overflows above 88.7 in float32, and log(softmax) is minus infinity where softmax underflows"
    )

    def __call__(self, model: ir.Model) -> Rewrites:
        applied: list[str] = []
        logs = False
        for node in list(model.graph):
            match = None if node.domain or node.graph is None else _match(node)
            if match is None or opset(model) < 13:
                continue
            operator = "LogSoftmax" if match.form in _LOGS else "Softmax"
            logs |= operator == "LogSoftmax"
            applied.append(f"{label(node)}: {match.form} is {operator} of {match.source.name}")
            old = node.outputs[0]
            replace_node(old, operator, [match.source], {"axis": match.axis})
            remove_unused(model, old)
        return Rewrites(tuple(applied), _skipped(model), comparison_floor=_LOG_OF_SMALLEST if logs else None)


_LOGS = ("log(softmax(x))", "x - log(sum(exp(x)))")


def _match(node: ir.Node) -> _Match | None:
    match node.op_type:
        case "Div":
            return _normalized(node.inputs[0], node.inputs[1], "exp(x) / sum(exp(x))")
        case "Mul":
            return _product(node)
        case "Log":
            return _function_of(node, "Softmax", "log(softmax(x))")
        case "Exp":
            return _function_of(node, "LogSoftmax", "exp(log_softmax(x))")
        case "Sub":
            return _difference(node)
    return None


def _product(node: ir.Node) -> _Match | None:
    """Reads exp(x) times the reciprocal of the sum, which is written in three ways."""
    for numerator, factor in (node.inputs, reversed(node.inputs)):
        match = _normalized(numerator, _inverted(factor), "exp(x) * (1 / sum(exp(x)))")
        if match is not None:
            return match
    return None


def _inverted(value: ir.Value | None) -> ir.Value | None:
    node = producer_of(value, "Reciprocal", "Div", "Pow")
    if node is None:
        return None
    if node.op_type == "Div":
        return node.inputs[1] if uniform(node.inputs[0]) == 1 else None
    return node.inputs[0] if node.op_type == "Reciprocal" or uniform(node.inputs[1]) == -1 else None


def _normalized(numerator: ir.Value | None, total: ir.Value | None, form: str) -> _Match | None:
    exp, reduced = producer_of(numerator, "Exp"), _reduced(total, "ReduceSum")
    if exp is None or reduced is None:
        return None
    source, axis = reduced
    summed = producer_of(source, "Exp")
    if summed is None or not _equal(summed.inputs[0], exp.inputs[0]) or exp.inputs[0] is None:
        return None
    return _Match(_without_maximum(exp.inputs[0], axis), axis, form)


def _function_of(node: ir.Node, operator: str, form: str) -> _Match | None:
    inner = producer_of(node.inputs[0], operator)
    if inner is None or inner.inputs[0] is None:
        return None
    return _Match(inner.inputs[0], inner.attributes.get_int("axis", -1), form)


def _difference(node: ir.Node) -> _Match | None:
    """Reads x - logsumexp(x), x - log(sum(exp(x))), and x - (m + log(sum(exp(x - m))))."""
    x, subtrahend = node.inputs
    if x is None:
        return None
    total = _log_sum_exp(subtrahend)
    if total is None or not _equal(total[0], x):
        total = _shifted_log_sum_exp(x, subtrahend)
    return None if total is None else _Match(_without_maximum(x, total[1]), total[1], "x - log(sum(exp(x)))")


def _log_sum_exp(value: ir.Value | None) -> tuple[ir.Value, int] | None:
    """Returns x and the axis of logsumexp(x) or log(sum(exp(x)))."""
    direct = _reduced(value, "ReduceLogSumExp")
    log = _through_shape(value, "Log")
    if direct is not None or log is None:
        return direct
    reduced = _reduced(log.inputs[0], "ReduceSum", like=value)
    exp = producer_of(reduced[0], "Exp") if reduced is not None else None
    if exp is None or reduced is None or exp.inputs[0] is None:
        return None
    return exp.inputs[0], reduced[1]


def _shifted_log_sum_exp(x: ir.Value, subtrahend: ir.Value | None) -> tuple[ir.Value, int] | None:
    add = producer_of(subtrahend, "Add")
    for maximum, log in (add.inputs, reversed(add.inputs)) if add is not None else ():
        total = _log_sum_exp(log)
        shifted = producer_of(total[0], "Sub") if total is not None else None
        if shifted is not None and _equal(shifted.inputs[0], x) and _equal(shifted.inputs[1], maximum):
            return total
    return None


def _without_maximum(x: ir.Value, axis: int) -> ir.Value:
    """Returns y where x is y - max(y) over the same axis, else x: Softmax subtracts the maximum itself."""
    difference = producer_of(x, "Sub")
    maximum = _reduced(difference.inputs[1], "ReduceMax") if difference is not None else None
    if difference is None or maximum is None:
        return x
    unshifted = difference.inputs[0]
    same = unshifted is not None and _equal(maximum[0], unshifted) and maximum[1] == axis
    return unshifted if same and unshifted is not None else x


def _reduced(
    value: ir.Value | None, operator: str, like: ir.Value | None = None
) -> tuple[ir.Value, int] | None:
    """Returns what is reduced over one axis, kept with size 1, and that axis; None for anything else."""
    node = _through_shape(value, operator)
    source = node.inputs[0] if node is not None else None
    axis = _reduced_axis(node)
    before, after = dimensions(source), dimensions(like or value)
    if source is None or axis is None or before is None or after is None:
        return None
    expected = tuple(1 if i == axis else d for i, d in enumerate(before))
    return (source, axis) if _agree(after, expected) else None


def _agree(shape: tuple[int | str | None, ...], expected: tuple[int | str | None, ...]) -> bool:
    """Whether shapes are equal; symbolic dimensions may have different names after a Reshape."""
    return len(shape) == len(expected) and all(
        a == b or (not isinstance(a, int) and not isinstance(b, int))
        for a, b in zip(shape, expected, strict=True)
    )


def _through_shape(value: ir.Value | None, operator: str) -> ir.Node | None:
    """Returns the node before Unsqueeze, Reshape and the like, which restore a reduced axis."""
    match = producer_of(value, operator)
    through = producer_of(value, "Unsqueeze", "Reshape", "Identity")
    if match is not None or through is None:
        return match
    return _through_shape(through.inputs[0], operator)


def _reduced_axis(node: ir.Node | None) -> int | None:
    """Returns the one axis that a node reduces, counted from the front."""
    shape = dimensions(node.inputs[0]) if node is not None else None
    if node is None or shape is None:
        return None
    axes: Iterable[int] | None = node.attributes.get_ints("axes")
    if axes is None and len(node.inputs) > 1:
        array = constant(node.inputs[1])
        axes = None if array is None else array.reshape(-1).tolist()
    listed = list(axes or ())
    return listed[0] % len(shape) if len(listed) == 1 else None


def _equal(one: ir.Value | None, other: ir.Value | None) -> bool:
    """Whether two values are the same value or the same expression: exporters write exp(x) twice."""
    if one is other:
        return one is not None
    left, right = one.producer() if one else None, other.producer() if other else None
    if left is None or right is None or left.op_type != right.op_type or left.op_type not in _PURE:
        a, b = constant(one), constant(other)
        return a is not None and b is not None and a.shape == b.shape and bool((a == b).all())
    same = len(left.inputs) == len(right.inputs) and left.attributes == right.attributes
    return same and all(_equal(a, b) for a, b in zip(left.inputs, right.inputs, strict=True))


_PURE = ("Exp", "Sub", "ReduceMax", "Unsqueeze", "Reshape")


def _skipped(model: ir.Model) -> tuple[str, ...]:
    """Returns a line for each quotient by a sum of exponentials that is not a known form of softmax."""
    reason = "a sum of exponentials that is not a known form of softmax; it can overflow"
    exps = [node for node in model.graph if node.op_type == "Exp" and not node.domain]
    summed = [n for n in exps if any(u.node.op_type == "ReduceSum" for u in n.outputs[0].uses())]
    return tuple(f"{label(node)}: {reason}" for node in summed)
