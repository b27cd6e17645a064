"""Softmax by hand becomes Softmax; the logarithm of one becomes LogSoftmax.

::

    exp(x) / sum(exp(x))                        ->  Softmax(x)
    exp(x - m) / sum(exp(x - m)), m = max(x)    ->  Softmax(x)
    exp(x) * (1 / sum(exp(x)))                  ->  Softmax(x)
    log(Softmax(x))                             ->  LogSoftmax(x)
    x - log(sum(exp(x))), x - logsumexp(x)      ->  LogSoftmax(x)
    x - (m + log(sum(exp(x - m))))              ->  LogSoftmax(x)
    exp(LogSoftmax(x))                          ->  Softmax(x)

All are equal as real numbers. As float32, exp overflows from 88.8 on and answers NaN, and log(Softmax(x))
is minus infinity where Softmax underflows; Softmax and LogSoftmax subtract the maximum first, and do
neither. A shift m is taken off only where it is the maximum over the same axis; any other stays in x.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import onnx_ir as ir

from cnntk.exporters.passes.graph import constant, dimensions, label, made_by, opset, put, sweep, uniform
from cnntk.exporters.passes.infra import Rewrites

__all__ = ["StableSoftmax"]

_LOG_OF_SMALLEST = -80.0
"""exp(-87.3) is the smallest normal float32; some way below it, log(softmax) has lost its digits."""


@dataclass(frozen=True)
class _Match:
    """``source`` over ``axis``, and how the form is called."""

    source: ir.Value
    axis: int
    form: str


class StableSoftmax:
    """Replaces hand-written softmaxes by operators that neither overflow nor underflow."""

    name = "stable softmax"
    reason = "exp overflows at 88.8 in float32, and log(softmax) is minus infinity where softmax underflows"

    def __call__(self, model: ir.Model) -> Rewrites:
        done: list[str] = []
        logs = False
        for node in list(model.graph):
            found = None if node.domain or node.graph is None else _match(node)
            if found is None or opset(model) < 13:
                continue
            operator = "LogSoftmax" if found.form in _LOGS else "Softmax"
            logs |= operator == "LogSoftmax"
            done.append(f"{label(node)}: {found.form} is {operator} of {found.source.name}")
            old = node.outputs[0]
            put(old, operator, [found.source], {"axis": found.axis})
            sweep(model, old)
        return Rewrites(tuple(done), _declined(model), lowest=_LOG_OF_SMALLEST if logs else None)


_LOGS = ("log(softmax(x))", "x - log(sum(exp(x)))")


def _match(node: ir.Node) -> _Match | None:
    rule = {"Div": _quotient, "Mul": _product, "Log": _logarithm, "Sub": _difference, "Exp": _exponential}
    return rule[node.op_type](node) if node.op_type in rule else None


def _quotient(node: ir.Node) -> _Match | None:
    return _normalized(node.inputs[0], node.inputs[1], "exp(x) / sum(exp(x))")


def _product(node: ir.Node) -> _Match | None:
    """exp(x) times the reciprocal of the sum, which is written in three ways."""
    for numerator, factor in (node.inputs, reversed(node.inputs)):
        found = _normalized(numerator, _inverted(factor), "exp(x) * (1 / sum(exp(x)))")
        if found is not None:
            return found
    return None


def _inverted(value: ir.Value | None) -> ir.Value | None:
    node = made_by(value, "Reciprocal", "Div", "Pow")
    if node is None:
        return None
    if node.op_type == "Div":
        return node.inputs[1] if uniform(node.inputs[0]) == 1 else None
    return node.inputs[0] if node.op_type == "Reciprocal" or uniform(node.inputs[1]) == -1 else None


def _normalized(numerator: ir.Value | None, total: ir.Value | None, form: str) -> _Match | None:
    exp, reduced = made_by(numerator, "Exp"), _reduced(total, "ReduceSum")
    if exp is None or reduced is None:
        return None
    source, axis = reduced
    summed = made_by(source, "Exp")
    if summed is None or not _equal(summed.inputs[0], exp.inputs[0]) or exp.inputs[0] is None:
        return None
    return _Match(_without_maximum(exp.inputs[0], axis), axis, form)


def _logarithm(node: ir.Node) -> _Match | None:
    softmax = made_by(node.inputs[0], "Softmax")
    axis = _axis(softmax)
    if softmax is None or softmax.inputs[0] is None or axis is None:
        return None
    return _Match(softmax.inputs[0], axis, "log(softmax(x))")


def _exponential(node: ir.Node) -> _Match | None:
    log = made_by(node.inputs[0], "LogSoftmax")
    axis = _axis(log)
    if log is None or log.inputs[0] is None or axis is None:
        return None
    return _Match(log.inputs[0], axis, "exp(log_softmax(x))")


def _difference(node: ir.Node) -> _Match | None:
    """x - logsumexp(x), x - log(sum(exp(x))), and x - (m + log(sum(exp(x - m))))."""
    x, taken = node.inputs
    if x is None:
        return None
    axis = _log_sum_exp(x, taken)
    if axis is None:
        axis = _shifted_log_sum_exp(x, taken)
    return None if axis is None else _Match(_without_maximum(x, axis), axis, "x - log(sum(exp(x)))")


def _log_sum_exp(x: ir.Value, taken: ir.Value | None) -> int | None:
    direct = _reduced(taken, "ReduceLogSumExp")
    if direct is not None:
        return direct[1] if _equal(direct[0], x) else None
    log = _through_shape(taken, "Log")
    reduced = _reduced(log.inputs[0] if log is not None else None, "ReduceSum", like=taken)
    exp = made_by(reduced[0], "Exp") if reduced is not None else None
    return reduced[1] if exp is not None and reduced is not None and _equal(exp.inputs[0], x) else None


def _shifted_log_sum_exp(x: ir.Value, taken: ir.Value | None) -> int | None:
    total = made_by(taken, "Add")
    for maximum, log in (total.inputs, reversed(total.inputs)) if total is not None else ():
        made = made_by(log, "Log")
        reduced = _reduced(made.inputs[0] if made is not None else None, "ReduceSum")
        exp = made_by(reduced[0], "Exp") if reduced is not None else None
        shifted = made_by(exp.inputs[0], "Sub") if exp is not None else None
        if reduced is None or shifted is None:
            continue
        if _equal(shifted.inputs[0], x) and _equal(shifted.inputs[1], maximum):
            return reduced[1]
    return None


def _without_maximum(x: ir.Value, axis: int) -> ir.Value:
    """x where it is x - max(x) over the same axis: Softmax takes the maximum off itself."""
    difference = made_by(x, "Sub")
    maximum = _reduced(difference.inputs[1], "ReduceMax") if difference is not None else None
    if difference is None or maximum is None:
        return x
    given = difference.inputs[0]
    return given if given is not None and _equal(maximum[0], given) and maximum[1] == axis else x


def _reduced(
    value: ir.Value | None, operator: str, like: ir.Value | None = None
) -> tuple[ir.Value, int] | None:
    """What is reduced over one axis, which is kept as 1, and that axis; None where it is something else."""
    node = _through_shape(value, operator)
    source = node.inputs[0] if node is not None else None
    axis = _reduced_axis(node)
    before, after = dimensions(source), dimensions(like or value)
    if source is None or axis is None or before is None or after is None:
        return None
    expected = tuple(1 if i == axis else d for i, d in enumerate(before))
    return (source, axis) if _agree(after, expected) else None


def _agree(shape: tuple[int | str | None, ...], expected: tuple[int | str | None, ...]) -> bool:
    """Whether shapes are equal, where a reshaped batch may bear another name."""
    return len(shape) == len(expected) and all(
        a == b or (not isinstance(a, int) and not isinstance(b, int))
        for a, b in zip(shape, expected, strict=True)
    )


def _through_shape(value: ir.Value | None, operator: str) -> ir.Node | None:
    """The node behind Unsqueeze, Reshape and the like, which put a reduced axis back."""
    found = made_by(value, operator)
    through = made_by(value, "Unsqueeze", "Reshape", "Identity")
    if found is not None or through is None:
        return found
    return _through_shape(through.inputs[0], operator)


def _reduced_axis(node: ir.Node | None) -> int | None:
    """The one axis that a node reduces, counted from the front."""
    given = dimensions(node.inputs[0]) if node is not None else None
    if node is None or given is None:
        return None
    axes: Iterable[int] | None = node.attributes.get_ints("axes")
    if axes is None and len(node.inputs) > 1:
        array = constant(node.inputs[1])
        axes = None if array is None else array.reshape(-1).tolist()
    listed = list(axes or ())
    return listed[0] % len(given) if len(listed) == 1 else None


def _axis(node: ir.Node | None) -> int | None:
    return None if node is None else node.attributes.get_int("axis", -1)


def _equal(one: ir.Value | None, other: ir.Value | None) -> bool:
    """The same value, or the same expression: exporters write exp(x) twice."""
    if one is other:
        return one is not None
    left, right = one.producer() if one else None, other.producer() if other else None
    if left is None or right is None or left.op_type != right.op_type or left.op_type not in _PURE:
        a, b = constant(one), constant(other)
        return a is not None and b is not None and a.shape == b.shape and bool((a == b).all())
    same = len(left.inputs) == len(right.inputs) and left.attributes == right.attributes
    return same and all(_equal(a, b) for a, b in zip(left.inputs, right.inputs, strict=True))


_PURE = ("Exp", "Sub", "ReduceMax", "Unsqueeze", "Reshape")


def _declined(model: ir.Model) -> tuple[str, ...]:
    """Quotients by a sum of exponentials that are no softmax of a known form."""
    lines = []
    for node in model.graph:
        if node.op_type != "Exp" or node.domain:
            continue
        if any(u.node.op_type == "ReduceSum" for u in node.outputs[0].uses()):
            lines.append(
                f"{label(node)}: a sum of exponentials that is no softmax of a known form; it can overflow"
            )
    return tuple(lines)
