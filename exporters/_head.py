"""The head: a classifier's graph has the outputs ``logits`` and ``probabilities``, always both, in float32.

The values of the network's output on the test inputs say what it is (`cnntk.runtime.output_values`), and its
last nodes say where the logits are::

    Softmax(f(x)), then only shape  logits = f(x)         probabilities = the output
    LogSoftmax(f(x))                logits = f(x)         probabilities = Softmax(logits)
    another distribution p          logits = Log(p)       probabilities = the output
    plain numbers f(x)              logits = f(x)         probabilities = Softmax(logits)
    independent probabilities, unit vectors, boxes        no classifier
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from cnntk.exporters.checks.limits import PROBABILITIES
from cnntk.exporters.options import HeadOption
from cnntk.exporters.passes.graph import (
    dimensions,
    fresh_name,
    producer_of,
    remove_unused,
    same_shape,
)
from cnntk.exporters.session import Arrays, GraphSession
from cnntk.runtime.artifact.spec import Head
from cnntk.runtime.errors import ExportCheckError, UnsupportedArtifact, UsageError
from cnntk.runtime.output_values import (
    OTHER_NAMES,
    OTHER_REASONS,
    OutputEvidence,
    describe_output,
    is_softmax_of,
)

HEAD_SCOPE = "head/"
"""Prefix of the names of added nodes."""

LOGITS = "logits"

_SAME_VALUE = frozenset({"Identity", "Cast", "Flatten"})
"""Operators of added nodes behind which the network's value is the same."""

_SMALLEST = 1.1754944e-38
"""Smallest normal float32: its logarithm stands for that of 0."""


@dataclass(frozen=True)
class HeadRecord:
    """What a model was recognized as.

    Attributes:
        kind: ``classifier`` where it has logits and probabilities now, else ``none``.
        reason: Reason for ``kind`` and its evidence, in words.
        softmax: Last operator of the network, if it was removed: ``Softmax`` or ``LogSoftmax``; else "".
        softmax_of_logits: Whether ``probabilities`` is a Softmax of ``logits`` in the graph.
    """

    kind: Head
    reason: str
    softmax: str = ""
    softmax_of_logits: bool = False


def output_values(model: ir.Model, inputs: Mapping[str, NDArray[Any]]) -> Arrays:
    """The outputs of a graph, and what its final softmaxes are computed from, by name, for `add_head`.

    Args:
        model: Graph without a head.
        inputs: Test inputs, one of each kind, by name; (inputs, ...).

    Raises:
        InferenceError: onnxruntime can't run the graph.
    """
    outputs = [str(v.name) for v in model.graph.outputs]
    finals = (_final_softmax(v) for v in model.graph.outputs)
    sources = [node.inputs[0] for node in finals if node is not None]
    inner = {str(v.name) for v in sources if v is not None and v.producer() is not None} - set(outputs)
    with np.errstate(over="ignore", invalid="ignore"):
        return GraphSession(model, [*outputs, *sorted(inner)]).run(inputs)


def add_head(
    model: ir.Model,
    option: HeadOption,
    classifier: bool | None,
    allow_double_softmax: bool = False,
    values: Arrays | None = None,
) -> HeadRecord:
    """Gives a classifier the outputs ``logits`` and ``probabilities``; other models stay as they are.

    Args:
        model: Graph, changed in place. A classifier's outputs are ``logits`` and ``probabilities``, float32
            (N, K), followed by its other outputs; another value with one of these names is renamed.
        option: ``auto``: a model with one output (N, K) of floats (others may be integers), or one named
            ``logits``, is a classifier where its values are a distribution, logarithms of one, or plain
            numbers, unless ``classifier`` says otherwise.
        classifier: Whether the source says that it is a classifier; None where it does not say.
        allow_double_softmax: Accept a Softmax of a Softmax.
        values: Result of `output_values`; without it, the last node decides.

    Raises:
        UsageError: ``classifier`` is required, and no output can be logits.
        ExportCheckError: The model has a Softmax of a Softmax, a Softmax over the batch, or a softmax that
            overflows.
    """
    twice = double_softmax(model, values)
    if twice is not None and not allow_double_softmax:
        raise ExportCheckError(twice)
    if option == "none":
        return HeadRecord("none", "no head: --head none")
    if option == "auto" and classifier is False:
        return HeadRecord("none", "no classifier according to the source")
    evidence = {name: describe_output(array) for name, array in (values or {}).items() if array.ndim}
    pair = _both_outputs(model)
    if pair is not None and not is_softmax_of(*((values or {}).get(str(v.name), np.zeros(0)) for v in pair)):
        return _keep_both(model, *pair, evidence.get(PROBABILITIES))
    return _add_head(model, option, classifier, evidence, pair)


