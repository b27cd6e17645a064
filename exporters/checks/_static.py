"""Checks that do not run the graph: nothing in it is random, every weight is finite."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from cnntk.exporters.checks._candidate import Candidate, Check
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
    """Every weight is finite.

    Raises:
        ExportCheckError: A weight is NaN or infinite.
    """
    count = 0
    for name, value in candidate.model.graph.initializers.items():
        tensor = value.const_value
        if tensor is None or not tensor.dtype.is_floating_point():
            continue
        array = tensor.numpy().reshape(-1)
        count += array.size
        if not np.isfinite(array).all():
            first = int(np.flatnonzero(~np.isfinite(array))[0])
            raise ExportCheckError(
                f"weight {name}: {array[first]} at position {first}, expected finite values; train again. "
                "Nothing was written"
            )
    return Check("finite weights", f"{count:,} numbers")


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
