"""The head: a classifier's graph has the outputs ``logits`` and ``probabilities``, always both, in float32.

The last node of the network says which of them its output is::

    f(x), plain                 logits = f(x)              probabilities = Softmax(logits)
    Softmax(f(x))               logits = f(x)              probabilities = the output
    LogSoftmax(f(x))            logits = f(x)              probabilities = Softmax(logits)
    Sigmoid(f(x))               several labels at once, so no classifier
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import onnx_ir as ir

from cnntk.exporters.options import HeadOption
from cnntk.exporters.passes.graph import dimensions, fresh_name, producer_of, remove_unused
from cnntk.runtime.artifact.spec import Head
from cnntk.runtime.errors import ExportCheckError, UsageError

_SCOPE = "head/"
"""Prefix of the names of added nodes."""


@dataclass(frozen=True)
class HeadRecord:
    """What a model was recognized as.

    Attributes:
        kind: ``classifier`` where it has logits and probabilities now, else ``none``.
        reason: Reason for ``kind``, in words.
        softmax: Last operator of the network, if it was removed: ``Softmax`` or ``LogSoftmax``; else "".
    """

    kind: Head
    reason: str
    softmax: str = ""


def add_head(
    model: ir.Model, option: HeadOption, classifier: bool | None, allow_double_softmax: bool = False
) -> HeadRecord:
    """Gives a classifier the outputs ``logits`` and ``probabilities``; other models stay as they are.

    Args:
        model: Graph, changed in place. A classifier's outputs are ``logits`` and ``probabilities``, float32
            (N, K), followed by its other outputs; another value with one of these names is renamed.
        option: ``auto``: a model with one output (N, K) of floats is a classifier, unless ``classifier`` says
            otherwise.
        classifier: Whether the source says that it is a classifier; None where it does not say.
        allow_double_softmax: Accept a Softmax of a Softmax.

    Raises:
        UsageError: ``classifier`` is required, and no output can be logits.
        ExportCheckError: The model has a Softmax of a Softmax, or a Softmax over the batch.
    """
    twice = double_softmax(model)
    if twice is not None and not allow_double_softmax:
        raise ExportCheckError(twice)
    if option == "none":
        return HeadRecord("none", "no head: --head none")
    if option == "auto" and classifier is False:
        return HeadRecord("none", "no classifier according to the source")
    required = option == "classifier" or classifier is True
    output, reason = _find_logits(model, required)
    problem = reason if output is None else _sigmoid(output)
    if output is None or problem is not None:
        if option == "classifier":
            raise UsageError(f"--head classifier: expected an output of floats with shape [N, K]; {problem}")
        return HeadRecord("none", f"no classifier: {problem}")
    ending, is_probabilities = _attach(model, output)
    if option == "classifier" or classifier:
        reason = "--head classifier" if option == "classifier" else "according to the source"
    return HeadRecord(
        "classifier",
        f"{reason}; the network ends in {ending or 'plain logits'}",
        "" if is_probabilities or ending is None else ending,
    )


def network_output(output: ir.Value) -> ir.Value:
    """The network's value that an output holds, without the nodes that `add_head` added.

    The output itself where it is the network's, or a softmax of it.
    """
    node = output.producer()
    added = node is not None and str(node.name).startswith(_SCOPE) and node.op_type != "Softmax"
    return output if node is None or not added or node.inputs[0] is None else network_output(node.inputs[0])


def double_softmax(model: ir.Model) -> str | None:
    """An error message where the graph has a Softmax of a Softmax, which flattens probabilities; else None.

    Softmax and LogSoftmax of a LogSoftmax are sound: they return its probabilities.
    """
    for node in model.graph:
        first = producer_of(_plain(node.inputs[0]), "Softmax") if node.inputs else None
        if node.op_type in ("Softmax", "LogSoftmax") and not node.domain and first is not None:
            return (
                f"{node.outputs[0].name}: {node.op_type} of the Softmax {first.outputs[0].name}; the loss "
                "applies a softmax too, so end the network in plain logits, or use --allow-double-softmax"
            )
    return None


def _find_logits(model: ir.Model, required: bool) -> tuple[ir.Value | None, str]:
    """The output that may be logits, and the reason; or None, and the problem with all outputs."""
    outputs = model.graph.outputs
    if len(outputs) > 1 and not required:
        return None, f"it has {len(outputs)} outputs"
    fitting = [o for o in outputs if _problem(o, required) is None]
    named = [o for o in fitting if o.name == "logits"]
    if not fitting:
        return None, "; ".join(str(_problem(o, required)) for o in outputs)
    first = (named or fitting)[0]
    return first, f"{'one output' if len(outputs) == 1 else first.name} of shape {_text(first)}"


def _problem(output: ir.Value, required: bool) -> str | None:
    """Why an output can't be logits: they are floats of shape (N, K), K at least 2."""
    shape = dimensions(output)
    text = f"{output.name} of shape {_text(output)}"
    if output.dtype is None or not output.dtype.is_floating_point():
        return f"{text} is {output.dtype.name.lower() if output.dtype else 'of unknown type'}, not floats"
    if shape is not None and len(shape) == 4 and shape[2:] == (1, 1):
        return None if required else f"{text}: --head classifier flattens it"
    if shape is None or len(shape) != 2 or not isinstance(shape[1], int):
        return f"one output of shape {_text(output)}" if len(output.name or "") == 0 else text
    if shape[1] < 2:
        return f"{text}: one number an image, like a regression"
    return None