def _add_head(
    model: ir.Model,
    option: HeadOption,
    classifier: bool | None,
    evidence: Mapping[str, OutputEvidence],
    pair: tuple[ir.Value, ir.Value] | None,
) -> HeadRecord:
    required = option == "classifier" or classifier is True
    output, reason = _find_logits(model, required, evidence)
    shown = evidence.get(str(output.name)) if output is not None else None
    problem = reason if output is None else _sigmoid(output) or _other_output(output, shown, required)
    if output is None or problem is not None:
        if option == "classifier":
            raise UsageError(f"--head classifier: expected an output of floats with shape [N, K]; {problem}")
        return HeadRecord("none", f"no classifier: {problem}")
    if option == "classifier" or classifier:
        reason = "--head classifier" if option == "classifier" else "according to the source"
    last, is_distribution = _final_softmax(output), shown is not None and shown.kind == "distribution"
    _check_finite(output, shown)
    source = evidence.get(str(last.inputs[0].name)) if last is not None and last.inputs[0] else None
    if is_distribution and source is not None and not source.finite:
        last = None  # its logits are infinite where a mask is; their logarithm is not
    if last is None and is_distribution:
        _attach_logarithm(model, output)
        record = HeadRecord("classifier", f"{reason}; the output is a distribution, logits are its logarithm")
    else:
        if pair is not None:  # the network's own probabilities are this softmax
            model.graph.outputs.remove(pair[0])
        operator, is_probabilities = _attach(model, output, last)
        record = HeadRecord(
            "classifier",
            f"{reason}; the network ends in {operator or 'plain logits'}",
            ("" if is_probabilities else operator or "") if pair is None else "Softmax",
            True,
        )
        if pair is not None:
            remove_unused(model, pair[0])
    return record if shown is None else replace(record, reason=f"{record.reason} ({shown.text})")


def add_temperature(model: ir.Model, temperature: float) -> None:
    """Makes ``probabilities`` the softmax of ``logits / temperature``, whatever they were, in place.

    Raises:
        UnsupportedArtifact: The graph does not have both outputs as float32 (N, K).
    """
    outputs = {str(v.name): v for v in model.graph.outputs}
    logits, before = outputs.get(LOGITS), outputs.get(PROBABILITIES)
    if logits is None or before is None or logits.dtype != before.dtype or _problem(logits, False):
        raise UnsupportedArtifact(
            "a temperature needs the outputs logits and probabilities, [N, K] of one type; export the model "
            "again as a classifier"
        )
    before.name = fresh_name(model.graph, f"{PROBABILITIES}_before")
    value = {"value": ir.tensor(np.array(temperature, np.float32))}
    divisor = _append(model, "Constant", [], value, ir.Shape([]), ir.DataType.FLOAT)
    scaled = _append(model, "Div", [logits, divisor], {}, logits.shape, ir.DataType.FLOAT)
    for name, added in (("temperature", divisor), ("scaled_logits", scaled)):
        added.name = fresh_name(model.graph, f"{HEAD_SCOPE}{name}")
    index = list(model.graph.outputs).index(before)
    model.graph.outputs[index] = _softmax(model, scaled)
    remove_unused(model, before)


def network_output(output: ir.Value) -> ir.Value:
    """The network's value that an output holds, without the nodes that `add_head` added.

    The output itself where it is the network's, or a softmax or logarithm of it.
    """
    node = output.producer()
    added = node is not None and str(node.name).startswith(HEAD_SCOPE) and node.op_type in _SAME_VALUE
    return output if node is None or not added or node.inputs[0] is None else network_output(node.inputs[0])


def double_softmax(model: ir.Model, values: Arrays | None = None) -> str | None:
    """An error message where a Softmax is applied to probabilities, which flattens them; else None.

    Softmax and LogSoftmax of a LogSoftmax are sound: they return its probabilities.

    Args:
        model: Graph.
        values: Result of `output_values`: shows probabilities that do not come from a Softmax.
    """
    for node in model.graph:
        if node.op_type not in ("Softmax", "LogSoftmax") or node.domain or not node.inputs:
            continue
        first = producer_of(_plain(node.inputs[0]), "Softmax")
        source = node.inputs[0]
        name = f"the Softmax {first.outputs[0].name}" if first is not None else None
        array = (values or {}).get(str(source.name)) if source is not None else None
        if name is None and array is not None and array.ndim == 2:
            shown = describe_output(array)
            name = f"{source.name}, whose {shown.text}," if source and shown.kind == "distribution" else None
        if name is not None:
            return (
                f"{node.outputs[0].name}: {node.op_type} of {name}; the loss "
                "applies a softmax too, so end the network in plain logits, or use --allow-double-softmax"
            )
    return None


