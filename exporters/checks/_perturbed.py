"""A graph with a random factor behind each node, which shows how much it amplifies rounding."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from cnntk.exporters.passes.graph import SHAPE_OPERATORS

_STEPS = 4.0
"""Steps (eps) by which a node's output is off: more than onnxruntime's optimizations change it."""

_EXACT = SHAPE_OPERATORS | {
    "Ceil",
    "Clip",
    "Concat",
    "Floor",
    "Gather",
    "GatherND",
    "GlobalMaxPool",
    "Max",
    "MaxPool",
    "Min",
    "Neg",
    "Pad",
    "ReduceMax",
    "ReduceMin",
    "Relu",
    "Round",
    "Sign",
    "Slice",
    "Split",
    "Tile",
    "Where",
}
"""Operators that move or select numbers, or return whole ones."""

_SHAPE_ONLY = frozenset({"Shape", "Size"})

_NO_RANDOM_UNIFORM = 22
"""Opset from which onnxruntime 1.32 has no kernel for RandomUniformLike."""


def perturbed_model(model: ir.Model, eps: float) -> ir.Model:
    """A copy of ``model`` whose nodes' float outputs are each multiplied by 1 plus or minus a few steps.

    The factors are always the same. Nodes that do not round are left as they are: those of constants, as of a
    mask that is compared with 0, and those that move or select numbers.

    Args:
        model: Graph; it is not changed.
        eps: Relative step of its precision.
    """
    copy = model.clone()
    for seed, (node, value) in enumerate(_rounded_values(copy.graph)):
        _perturb(copy.graph, node, value, eps * _STEPS, float(seed))
    return copy


def _rounded_values(graph: ir.Graph) -> list[tuple[ir.Node, ir.Value]]:
    """Float outputs of the nodes that compute new numbers from the inputs."""
    from_inputs = {v for v in graph.inputs if not v.is_initializer()}
    rounded = []
    for node in graph:
        if node.op_type in _SHAPE_ONLY or from_inputs.isdisjoint(node.inputs):
            continue
        from_inputs |= set(node.outputs)
        if node.op_type not in _EXACT:
            rounded += [(node, value) for value in node.outputs]
    return [
        (node, value)
        for node, value in rounded
        if value.dtype is not None
        and value.dtype.is_floating_point()
        and (value.uses() or value.is_graph_output())
    ]


def _perturb(graph: ir.Graph, node: ir.Node, value: ir.Value, limit: float, seed: float) -> None:
    """Adds ``value * r`` to ``value``, r between -limit and limit."""
    to_type = {"to": int(value.dtype or ir.DataType.FLOAT)}
    if graph.opset_imports.get("", 0) < _NO_RANDOM_UNIFORM:
        uniform = {"low": -limit, "high": limit, "seed": seed, "dtype": int(ir.DataType.FLOAT)}
        noise = ir.node("RandomUniformLike", [value], uniform)
        cast = ir.node("Cast", [noise.outputs[0]], to_type)
        product = ir.node("Mul", [value, cast.outputs[0]])
        nodes, readers = [noise, cast, product], [noise, product]
    else:
        nodes = _signed(value, limit / 3**0.5, seed)
        cast = ir.node("Cast", [nodes[-1].outputs[0]], to_type)
        nodes, readers, product = [*nodes, cast], nodes[:1], cast
    added = ir.node("Add", [value, product.outputs[0]])
    result = added.outputs[0]
    result.type, result.shape = value.type, value.shape
    value.replace_all_uses_with(result, replace_graph_outputs=True)
    for reader in (*readers, added):  # they read the plain value
        reader.replace_input_with(0, value)
    value.name, result.name = f"{value.name}/plain", value.name
    graph.insert_after(node, [*nodes, added])


def _signed(value: ir.Value, step: float, seed: float) -> list[ir.Node]:
    """Nodes that compute ``value`` times plus or minus ``step``: Dropout at a half leaves 2 or 0 of it."""
    numbers = (np.array(0.5, np.float32), np.array(True), np.array(step, np.float32))
    half, training, limit = (ir.node("Constant", [], {"value": ir.tensor(n)}) for n in numbers)
    wide = ir.node("Cast", [value], {"to": int(ir.DataType.FLOAT)})
    dropped = ir.node("Dropout", [wide.outputs[0], half.outputs[0], training.outputs[0]], {"seed": int(seed)})
    signs = ir.node("Sub", [dropped.outputs[0], wide.outputs[0]])
    scaled = ir.node("Mul", [signs.outputs[0], limit.outputs[0]])
    return [wide, half, training, limit, dropped, signs, scaled]
