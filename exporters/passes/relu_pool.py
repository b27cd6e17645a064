"""ReLU behind MaxPool: max(relu(a), relu(b), ...) = relu(max(a, b, ...)), because ReLU never falls.

MaxPool pads with minus infinity and every window holds at least one number of the input, so padding changes
nothing. Behind the pool ReLU has fewer numbers to do. (Measured with onnxruntime 1.32 on one core: a Conv,
ReLU and 2x2 MaxPool take 0 to 7 % less time this way; fusing ReLU into the Conv does not win that back.)
"""

from __future__ import annotations

import math

import onnx_ir as ir

from cnntk.exporters.passes.graph import fresh_name, label, only_user, put, sweep
from cnntk.exporters.passes.infra import Rewrites

__all__ = ["ReluBehindPool"]


class ReluBehindPool:
    """Moves ReLU behind the MaxPool that reads it."""

    name = "relu behind max-pool"
    reason = "the same function, on fewer numbers"

    def __call__(self, model: ir.Model) -> Rewrites:
        done, declined = [], []
        for node in [n for n in model.graph if n.op_type == "Relu" and not n.domain]:
            pool = next((u.node for u in node.outputs[0].uses() if u.node.op_type == "MaxPool"), None)
            if pool is None or pool.domain:
                continue
            reason = _unfit(node, pool)
            if reason is not None:
                declined.append(f"{label(node)}: not behind {label(pool)}: {reason}")
                continue
            done.append(f"{label(node)}: behind {label(pool)}")
            _swap(model, node, pool)
        return Rewrites(tuple(done), tuple(declined))


def _unfit(relu: ir.Node, pool: ir.Node) -> str | None:
    if only_user(relu.outputs[0]) is None:
        return "its output is read elsewhere, too"
    if len(pool.outputs) > 1:
        return "the pool's indices are read: they differ where all numbers of a window are negative"
    if math.prod(pool.attributes.get_ints("strides", (1,))) < 2:
        return "the pool's output is no smaller than its input"
    return None


def _swap(model: ir.Model, relu: ir.Node, pool: ir.Node) -> None:
    answer, given = pool.outputs[0], relu.inputs[0]
    attributes = {k: a.value for k, a in pool.attributes.items()}
    name = fresh_name(model.graph, f"{answer.name}_before_relu")
    pooled = put(answer, "MaxPool", [given], attributes, like=pool, name=name)
    pooled.type, pooled.shape = answer.type, None if answer.shape is None else answer.shape.copy()
    put(answer, "Relu", [pooled], like=relu)
    sweep(model, answer)
    made = pooled.producer()
    if made is not None:
        made.name = pool.name
