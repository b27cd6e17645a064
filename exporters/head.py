"""The head: a classifier's graph answers ``logits`` and ``probabilities``, always both, in float32.

What a network's answer is, is read off its last node::

    f(x), plain                 logits = f(x)              probabilities = Softmax(logits)
    Softmax(f(x))               logits = f(x)              probabilities = the answer
    LogSoftmax(f(x))            logits = f(x)              probabilities = Softmax(logits)
    Sigmoid(f(x))               several labels may hold at once: no classifier
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import onnx_ir as ir

from cnntk.exporters.passes.graph import dimensions, fresh_name, producer_of, remove_unused
from cnntk.runtime.artifact.spec import Head
from cnntk.runtime.errors import ExportCheckError, UsageError

__all__ = ["HeadOption", "HeadRecord", "add_head", "body_of", "double_softmax"]

HeadOption = Literal["auto", "classifier", "none"]

_PLACE = "head/"
"""What the names of the nodes that are added here begin with."""


@dataclass(frozen=True)
class HeadRecord:
    """What a model was taken for.

    Attributes:
        kind: ``classifier`` where it answers logits and probabilities now.
        reason: why, for people.
        softmax: the operator that the network ended in, if it was taken away: ``Softmax`` or ``LogSoftmax``.
    """

    kind: Head
    reason: str
    softmax: str = ""


def add_head(
    model: ir.Model, option: HeadOption, said: bool | None, allow_double_softmax: bool = False
) -> HeadRecord:
    """Makes a classifier answer ``logits`` and ``probabilities``, and leaves other models as they are.

    Args:
        model: changed in place. A classifier's outputs are ``logits`` and ``probabilities``, float32 (N, K),
            and behind them the others that it had; a value that bore one of these names gets another.
        option: ``auto`` takes for a classifier what answers one (N, K) of numbers, or what ``said`` says.
        said: whether the source itself says that it is a classifier; None where it does not say.
        allow_double_softmax: let a Softmax upon a Softmax pass.

    Raises:
        UsageError: ``classifier`` was asked for, and no output can be one.
        ExportCheckError: a Softmax upon a Softmax, or a Softmax over the batch.
    """
    twice = double_softmax(model)
    if twice is not None and not allow_double_softmax:
        raise ExportCheckError(twice)
    if option == "none":
        return HeadRecord("none", "no head, as asked")
    if option == "auto" and said is False:
        return HeadRecord("none", "no classifier, says the source")
    asked = option == "classifier" or said is True
    answer = _answer(model, asked)
    ending = answer.misfit or _no_classifier(answer)
    if answer.value is None or ending is not None:
        if option == "classifier":
            raise UsageError(
                f"--head classifier needs an output of shape [N, K], and plain numbers; {ending}"
            )
        return HeadRecord("none", f"no classifier: {ending}")
    ending, kept = _attach(model, answer.value)
    told = "as asked" if option == "classifier" else "says the source" if said else answer.why
    return HeadRecord(
        "classifier",
        f"{told}; it ended in {ending or 'plain logits'}",
        "" if kept or ending is None else ending,
    )


def body_of(output: ir.Value) -> ir.Value:
    """The value of the network's own whose numbers an output bears, behind what `add_head` put there.

    The output itself, where that is the network's own or a softmax of it.
    """
    node = output.producer()
    moved = node is not None and str(node.name).startswith(_PLACE) and node.op_type != "Softmax"
    return output if node is None or not moved or node.inputs[0] is None else body_of(node.inputs[0])


def double_softmax(model: ir.Model) -> str | None:
    """What is wrong where a Softmax is taken of a Softmax, which flattens probabilities; None where none is.

    Softmax and LogSoftmax of a LogSoftmax are sound: they answer its probabilities.
    """
    for node in model.graph:
        first = producer_of(_plain(node.inputs[0]), "Softmax") if node.inputs else None
        if node.op_type in ("Softmax", "LogSoftmax") and not node.domain and first is not None:
            return (
                f"{node.outputs[0].name}: {node.op_type} upon the Softmax {first.outputs[0].name}; the loss "
                "has a softmax of its own, so end the network in plain logits, or allow it explicitly"
            )
    return None


@dataclass(frozen=True)
class _Answer:
    """The output that may be logits, and why; or why none is."""

    value: ir.Value | None
    why: str = ""
    misfit: str | None = None


def _answer(model: ir.Model, asked: bool) -> _Answer:
    outputs = model.graph.outputs
    if len(outputs) > 1 and not asked:
        return _Answer(None, misfit=f"it has {len(outputs)} outputs")
    fitting = [o for o in outputs if _misfit(o, asked) is None]
    named = [o for o in fitting if o.name == "logits"]
    if not fitting:
        return _Answer(None, misfit="; ".join(str(_misfit(o, asked)) for o in outputs))
    chosen = (named or fitting)[0]
    return _Answer(chosen, f"{'one output' if len(outputs) == 1 else chosen.name} of shape {_text(chosen)}")


def _misfit(output: ir.Value, asked: bool) -> str | None:
    """Why an output can't be logits: they are floats of shape (N, K), K at least 2."""
    shape = dimensions(output)
    told = f"{output.name} of shape {_text(output)}"
    if output.dtype is None or not output.dtype.is_floating_point():
        return f"{told} is {output.dtype.name.lower() if output.dtype else 'of unknown type'}, not floats"
    if shape is not None and len(shape) == 4 and shape[2:] == (1, 1):
        return None if asked else f"{told}: --head classifier flattens it"
    if shape is None or len(shape) != 2 or not isinstance(shape[1], int):
        return f"one output of shape {_text(output)}" if len(output.name or "") == 0 else told
    if shape[1] < 2:
        return f"{told}: one number an image, as a regression answers"
    return None


