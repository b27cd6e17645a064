"""Moves ReLU after MaxPool: max(relu(a), relu(b), ...) = relu(max(a, b, ...)), because ReLU is monotone.

MaxPool pads with minus infinity and every window holds at least one element of the input, so padding changes
nothing. After the pool ReLU has fewer elements. (Measured with onnxruntime 1.32 on one core: Conv, ReLU and
2x2 MaxPool take 0 to 7 % less time this way; fusing ReLU into the Conv does not win that back.)
"""

from __future__ import annotations

import math

import onnx_ir as ir

from cnntk.exporters.passes.graph import fresh_name, label, only_user, remove_unused, replace_node
from cnntk.exporters.passes.infra import Rewrites


class ReluAfterPool:
    """Moves ReLU after the MaxPool that reads it."""

    name = "ReLU after MaxPool"
    reason = "the same function, on fewer elements"

    def __call__(self, model: ir.Model) -> Rewrites:
        applied, skipped = [], []
        for node in [n for n in model.graph if n.op_type == "Relu" and not n.domain]:
            pool = next((u.node for u in node.outputs[0].uses() if u.node.op_type == "MaxPool"), None)
            if pool is None or pool.domain:
                continue
            reason = _unfit(node, pool)
            if reason is not None:
                skipped.append(f"{label(node)}: not moved after {label(pool)}: {reason}")
                continue
            applied.append(f"{label(node)}: moved after {label(pool)}")
            _swap(model, node, pool)
        return Rewrites(tuple(applied), tuple(skipped))


def _unfit(relu: ir.Node, pool: ir.Node) -> str | None:
    if only_user(relu.outputs[0]) is None:
        return "its output is used elsewhere"
    if len(pool.outputs) > 1:
        return "the pool's indices are used, and they differ where a whole window is negative"
    if math.prod(pool.attributes.get_ints("strides", (1,))) < 2:
        return "the pool's output is no smaller than its input"
    return None


def _swap(model: ir.Model, relu: ir.Node, pool: ir.Node) -> None:
    output, source = pool.outputs[0], relu.inputs[0]
    attributes = {k: a.value for k, a in pool.attributes.items()}
    name = fresh_name(model.graph, f"{output.name}_before_relu")
    pooled = replace_node(output, "MaxPool", [source], attributes, like=pool, name=name)
    pooled.type, pooled.shape = output.type, None if output.shape is None else output.shape.copy()
    replace_node(output, "Relu", [pooled], like=relu)
    remove_unused(model, output)
    producer = pooled.producer()
    if producer is not None:
        producer.name = pool.name
