"""Constant folding: what is the same for every input is computed once.

Three steps. Constant nodes become weights of the graph. onnxscript's folder does the arithmetic of shapes
and small numbers, and knows what a Shape, Reshape or Expand does even where the batch is free. What is left
of weights and nothing else (weight norm, spectral norm, transposed weights) is run in onnxruntime, the very
program that would have run it each time; it is left where the result would be more than twice the weights
it came from.
"""

from __future__ import annotations

import math
from collections.abc import Iterable

import numpy as np
import onnx_ir as ir
from onnx_ir.passes.common import LiftConstantsToInitializersPass
from onnxscript.optimizer._constant_folding import FoldConstantsPass

from cnntk.exporters.passes.graph import (
    add_weight,
    constant,
    dimensions,
    is_random,
    label,
    put,
    sweep,
)
from cnntk.exporters.passes.infra import Rewrites
from cnntk.exporters.session import GraphSession

__all__ = ["FoldConstants"]

_SMALL = 1024
"""Numbers up to which growth does not matter: shapes, axes, biases."""

_GROWTH = 2
"""How many times larger than the weights it comes from a folded value may be."""


class FoldConstants:
    """Turns constant expressions into weights."""

    name = "constant folding"
    reason = "what is the same for every input need not be computed each time"

    def __call__(self, model: ir.Model) -> Rewrites:
        reshaped = _fix_reshapes(model)
        before = len(model.graph)
        lift = LiftConstantsToInitializersPass(lift_all_constants=True, size_limit=0)
        lifted = before - len(lift(model).model.graph)
        arithmetic = _fold_small(model)
        lift(model)
        weights, declined = _fold_weights(model)
        done = [
            *reshaped,
            *([f"{lifted} Constant node(s) became weights"] if lifted else ()),
            *([f"{arithmetic} node(s) of constant arithmetic and shapes folded"] if arithmetic > 0 else ()),
            *weights,
        ]
        return Rewrites(tuple(done), tuple(declined))


def _fix_reshapes(model: ir.Model) -> list[str]:
    """A Reshape to (batch, fixed...) needs no arithmetic with the batch: -1 stands for the one free size."""
    done = []
    for node in list(model.graph):
        shape = dimensions(node.outputs[0]) if node.op_type == "Reshape" and not node.domain else None
        if shape is None or constant(node.inputs[1]) is not None or 0 in shape:
            continue
        if sum(not isinstance(d, int) for d in shape) > 1:
            continue
        told, old, wanted = label(node), node.outputs[0], node.inputs[1]
        sizes = np.array([d if isinstance(d, int) else -1 for d in shape], np.int64)
        target = add_weight(model, f"{old.name}_shape", sizes, ir.DataType.INT64)
        put(old, "Reshape", [node.inputs[0], target])
        sweep(model, old, *([wanted] if wanted is not None else ()))
        done.append(f"{told}: its shape is {sizes.tolist()}, computed from the batch each time before")
    return done


def _fold_small(model: ir.Model) -> int:
    before, alive = len(model.graph), [n for n in model.graph if _read(n)]
    FoldConstantsPass(
        shape_inference=True,
        input_size_limit=_SMALL,
        output_size_limit=_SMALL,
        should_fold=lambda node: False if is_random(node) else None,
    )(model)
    for node in reversed(alive):
        if node.graph is not None and not _read(node):
            sweep(model, node.outputs[0])
    return before - len(model.graph)


def _read(node: ir.Node) -> bool:
    return any(v.uses() or v.is_graph_output() for v in node.outputs)


def _fold_weights(model: ir.Model) -> tuple[list[str], list[str]]:
    """Runs what depends on weights alone, and puts the results in its place."""
    leaves = _leaves(model)
    edge = [v for v in leaves if not v.is_initializer() and _is_edge(v, leaves)]
    heavy = [v for v in edge if _grows(v, leaves[v])]
    light = [v for v in edge if v not in heavy and not v.is_graph_output()]
    done = [f"{label(node)}: folded" for v in light if (node := v.producer()) is not None]
    _freeze(model, light)
    return done, [_too_large(v, leaves[v]) for v in heavy]


def _leaves(model: ir.Model) -> dict[ir.Value, frozenset[ir.Value]]:
    """Each value that is the same for every input, and the weights that it comes from."""
    known = {w: frozenset([w]) for w in model.graph.initializers.values() if not w.is_graph_input()}
    for node in model.graph:
        if _foldable(node) and all(v is None or v in known for v in node.inputs):
            union = frozenset().union(*(known[v] for v in node.inputs if v is not None))
            known.update(dict.fromkeys(node.outputs, union))
    return known


def _foldable(node: ir.Node) -> bool:
    """Neither random, nor a body of its own, nor a quantization that a runtime wants to see."""
    bodies = any(
        a.type in (ir.AttributeType.GRAPH, ir.AttributeType.GRAPHS) for a in node.attributes.values()
    )
    return not (node.domain or bodies or is_random(node) or "QuantizeLinear" in node.op_type)


def _is_edge(value: ir.Value, known: Iterable[ir.Value]) -> bool:
    """Whether something reads a value that is not itself constant."""
    inside = set(known)
    return value.is_graph_output() or any(u.node.outputs[0] not in inside for u in value.uses())


def _grows(value: ir.Value, leaves: frozenset[ir.Value]) -> bool:
    size = _size(value)
    return size is None or size > max(_SMALL, _GROWTH * sum(_size(w) or 0 for w in leaves))


def _size(value: ir.Value) -> int | None:
    shape = value.shape
    if shape is None or any(not isinstance(d, int) for d in shape):
        return None
    return math.prod(int(d) for d in shape if isinstance(d, int))


def _too_large(value: ir.Value, leaves: frozenset[ir.Value]) -> str:
    held = sum(_size(w) or 0 for w in leaves)
    size = _size(value)
    return (
        f"{value.name}: constant, but {size or 'an unknown number of'} numbers made from {held}: not stored"
    )


def _freeze(model: ir.Model, values: list[ir.Value]) -> None:
    """Computes values and makes weights of them."""
    if not values:
        return
    names = [str(v.name) for v in values]
    arrays = GraphSession(_only(model, values), names).run({})
    for value, name in zip(values, names, strict=True):
        tensor = ir.Tensor(arrays[name], name=name)
        weight = ir.Value(name=name, shape=tensor.shape, type=ir.TensorType(tensor.dtype), const_value=tensor)
        value.name = None
        value.replace_all_uses_with(weight)
        model.graph.register_initializer(weight)
        sweep(model, value)


def _only(model: ir.Model, values: list[ir.Value]) -> ir.Model:
    """The part of a model that makes constant values, as a model without inputs."""
    copy = model.clone()
    names = {v.name for v in values}
    copy.graph.inputs.clear()
    found = [v for node in copy.graph for v in node.outputs if v.name in names]
    copy.graph.outputs[:] = found
    for node in reversed(list(copy.graph)):
        if not _read(node):
            sweep(copy, node.outputs[0])
    return copy