def _no_classifier(answer: _Answer) -> str | None:
    last = producer_of(_plain(answer.value), "Sigmoid", "HardSigmoid")
    if last is None:
        return None
    return f"it ends in {last.op_type}: several labels may hold at once, and nothing sums to 1"


def _attach(model: ir.Model, answer: ir.Value) -> tuple[str | None, bool]:
    """Puts logits and probabilities in front of the other outputs.

    Returns:
        The softmax that the network ended in, and whether it answers the probabilities.
    """
    last = producer_of(_plain(answer), "Softmax", "LogSoftmax")
    raw = answer if last is None else last.inputs[0]
    if last is not None:
        _check_axis(last)
    if raw is None:
        raise ExportCheckError(f"{answer.name}: a softmax of nothing")
    others = [o for o in model.graph.outputs if o is not answer]
    keep = last is not None and last.op_type == "Softmax" and answer.dtype == raw.dtype == ir.DataType.FLOAT
    model.graph.outputs[:] = others
    _free_names(model, (answer, raw))
    logits = _logits(model, raw)
    probabilities = _named(model, answer, "probabilities") if keep else _softmax(model, logits)
    model.graph.outputs[:] = [logits, probabilities, *others]
    remove_unused(model, answer)
    return None if last is None else last.op_type, keep


def _logits(model: ir.Model, raw: ir.Value) -> ir.Value:
    """``raw`` as float32 (N, K), called ``logits``."""
    value = raw
    shape = dimensions(raw)
    if shape is not None and len(shape) == 4:
        value = _append(model, "Flatten", value, {"axis": 1}, ir.Shape(list(raw.shape or ())[:2]), raw.dtype)
    if value.dtype != ir.DataType.FLOAT:
        value = _append(model, "Cast", value, {"to": int(ir.DataType.FLOAT)}, value.shape, ir.DataType.FLOAT)
    return _named(model, value, "logits")


def _softmax(model: ir.Model, logits: ir.Value) -> ir.Value:
    value = _append(model, "Softmax", logits, {"axis": -1}, logits.shape, ir.DataType.FLOAT)
    return _named(model, value, "probabilities")


def _append(
    model: ir.Model,
    operator: str,
    value: ir.Value,
    attributes: dict[str, int],
    shape: ir.Shape | None,
    dtype: ir.DataType | None,
) -> ir.Value:
    node = ir.node(operator, [value], attributes, name=f"{_PLACE}{operator.lower()}")
    output = node.outputs[0]
    output.shape = None if shape is None else shape.copy()
    output.type = None if dtype is None else ir.TensorType(dtype)
    model.graph.append(node)
    return output


def _named(model: ir.Model, value: ir.Value, name: str) -> ir.Value:
    """The value under an output's name; by an Identity where it is an input or another output already."""
    if value.producer() is None or value.is_graph_output():
        value = _append(model, "Identity", value, {}, value.shape, value.dtype)
    value.name = name
    return value


def _free_names(model: ir.Model, mine: Sequence[ir.Value]) -> None:
    """Values that bear the head's names, and are not what they say, get others."""
    inside = (v for node in model.graph for v in node.outputs)
    for value in [*model.graph.inputs, *model.graph.initializers.values(), *inside]:
        if value.name in ("logits", "probabilities") and not any(value is m for m in mine):
            value.name = fresh_name(model.graph, value.name)
    for value in mine:
        if value.name in ("logits", "probabilities") and value.producer() is not None:
            value.name = fresh_name(model.graph, f"{value.name}_raw")


def _check_axis(softmax: ir.Node) -> None:
    axis, shape = softmax.attributes.get_int("axis", -1), dimensions(softmax.inputs[0])
    rank = len(shape) if shape is not None else 2
    if axis % rank != 1:
        raise ExportCheckError(
            f"{softmax.outputs[0].name}: {softmax.op_type} over axis {axis}, the "
            f"{'batch' if axis % rank == 0 else 'pixels'}: an image's answer would depend on its neighbors; "
            "take it over axis 1, the classes"
        )


def _plain(value: ir.Value | None) -> ir.Value | None:
    """The value behind Identity and casts between floats."""
    node = producer_of(value, "Identity", "Cast", "Flatten")
    if node is None or node.inputs[0] is None:
        return value
    return _plain(node.inputs[0])


def _text(value: ir.Value) -> str:
    return "x".join(str(d) for d in value.shape) if value.shape is not None else "unknown"
