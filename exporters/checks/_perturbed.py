"""A graph with a random factor behind each node, which shows how much it amplifies rounding."""

from __future__ import annotations

import onnx_ir as ir

_STEPS = 4.0
"""Steps (eps) by which a node's output is off: more than onnxruntime's optimizations change it."""


def perturbed_model(model: ir.Model, eps: float) -> ir.Model:
    """A copy of ``model`` whose nodes' float outputs are each multiplied by 1 plus or minus a few steps.

    The factors are always the same.

    Args:
        model: Graph; it is not changed.
        eps: Relative step of its precision.
    """
    copy = model.clone()
    outputs = [(node, value) for node in copy.graph for value in node.outputs]
    for seed, (node, value) in enumerate(outputs):
        floats = value.dtype is not None and value.dtype.is_floating_point()
        if floats and (value.uses() or value.is_graph_output()):
            _perturb(copy.graph, node, value, eps * _STEPS, float(seed))
    return copy


def _perturb(graph: ir.Graph, node: ir.Node, value: ir.Value, limit: float, seed: float) -> None:
    """Adds ``value * r`` to ``value``, r between -limit and limit."""
    uniform = {"low": -limit, "high": limit, "seed": seed, "dtype": int(ir.DataType.FLOAT)}
    noise = ir.node("RandomUniformLike", [value], uniform)
    cast = ir.node("Cast", [noise.outputs[0]], {"to": int(value.dtype or ir.DataType.FLOAT)})
    product = ir.node("Mul", [value, cast.outputs[0]])
    added = ir.node("Add", [value, product.outputs[0]])
    result = added.outputs[0]
    result.type, result.shape = value.type, value.shape
    value.replace_all_uses_with(result, replace_graph_outputs=True)
    for reader in (noise, product, added):  # they read the plain value
        reader.replace_input_with(0, value)
    value.name, result.name = f"{value.name}/plain", value.name
    graph.insert_after(node, [noise, cast, product, added])
