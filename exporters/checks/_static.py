"""Checks that do not run the graph: nothing in it is random, every weight is finite."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from cnntk.exporters.checks._candidate import Candidate, Check
from cnntk.exporters.passes.graph import SHAPE_OPERATORS
from cnntk.exporters.shapes.dataflow import node_origin
from cnntk.runtime.errors import ExportCheckError

_RANDOM = frozenset(
    {
        "Bernoulli",
        "Multinomial",
        "RandomNormal",
        "RandomNormalLike",
        "RandomUniform",
        "RandomUniformLike",
    }
)


_SAME_ELEMENTS = SHAPE_OPERATORS | {"Concat", "Gather", "Slice", "Tile"}
_MASKED = frozenset({"Add", "Sub"})
_MAXIMA = frozenset(
    {"Softmax", "LogSoftmax", "ReduceMax", "MaxPool", "GlobalMaxPool", "ArgMax", "TopK", "Max"}
)
_BOUNDING = {
    "Pad": range(2, 3),
    "Where": range(1, 3),
    "Clip": range(1, 3),
    "Max": range(100),
    "Min": range(100),
    "Less": range(2),
    "LessOrEqual": range(2),
    "Greater": range(2),
    "GreaterOrEqual": range(2),
    "Equal": range(2),
    "ScatterND": range(3),
    "ScatterElements": range(3),
    "Attention": range(3, 4),
}
"""Inputs of operators at which an infinite constant is a bound, a mask or a pad."""


def check_nothing_random(candidate: Candidate) -> Check:
    """No node is random, applies dropout, or normalizes by statistics of the batch.

    Raises:
        ExportCheckError: A node does; the message says why the passes left it.
    """
    nodes = list(candidate.model.graph.all_nodes())
    for node in nodes:
        if reason := _random(node):
            hint = f"; {candidate.skipped[0]}" if candidate.skipped else ""
            raise ExportCheckError(
                f"{node_origin(node)} {reason}, also at inference{hint}. Nothing was written"
            )
    return Check("nothing random", f"{len(nodes)} nodes: no random draw, dropout or batch statistics")


def check_finite_weights(candidate: Candidate) -> Check:
    """Every weight is finite; infinite constants are sound where they only bound, mask or pad.

    Raises:
        ExportCheckError: A weight is NaN or infinite, or a constant is NaN, or infinite where it is computed
            with.
    """
    trained = trained_names(candidate)
    count, bounding = 0, []
    for name, value in candidate.model.graph.initializers.items():
        tensor = value.const_value
        if tensor is None or not tensor.dtype.is_floating_point():
            continue
        array = tensor.numpy().reshape(-1)
        count += array.size
        finite = np.isfinite(array)
        if finite.all():
            continue
        if name not in trained and not np.isnan(array).any() and _only_bounds(value):
            bounding.append(name)
            continue
        first = int(np.flatnonzero(~finite)[0])
        raise ExportCheckError(
            f"weight {name}: {array[first]} at position {first}, expected finite values; train again. "
            "Nothing was written"
        )
    infinite = f"; infinite bounds, masks or pads: {', '.join(bounding)}" if bounding else ""
    return Check("finite weights", f"{count:,} numbers{infinite}")


def trained_names(candidate: Candidate) -> frozenset[str]:
    """Names of the source's parameters; empty for a graph, which does not say what was trained."""
    if candidate.source.module is not None:
        return frozenset(name for name, _ in candidate.source.module.named_parameters())
    if candidate.source.program is not None:
        return frozenset(candidate.source.program.graph_signature.parameters)
    return frozenset()


def _only_bounds(value: ir.Value) -> bool:
    """Whether a constant only pads, selects, compares, limits, or masks what a softmax or a maximum reads."""
    return all(_bounds(use.node, use.idx) for use in value.uses())


def _bounds(node: ir.Node, index: int) -> bool:
    if node.domain:
        return False
    if node.op_type in _SAME_ELEMENTS:
        return all(_only_bounds(output) for output in node.outputs)
    if node.op_type in _MASKED:
        return all(_reaches_maximum(output) for output in node.outputs)
    return index in _BOUNDING.get(node.op_type, range(0))


def _reaches_maximum(value: ir.Value) -> bool:
    """Whether every reader takes a softmax or a maximum, for which minus infinity is nothing."""
    users = [use.node for use in value.uses()]
    return bool(users) and all(
        node.op_type in _MAXIMA
        or (node.op_type in (*_SAME_ELEMENTS, *_MASKED) and all(_reaches_maximum(v) for v in node.outputs))
        for node in users
    )


def list_samples(candidate: Candidate) -> Check | None:
    """Names of the user's own inputs that are among the inputs of the checks."""
    samples = candidate.samples
    if samples is None:
        return None
    names = samples.names[: sum(kind.startswith("sample") for kind in candidate.inputs.kinds)]
    return Check("samples", f"{len(names)} of {samples.total} used as inputs: {', '.join(names)}")


def _random(node: ir.Node) -> str:
    if node.op_type in _RANDOM:
        return "draws at random"
    if node.op_type == "Dropout" and not _is_false(node.inputs[2] if len(node.inputs) > 2 else None):
        return "drops out in training mode"
    if node.op_type == "BatchNormalization" and node.attributes.get_int("training_mode", 0) == 1:
        return "normalizes by statistics of the batch (training mode)"
    return ""


def _is_false(value: ir.Value | None) -> bool:
    """Whether ``training_mode`` is off: left out, or a constant false."""
    if value is None:
        return True
    constant = ir.convenience.get_const_tensor(value)
    return constant is not None and not bool(constant.numpy())
