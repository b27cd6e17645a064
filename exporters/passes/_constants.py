"""Folds constants: what is the same for every input is computed once.

There are three steps. Constant nodes become weights of the graph. onnxscript's folder computes shapes and
small numbers, and knows the result of a Shape, Reshape or Expand even where the batch is dynamic. The
remaining expressions of weights only (weight norm, spectral norm, transposed weights) are run in
onnxruntime, which would otherwise run them each time; they stay where the result would be more than twice
as large as the weights it comes from, and larger than a weight that is read with it (a bias of a layer).
"""

from __future__ import annotations

import math
from collections.abc import Collection

import numpy as np
import onnx_ir as ir
from onnx_ir.passes.common import LiftConstantsToInitializersPass
from onnxscript.optimizer._constant_folding import FoldConstantsPass

from cnntk.exporters.passes.graph import (
    add_weight,
    constant,
    dimensions,
    is_random,
    is_used,
    label,
    producer_of,
    remove_unused,
    remove_unused_nodes,
    replace_node,
)
from cnntk.exporters.passes.infra import Rewrites
from cnntk.exporters.passes.origins import Origin, label_program_constants
from cnntk.exporters.session import GraphSession

_SMALL = 1024
"""Number of elements up to which a folded value may grow freely: shapes, axes, biases."""

_GROWTH = 2
"""Largest ratio of a folded value's size to the size of the weights it comes from."""


class FoldConstants:
    """Turns constant expressions into weights."""

    name = "constant folding"
    reason = "what is the same for every input is computed once"

    def __call__(self, model: ir.Model) -> Rewrites:
        reshaped = _fix_reshapes(model)
        before = len(model.graph)
        lift = LiftConstantsToInitializersPass(lift_all_constants=True, size_limit=0)
        lifted = before - len(lift(model).model.graph)
        arithmetic = _fold_small(model)
        lift(model)
        weights, skipped = _fold_weights(model)
        label_program_constants(model)
        applied = [
            *reshaped,
            *([f"{lifted} Constant node(s) became weights"] if lifted else ()),
            *([f"{arithmetic} node(s) of constant arithmetic and shapes folded"] if arithmetic > 0 else ()),
            *weights,
        ]
        return Rewrites(tuple(applied), tuple(skipped))


def _fix_reshapes(model: ir.Model) -> list[str]:
    """Gives each Reshape to (batch, fixed sizes...) a constant shape, with -1 for the one dynamic size."""
    applied = []
    for node in list(model.graph):
        shape = dimensions(node.outputs[0]) if node.op_type == "Reshape" and not node.domain else None
        if shape is None or constant(node.inputs[1]) is not None or 0 in shape:
            continue
        if sum(not isinstance(d, int) for d in shape) > 1:
            continue
        name, old, computed = label(node), node.outputs[0], node.inputs[1]
        sizes = np.array([d if isinstance(d, int) else -1 for d in shape], np.int64)
        origin = Origin("shape", str(old.name))
        target = add_weight(model, f"{old.name}_shape", sizes, ir.DataType.INT64, origin)
        replace_node(old, "Reshape", [node.inputs[0], target])
        remove_unused(model, old, *([computed] if computed is not None else ()))
        applied.append(f"{name}: constant shape {sizes.tolist()} instead of one computed from the batch")
    return applied


def _fold_small(model: ir.Model) -> int:
    before, alive = len(model.graph), [n for n in model.graph if is_used(n)]
    FoldConstantsPass(
        shape_inference=True,
        input_size_limit=_SMALL,
        output_size_limit=_SMALL,
        should_fold=lambda node: None if _is_foldable(node) else False,
    )(model)
    _name_splits(model)
    for node in reversed(alive):
        if node.graph is not None and not is_used(node):
            remove_unused(model, node.outputs[0])
    return before - len(model.graph)


def _is_foldable(node: ir.Node) -> bool:
    """Whether a constant node may become weights: outputs of the graph stay outputs of nodes."""
    is_output = any(v.is_graph_output() for v in node.outputs)
    return not is_random(node) and node.op_type != "Split" and not is_output


