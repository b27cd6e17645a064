"""What can be seen without running the graph: nothing in it is random, and every weight is a number."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from cnntk.exporters.checks.check import blame
from cnntk.exporters.checks.record import Check
from cnntk.runtime.errors import ExportCheckError

__all__ = ["check_finite_weights", "check_nothing_random"]

_RANDOM = {
    "Bernoulli": "draws at random",
    "Multinomial": "draws at random",
    "RandomNormal": "draws at random",
    "RandomNormalLike": "draws at random",
    "RandomUniform": "draws at random",
    "RandomUniformLike": "draws at random",
}


def check_nothing_random(model: ir.Model, declined: tuple[str, ...] = ()) -> Check:
    """No node draws at random, drops out, or normalizes by the batch.

    Args:
        model: after the passes.
        declined: what the passes saw and left, for the message.

    Raises:
        ExportCheckError: one does.
    """
    nodes = list(model.graph.all_nodes())
    for node in nodes:
        if why := _random(node):
            hint = f"; {declined[0]}" if declined else ""
            raise ExportCheckError(f"{blame(node)} {why}, also at inference{hint}. Nothing was written")
    return Check("nothing random", f"none of {len(nodes)} nodes draws, drops out or normalizes by the batch")


def check_finite_weights(model: ir.Model) -> Check:
    """Every weight is finite.

    Raises:
        ExportCheckError: one is NaN or infinite.
    """
    count = 0
    for name, value in model.graph.initializers.items():
        tensor = value.const_value
        if tensor is None or not tensor.dtype.is_floating_point():
            continue
        array = tensor.numpy().reshape(-1)
        count += array.size
        if not np.isfinite(array).all():
            first = int(np.flatnonzero(~np.isfinite(array))[0])
            raise ExportCheckError(
                f"weight {name}: {array[first]} at position {first}; train again. Nothing was written"
            )
    return Check("finite weights", f"{count:,} numbers")


def _random(node: ir.Node) -> str:
    if node.op_type in _RANDOM:
        return _RANDOM[node.op_type]
    if node.op_type == "Dropout" and not _is_false(node.inputs[2] if len(node.inputs) > 2 else None):
        return "drops out in training mode"
    if node.op_type == "BatchNormalization" and _attribute(node, "training_mode"):
        return "normalizes by the batch (training mode)"
    return ""


def _attribute(node: ir.Node, name: str) -> int:
    return node.attributes[name].as_int() if name in node.attributes else 0


def _is_false(value: ir.Value | None) -> bool:
    """Whether ``training_mode`` is off: left out, or a constant false."""
    if value is None:
        return True
    constant = ir.convenience.get_const_tensor(value)
    return constant is not None and not bool(constant.numpy())
