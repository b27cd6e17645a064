"""The head: a classifier's graph answers ``logits`` and ``probabilities``, always both."""

from __future__ import annotations

from typing import Literal

import onnx_ir as ir

from cnntk.runtime.errors import UsageError
from cnntk.runtime.spec import Head

__all__ = ["HeadOption", "add_head"]

HeadOption = Literal["auto", "classifier", "none"]


def add_head(model: ir.Model, option: HeadOption) -> tuple[Head, str]:
    """Names the output ``logits`` and puts a Softmax behind it, which is stable: it subtracts the maximum.

    Args:
        model: changed in place.
        option: ``auto`` takes a model with one float output of shape (N, K) for a classifier.

    Returns:
        What the model was taken for, and why.

    Raises:
        UsageError: ``classifier`` was asked for, and the outputs are not one (N, K).
    """
    fits, why = _fits(model)
    if option == "none":
        return "none", "no head, as asked"
    if not fits:
        if option == "classifier":
            raise UsageError(f"--head classifier needs one output of shape [N, K]; {why}")
        return "none", f"no classifier: {why}"
    logits = model.graph.outputs[0]
    logits.name = "logits"
    node = ir.node("Softmax", [logits], {"axis": -1}, name="head/softmax")
    probabilities = node.outputs[0]
    probabilities.name, probabilities.shape, probabilities.type = "probabilities", logits.shape, logits.type
    model.graph.append(node)
    model.graph.outputs.append(probabilities)
    return "classifier", why if option == "auto" else "classifier, as asked"


def _fits(model: ir.Model) -> tuple[bool, str]:
    outputs = model.graph.outputs
    if len(outputs) != 1:
        return False, f"it has {len(outputs)} outputs"
    shape = outputs[0].shape
    text = "x".join(str(d) for d in shape) if shape is not None else "unknown"
    two_dimensional = shape is not None and len(shape) == 2 and isinstance(shape[1], int)
    return two_dimensional and outputs[0].dtype == ir.DataType.FLOAT, f"one output of shape {text}"