def _name_splits(model: ir.Model) -> None:
    """Gives an output of Split the name that the captured graph has for it as an element of a sequence."""
    for node in model.graph:
        value, read = node.inputs[0] if node.inputs else None, node.outputs[0]
        if (
            value is not None
            and node.op_type == "Identity"
            and producer_of(value, "Split")
            and not read.is_graph_output()
        ):
            value.name, read.name = read.name, value.name


def _fold_weights(model: ir.Model) -> tuple[list[str], list[str]]:
    """Computes what depends on weights only and stores the results as weights.

    Returns:
        One line for each folded node, and one for each value that is too large to store.
    """
    leaves = _leaves(model)
    edge = [v for v in leaves if not v.is_initializer() and _has_other_reader(v, leaves)]
    too_large = [v for v in edge if _grows(v, leaves[v])]
    foldable = [v for v in edge if v not in too_large and not v.is_graph_output()]
    applied = [f"{label(node)}: folded" for v in foldable if (node := v.producer()) is not None]
    _freeze(model, foldable)
    return applied, [_too_large(v, leaves[v]) for v in too_large]


def _leaves(model: ir.Model) -> dict[ir.Value, frozenset[ir.Value]]:
    """Returns each value that is the same for every input, with the weights that it is computed from."""
    constants = {w: frozenset([w]) for w in model.graph.initializers.values() if not w.is_graph_input()}
    for node in model.graph:
        if _foldable(node) and all(v is None or v in constants for v in node.inputs):
            union = frozenset().union(*(constants[v] for v in node.inputs if v is not None))
            constants.update(dict.fromkeys(node.outputs, union))
    return constants


def _foldable(node: ir.Node) -> bool:
    """Whether a node may be folded: not random, no subgraph, no quantization that runtimes need to see."""
    bodies = any(
        a.type in (ir.AttributeType.GRAPH, ir.AttributeType.GRAPHS) for a in node.attributes.values()
    )
    return not (node.domain or bodies or is_random(node) or "quantizelinear" in node.op_type.lower())


def _has_other_reader(value: ir.Value, constants: Collection[ir.Value]) -> bool:
    """Whether a value is a graph output, or read by something that is not constant itself."""
    return value.is_graph_output() or any(u.node.outputs[0] not in constants for u in value.uses())


def _grows(value: ir.Value, leaves: frozenset[ir.Value]) -> bool:
    size = _size(value)
    siblings = (w for use in value.uses() for w in use.node.inputs if w is not None and w.is_initializer())
    largest = max((_size(w) or 0 for w in siblings), default=0)
    return size is None or size > max(_SMALL, _GROWTH * sum(_size(w) or 0 for w in leaves), largest)


def _size(value: ir.Value) -> int | None:
    shape = value.shape
    return math.prod(shape.numpy()) if shape is not None and shape.is_static() else None


def _too_large(value: ir.Value, leaves: frozenset[ir.Value]) -> str:
    size = _size(value) or "an unknown number of"
    weights = sum(_size(w) or 0 for w in leaves)
    return f"{value.name}: constant, but not stored: {size} elements from {weights} elements of weights"


def _freeze(model: ir.Model, values: list[ir.Value]) -> None:
    """Computes values and makes them weights."""
    if not values:
        return
    names = [str(v.name) for v in values]
    arrays = GraphSession(_only(model, values), names).run({})
    for value, name in zip(values, names, strict=True):
        value.name = None
        dtype = ir.DataType.from_numpy(arrays[name].dtype)
        weight = add_weight(model, name, arrays[name], dtype, Origin("program", name))
        value.replace_all_uses_with(weight)
        remove_unused(model, value)


def _only(model: ir.Model, values: list[ir.Value]) -> ir.Model:
    """Returns the part of a model that computes constant values, as a model without inputs."""
    copy = model.clone()
    names = {v.name for v in values}
    copy.graph.inputs.clear()
    copy.graph.outputs[:] = [v for node in copy.graph for v in node.outputs if v.name in names]
    remove_unused_nodes(copy)
    return copy