def _both_outputs(model: ir.Model) -> tuple[ir.Value, ir.Value] | None:
    """The outputs named ``probabilities`` and ``logits``, where the network returns both in one shape."""
    outputs = {v.name: v for v in model.graph.outputs}
    probabilities, logits = outputs.get(PROBABILITIES), outputs.get(LOGITS)
    if probabilities is None or logits is None or _problem(logits, False) or _problem(probabilities, False):
        return None
    shapes = dimensions(logits), dimensions(probabilities)
    return (probabilities, logits) if shapes[0] == shapes[1] else None


def _keep_both(
    model: ir.Model, probabilities: ir.Value, logits: ir.Value, evidence: OutputEvidence | None
) -> HeadRecord:
    """Leaves the network's own ``logits`` and ``probabilities``, which are no softmax of them."""
    shown = f" ({evidence.text})" if evidence else ""
    if evidence is None or evidence.kind != "distribution":
        return HeadRecord(
            "none",
            f"no classifier: the network's own probabilities are no distribution over its logits{shown}",
        )
    others = [v for v in model.graph.outputs if v is not probabilities and v is not logits]
    model.graph.outputs[:] = others
    _free_names(model, (logits, probabilities))
    both = [_in_float32(model, logits, LOGITS), _in_float32(model, probabilities, PROBABILITIES)]
    model.graph.outputs[:] = [*both, *others]
    return HeadRecord(
        "classifier", f"the network returns logits, and probabilities that are not their softmax{shown}"
    )


def _find_logits(
    model: ir.Model, required: bool, evidence: Mapping[str, OutputEvidence]
) -> tuple[ir.Value | None, str]:
    """The output that may be logits, and the reason; or None, and the problem with all outputs."""
    outputs = model.graph.outputs
    fitting = [o for o in outputs if _problem(o, required) is None]
    named = [o for o in fitting if o.name == LOGITS]
    shown = evidence.get(PROBABILITIES)
    if not named and shown is not None and shown.kind == "distribution":
        named = [o for o in fitting if o.name == PROBABILITIES]
    floats = [o for o in outputs if o.dtype is not None and o.dtype.is_floating_point()]
    several = len(outputs) > 1 and len(floats) != 1  # integers beside one are labels or indices
    if several and not required and not named:
        return None, f"it has {len(outputs)} outputs, none of them named logits"
    if not fitting:
        return None, "; ".join(str(_problem(o, required)) for o in floats or outputs)
    first = (named or fitting)[0]
    return first, f"{'one output' if len(outputs) == 1 else first.name} of shape {_text(first)}"


def _other_output(output: ir.Value, evidence: OutputEvidence | None, required: bool) -> str | None:
    """Why an output of this name and these values is none of a classifier; None where it may be one."""
    if required:
        return None
    if evidence is not None and evidence.kind in OTHER_REASONS:
        return f"{evidence.text}: {OTHER_REASONS[evidence.kind]}; --head classifier takes it as logits"
    if str(output.name).lower() in OTHER_NAMES:
        return f"it is named {output.name}; --head classifier takes it as logits"
    return None


def _check_finite(output: ir.Value, evidence: OutputEvidence | None) -> None:
    """Refuses a distribution that is NaN on some test input: a softmax that overflows."""
    if evidence is not None and evidence.kind == "distribution" and not evidence.finite:
        raise ExportCheckError(
            f"{output.name}: {evidence.text}, but it is NaN or infinite on inputs of ±1e4: a softmax that "
            "overflows; use torch.softmax, which subtracts the maximum. Nothing was written"
        )


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
    if producer_of(_plain(output), "TopK") is not None:
        return f"{text}: the largest values, whose columns are not always the same classes"
    if isinstance(shape[0], str) and not shape[0].isidentifier():
        return f"{text}: several rows an image"
    if shape[1] < 2:
        return f"{text}: one number an image, like a regression"
    return None


def _sigmoid(output: ir.Value) -> str | None:
    last = producer_of(_plain(output), "Sigmoid", "HardSigmoid")
    if last is None:
        return None
    return f"it ends in {last.op_type}: several labels may apply at once, and they do not sum to 1"


def _final_softmax(output: ir.Value) -> ir.Node | None:
    """The Softmax or LogSoftmax behind which only the shape changes, and an image keeps K values."""
    last = producer_of(_plain(output), "Softmax", "LogSoftmax")
    raw = None if last is None else last.inputs[0]
    shape, result = dimensions(raw), dimensions(output)
    if last is None or raw is None or shape is None or result is None:
        return last
    one_pixel = len(shape) > 2 and shape[:2] == result[:2] and set(shape[2:]) == {1}
    return last if shape == result or one_pixel else None