def _sigmoid(output: ir.Value) -> str | None:
    last = producer_of(_plain(output), "Sigmoid", "HardSigmoid")
    if last is None:
        return None
    return f"it ends in {last.op_type}: several labels may apply at once, and they do not sum to 1"


def _attach(model: ir.Model, output: ir.Value) -> tuple[str | None, bool]:
    """Puts logits and probabilities in front of the other outputs.

    Returns:
        The network's final softmax, and whether it is still in the graph as ``probabilities``.
    """
    last = producer_of(_plain(output), "Softmax", "LogSoftmax")
    raw = output if last is None else last.inputs[0]
    if last is not None:
        _check_axis(last)
    if raw is None:
        raise ExportCheckError(f"{output.name}: a softmax without input")
    others = [o for o in model.graph.outputs if o is not output]
    keep = last is not None and last.op_type == "Softmax" and output.dtype == raw.dtype == ir.DataType.FLOAT
    model.graph.outputs[:] = others
    _free_names(model, (output, raw))
    logits = _logits(model, raw)
    probabilities = _named(model, output, "probabilities") if keep else _softmax(model, logits)
    model.graph.outputs[:] = [logits, probabilities, *others]
    remove_unused(model, output)
    return None if last is None else last.op_type, keep


def _logits(model: ir.Model, raw: ir.Value) -> ir.Value:
    """``raw`` as float32 (N, K), named ``logits``."""
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
    node = ir.node(operator, [value], attributes, name=f"{_SCOPE}{operator.lower()}")
    output = node.outputs[0]
    output.shape = None if shape is None else shape.copy()
    output.type = None if dtype is None else ir.TensorType(dtype)
    model.graph.append(node)
    return output


def _named(model: ir.Model, value: ir.Value, name: str) -> ir.Value:
    """The value with an output's name; an Identity of it where it is an input or another output already."""
    if value.producer() is None or value.is_graph_output():
        value = _append(model, "Identity", value, {}, value.shape, value.dtype)
    value.name = name
    return value


def _free_names(model: ir.Model, new_outputs: Sequence[ir.Value]) -> None:
    """Renames values that have the head's names but are not its outputs."""
    inside = (v for node in model.graph for v in node.outputs)
    for value in [*model.graph.inputs, *model.graph.initializers.values(), *inside]:
        if value.name in ("logits", "probabilities") and not any(value is output for output in new_outputs):
            value.name = fresh_name(model.graph, value.name)
    for value in new_outputs:
        if value.name in ("logits", "probabilities") and value.producer() is not None:
            value.name = fresh_name(model.graph, f"{value.name}_raw")


def _check_axis(softmax: ir.Node) -> None:
    axis, shape = softmax.attributes.get_int("axis", -1), dimensions(softmax.inputs[0])
    rank = len(shape) if shape is not None else 2
    if axis % rank != 1:
        raise ExportCheckError(
            f"{softmax.outputs[0].name}: {softmax.op_type} over axis {axis}, the "
            f"{'batch' if axis % rank == 0 else 'pixels'}, so an image's output would depend on the rest "
            "of the batch; use axis 1, the classes"
        )


def _plain(value: ir.Value | None) -> ir.Value | None:
    """The value behind Identity and casts between floats."""
    node = producer_of(value, "Identity", "Cast", "Flatten")
    if node is None or node.inputs[0] is None:
        return value
    return _plain(node.inputs[0])


def _text(value: ir.Value) -> str:
    return "x".join(str(d) for d in value.shape) if value.shape is not None else "unknown"
