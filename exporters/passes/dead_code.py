"""Dead code: nodes and weights that no output depends on."""

from __future__ import annotations

import onnx_ir as ir
from onnx_ir.passes.common import RemoveUnusedFunctionsPass, RemoveUnusedNodesPass

from cnntk.exporters.passes.infra import Rewrites

__all__ = ["RemoveDeadCode"]


class RemoveDeadCode:
    """Removes what no output depends on. Inputs stay, also those that nothing reads: callers name them."""

    name = "dead code"
    reason = "nothing depends on it"

    def __call__(self, model: ir.Model) -> Rewrites:
        nodes = {n: f"{n.op_type} {n.outputs[0].name}" for n in model.graph}
        weights = {name: w.const_value for name, w in model.graph.initializers.items()}
        RemoveUnusedNodesPass()(model)
        RemoveUnusedFunctionsPass()(model)  # type: ignore[no-untyped-call]
        left = set(model.graph)
        done = [f"{text}: nothing depends on it, removed" for node, text in nodes.items() if node not in left]
        for name in weights.keys() - model.graph.initializers.keys():
            tensor = weights[name]
            done.append(f"weight {name} of {tensor.size if tensor else 0} numbers: nothing reads it, removed")
        return Rewrites(tuple(done))