def _attach(model: ir.Model, output: ir.Value, last: ir.Node | None) -> tuple[str | None, bool]:
    """Puts logits and probabilities in front of the other outputs.

    Args:
        model: Graph.
        output: The network's output.
        last: Its final softmax; None for plain logits.

    Returns:
        The name of the final softmax, and whether it is still in the graph as ``probabilities``.
    """
    raw = output if last is None else last.inputs[0]
    if last is not None:
        _check_axis(last)
    if raw is None:
        raise ExportCheckError(f"{output.name}: a softmax without input")
    others = [o for o in model.graph.outputs if o is not output]
    is_matrix = same_shape(raw, output) and len(dimensions(output) or ()) == 2
    is_softmax = last is not None and last.op_type == "Softmax" and is_matrix
    keep = is_softmax and output.dtype == raw.dtype == ir.DataType.FLOAT
    model.graph.outputs[:] = others
    _free_names(model, (output, raw))
    logits = _in_float32(model, raw, LOGITS)
    probabilities = _named(model, output, PROBABILITIES) if keep else _softmax(model, logits)
    model.graph.outputs[:] = [logits, probabilities, *others]
    remove_unused(model, output)
    return None if last is None else last.op_type, keep


def _attach_logarithm(model: ir.Model, output: ir.Value) -> None:
    """Puts a distribution and its logarithm in front of the other outputs.

    Zeros count as the smallest normal number, so that every logit is finite.
    """
    others = [o for o in model.graph.outputs if o is not output]
    model.graph.outputs[:] = others
    _free_names(model, (output, output))
    probabilities = _in_float32(model, output, PROBABILITIES)
    shape, dtype = probabilities.shape, ir.DataType.FLOAT
    smallest = {"value": ir.tensor(np.array(_SMALLEST, np.float32))}
    limit = _append(model, "Constant", [], smallest, ir.Shape([]), dtype)
    clipped = _append(model, "Max", [probabilities, limit], {}, shape, dtype)
    logits = _named(model, _append(model, "Log", [clipped], {}, shape, dtype), LOGITS)
    model.graph.outputs[:] = [logits, probabilities, *others]


def _in_float32(model: ir.Model, raw: ir.Value, name: str) -> ir.Value:
    """``raw`` as float32 (N, K), named ``name``."""
    value = raw
    shape = dimensions(raw)
    if shape is not None and len(shape) > 2:
        matrix = ir.Shape(list(raw.shape or ())[:2])
        value = _append(model, "Flatten", [value], {"axis": 1}, matrix, raw.dtype)
    if value.dtype != ir.DataType.FLOAT:
        to = {"to": int(ir.DataType.FLOAT)}
        value = _append(model, "Cast", [value], to, value.shape, ir.DataType.FLOAT)
    return _named(model, value, name)


def _softmax(model: ir.Model, logits: ir.Value) -> ir.Value:
    value = _append(model, "Softmax", [logits], {"axis": -1}, logits.shape, ir.DataType.FLOAT)
    return _named(model, value, PROBABILITIES)


def _append(
    model: ir.Model,
    operator: str,
    inputs: Sequence[ir.Value],
    attributes: Mapping[str, Any],
    shape: ir.Shape | None,
    dtype: ir.DataType | None,
) -> ir.Value:
    node = ir.node(operator, list(inputs), attributes, name=f"{HEAD_SCOPE}{operator.lower()}")
    output = node.outputs[0]
    output.shape = None if shape is None else shape.copy()
    output.type = None if dtype is None else ir.TensorType(dtype)
    model.graph.append(node)
    return output


def _named(model: ir.Model, value: ir.Value, name: str) -> ir.Value:
    """The value with an output's name; an Identity of it where it is an input or another output already."""
    if value.producer() is None or value.is_graph_output():
        value = _append(model, "Identity", [value], {}, value.shape, value.dtype)
    value.name = name
    return value


def _free_names(model: ir.Model, new_outputs: Sequence[ir.Value]) -> None:
    """Renames values that have the head's names but are not its outputs."""
    inside = (v for node in model.graph for v in node.outputs)
    for value in [*model.graph.inputs, *model.graph.initializers.values(), *inside]:
        if value.name in (LOGITS, PROBABILITIES) and not any(value is output for output in new_outputs):
            value.name = fresh_name(model.graph, value.name)
    for value in new_outputs:
        if value.name in (LOGITS, PROBABILITIES) and value.producer() is not None:
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
    """The value behind Identity, casts between floats, and changes of shape."""
    node = producer_of(value, "Identity", "Cast", "Flatten", "Reshape", "Squeeze", "Unsqueeze")
    if node is None or node.inputs[0] is None:
        return value
    return _plain(node.inputs[0])


def _text(value: ir.Value) -> str:
    return "x".join(str(d) for d in value.shape) if value.shape is not None else "unknown"
