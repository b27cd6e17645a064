"""Removes nodes and weights that no output depends on."""

from __future__ import annotations

import onnx_ir as ir
from onnx_ir.passes.common import RemoveUnusedFunctionsPass, RemoveUnusedNodesPass

from cnntk.exporters.passes.infra import Rewrites


class RemoveDeadCode:
    """Removes what no output depends on. Unused inputs stay, because callers pass them by name."""

    name = "dead code"
    reason = "no output depends on it"

    def __call__(self, model: ir.Model) -> Rewrites:
        nodes = {n: f"{n.op_type} {n.outputs[0].name}" for n in model.graph}
        weights = {name: w.const_value for name, w in model.graph.initializers.items()}
        RemoveUnusedNodesPass()(model)
        RemoveUnusedFunctionsPass()(model)  # type: ignore[no-untyped-call]
        left = set(model.graph)
        applied = [
            f"{text}: no output depends on it, removed" for node, text in nodes.items() if node not in left
        ]
        for name in weights.keys() - model.graph.initializers.keys():
            tensor = weights[name]
            applied.append(f"weight {name} of {tensor.size if tensor else 0} elements: unused, removed")
        return Rewrites(tuple(applied))
