"""The head under stress: logits of ±1e4 give finite probabilities that sum to 1 and keep the argmax."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from cnntk.exporters.checks.record import Check
from cnntk.exporters.session import GraphSession
from cnntk.runtime.errors import ExportCheckError

__all__ = ["check_head"]

LIMIT = 1e4
SUM_TOLERANCE = 1e-6


def check_head(model: ir.Model) -> Check:
    """Runs what lies between ``logits`` and ``probabilities`` on logits that reach ±1e4.

    Raises:
        ExportCheckError: a probability is not finite, the sum is not 1 within 1e-6, or the argmax moves.
    """
    outputs = {v.name: v for v in model.graph.outputs}
    logits = outputs["logits"]
    classes = int(logits.shape[1]) if logits.shape is not None and isinstance(logits.shape[1], int) else 2
    session = GraphSession(_between(logits, outputs["probabilities"]))
    stress = stress_logits(classes)
    found = session.run({"logits": stress})["probabilities"]
    error = float(np.abs(found.astype(np.float64).sum(axis=1) - 1).max())
    kept = np.take_along_axis(found, stress.argmax(axis=1)[:, None], axis=1)[:, 0] == found.max(axis=1)
    if not np.isfinite(found).all() or not error <= SUM_TOLERANCE or not kept.all():
        raise ExportCheckError(
            f"probabilities: at logits of ±{LIMIT:.0e} they are not finite, sum to 1 but for {error:.2g}, "
            "or lose the largest: use a stable softmax (the maximum taken off). Nothing was written"
        )
    return Check("head", f"logits of ±{LIMIT:.0e}: finite, sums off 1 by at most {error:.1g}, argmax kept")


def stress_logits(classes: int) -> NDArray[np.float32]:
    """Rows that reach ±1e4: one high, one low, all high, all low, noise, and ties but for one step."""
    rng = np.random.default_rng(0)
    rows = np.zeros((7, classes), dtype=np.float32)
    rows[0, 0], rows[1, -1] = LIMIT, -LIMIT
    rows[2], rows[3] = LIMIT, -LIMIT
    rows[4] = rng.uniform(-LIMIT, LIMIT, classes)
    rows[5], rows[6] = LIMIT, -LIMIT
    rows[5, classes // 2] += 1
    rows[6, classes // 2] += 1
    return rows


def _between(logits: ir.Value, probabilities: ir.Value) -> ir.Model:
    """The nodes from ``logits`` to ``probabilities``, as a model of their own."""
    start = ir.Value(name="logits", shape=logits.shape, type=logits.type)
    made: dict[ir.Value, ir.Value] = {logits: start}
    nodes: list[ir.Node] = []
    weights: list[ir.Value] = []
    end = _copy(probabilities, made, nodes, weights)
    end.name = "probabilities"
    graph = ir.Graph([start], [end], nodes=nodes, initializers=weights, opset_imports={"": 18}, name="head")
    return ir.Model(graph, ir_version=10)


def _copy(
    value: ir.Value, made: dict[ir.Value, ir.Value], nodes: list[ir.Node], weights: list[ir.Value]
) -> ir.Value:
    if value in made:
        return made[value]
    producer = value.producer()
    if producer is None:
        made[value] = ir.Value(
            name=value.name, shape=value.shape, type=value.type, const_value=value.const_value
        )
        weights.append(made[value])
        return made[value]
    inputs = [None if v is None else _copy(v, made, nodes, weights) for v in producer.inputs]
    node = ir.Node(
        producer.domain, producer.op_type, inputs, list(producer.attributes.values()), name=producer.name
    )
    node.outputs[0].shape, node.outputs[0].type = value.shape, value.type
    node.outputs[0].name = value.name
    nodes.append(node)
    made[value] = node.outputs[0]
    return made[value]
