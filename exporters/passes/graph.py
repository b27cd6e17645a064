"""The few moves that every pass makes on a graph: look at a value, put another in its place, sweep."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from cnntk.runtime.errors import ExportCheckError

__all__ = [
    "RANDOM",
    "add_weight",
    "bypass",
    "constant",
    "dimensions",
    "epsilon",
    "fresh_name",
    "is_random",
    "label",
    "made_by",
    "only_user",
    "opset",
    "put",
    "random_nodes",
    "same_shape",
    "sweep",
    "uniform",
]

Array = NDArray[Any]

RANDOM = frozenset(
    {"RandomUniform", "RandomUniformLike", "RandomNormal", "RandomNormalLike", "Bernoulli", "Multinomial"}
)
"""Operators that answer something else each time they run."""

_EPSILON = {
    ir.DataType.DOUBLE: 2.0**-52,
    ir.DataType.FLOAT: 2.0**-23,
    ir.DataType.FLOAT16: 2.0**-10,
    ir.DataType.BFLOAT16: 2.0**-7,
}


def epsilon(dtype: ir.DataType | None) -> float:
    """The step between 1 and the next larger number of a floating type."""
    return _EPSILON.get(dtype or ir.DataType.FLOAT, 2.0**-23)


def label(node: ir.Node) -> str:
    """What a person calls a node: its operator, and the value that it makes."""
    return f"{node.op_type} {node.outputs[0].name or node.name}"


def opset(model: ir.Model) -> int:
    """Of the standard operators."""
    return model.graph.opset_imports.get("", 0)


def constant(value: ir.Value | None) -> Array | None:
    """What a value always is, where it is a weight or a Constant; None for all else."""
    if value is None or value.is_graph_input():
        return None
    tensor = value.const_value if value.is_initializer() else ir.convenience.get_const_tensor(value)
    return None if tensor is None else tensor.numpy()


_SAME_NUMBER = frozenset(
    {"Identity", "Cast", "CastLike", "Expand", "Reshape", "Squeeze", "Unsqueeze", "Flatten", "Transpose"}
)


def uniform(value: ir.Value | None) -> float | None:
    """The one number that every entry of a value is, seen through casts, fills and expansions."""
    array = constant(value)
    if array is not None:
        return float(array.flat[0]) if array.size and np.all(array == array.flat[0]) else None
    node = value.producer() if value is not None else None
    if node is None or node.domain:
        return None
    if node.op_type == "ConstantOfShape":
        fill = node.attributes.get_tensor("value")
        return 0.0 if fill is None else float(fill.numpy().flat[0])
    if node.op_type in _SAME_NUMBER and _keeps_number(node):
        return uniform(node.inputs[0])
    return None


def _keeps_number(node: ir.Node) -> bool:
    """A cast to a whole number may cut it."""
    if node.op_type not in ("Cast", "CastLike"):
        return True
    kept = _dtype(node.outputs[0])
    return kept is not None and kept.is_floating_point()


def _dtype(value: ir.Value | None) -> ir.DataType | None:
    """A value's type, read off the nodes that make it where the graph does not say (inlined functions)."""
    if value is None or value.dtype is not None:
        return None if value is None else value.dtype
    node = value.producer()
    if node is None or node.domain:
        return None
    told = node.attributes.get_int("to" if node.op_type == "Cast" else "dtype", 0)
    if told:
        return ir.DataType(told)
    if node.op_type in (*_SAME_NUMBER, "RandomUniformLike"):
        return _dtype(node.inputs[1 if node.op_type == "CastLike" else 0])
    return None


def made_by(value: ir.Value | None, *operators: str) -> ir.Node | None:
    """The node that makes a value, where it is one of these standard operators."""
    node = value.producer() if value is not None else None
    return node if node is not None and not node.domain and node.op_type in operators else None


def only_user(value: ir.Value) -> ir.Node | None:
    """The one node that reads a value; None where several do, or where the graph answers it."""
    uses = value.uses()
    if len(uses) != 1 or value.is_graph_output():
        return None
    return next(iter(uses)).node


def dimensions(value: ir.Value | None) -> tuple[int | str | None, ...] | None:
    """A value's shape; names for symbols, None for a dimension of which nothing is known."""
    if value is None or value.shape is None:
        return None
    return tuple(d if isinstance(d, int) else d.value for d in value.shape)


def same_shape(one: ir.Value | None, other: ir.Value | None) -> bool:
    """Whether two values are known to have the same shape, symbols included."""
    left, right = dimensions(one), dimensions(other)
    return left is not None and left == right and None not in left


def is_random(node: ir.Node) -> bool:
    """Whether a node answers something else each time; Dropout does so in training mode alone."""
    if node.domain:
        return False
    if node.op_type == "Dropout":
        return len(node.inputs) > 2 and node.inputs[2] is not None and uniform(node.inputs[2]) != 0
    return node.op_type in RANDOM


def random_nodes(model: ir.Model) -> list[ir.Node]:
    """All of a model's random nodes, also those of its subgraphs and functions."""
    bodies: list[ir.Graph | ir.Function] = [model.graph, *model.functions.values()]
    return [n for body in bodies for n in ir.traversal.RecursiveGraphIterator(body) if is_random(n)]


def put(
    old: ir.Value,
    operator: str,
    inputs: Iterable[ir.Value | None],
    attributes: Mapping[str, Any] | None = None,
    *,
    like: ir.Node | None = None,
    name: str | None = None,
) -> ir.Value:
    """Makes a new node in the place of ``old``, whose value name, shape and readers it takes over.

    Args:
        old: output of a node; the node stays where something else still needs it, else `sweep` takes it.
        operator: of the new node.
        inputs: all made before ``old``.
        attributes: of the new node.
        like: the node whose name and torch notes it takes over; by default the one that made ``old``.
        name: of a new value that is only on the way to ``old``: ``old`` keeps name and readers, and the new
            value's type and shape are for the caller to say.

    Returns:
        The new node's output.
    """
    place = old.producer()
    if place is None or place.graph is None:
        raise ExportCheckError(f"{old.name}: no node makes it, so none can take its place")
    origin = like or place
    node = ir.node(operator, list(inputs), dict(attributes or {}))
    node.metadata_props.update(origin.metadata_props)
    new = node.outputs[0]
    place.graph.insert_before(place, node)
    if name is not None:
        new.name, node.name = name, f"{origin.name}/{name}"
        return new
    node.name, origin.name = origin.name, None  # names of nodes are unique in a graph
    new.type, new.shape = old.type, None if old.shape is None else old.shape.copy()
    new.metadata_props.update(old.metadata_props)
    _take_name(old, new)
    old.replace_all_uses_with(new, replace_graph_outputs=True)
    return new


def _take_name(old: ir.Value, new: ir.Value) -> None:
    name, old.name = old.name, None
    new.name = name


def bypass(old: ir.Value, new: ir.Value) -> bool:
    """Lets the readers of ``old`` read ``new``. An output of the graph keeps its name.

    Returns:
        Whether it could be done: a graph can't answer its own input, a weight, or one value twice.
    """
    answered = old.is_graph_output()
    if answered and (new.producer() is None or new.is_graph_output() or new.is_initializer()):
        return False
    old.replace_all_uses_with(new, replace_graph_outputs=True)
    if answered:
        _take_name(old, new)
    return True


def fresh_name(graph: ir.Graph, name: str) -> str:
    """``name``, or the first of ``name_1``, ``name_2`` ... that no value of the graph bears."""
    values = itertools.chain(graph.inputs, graph.initializers.values(), (v for n in graph for v in n.outputs))
    taken = {v.name for v in values}
    numbered = (f"{name}_{i}" for i in itertools.count(1))
    return next(n for n in itertools.chain([name], numbered) if n not in taken)


def add_weight(model: ir.Model, name: str, array: Array, dtype: ir.DataType) -> ir.Value:
    """Puts a weight into the graph, in the type of the layer, under a name that is still free."""
    free = fresh_name(model.graph, name)
    with np.errstate(over="ignore"):  # float16 ends early; a pass whose weights are infinite is rolled back
        held = np.ascontiguousarray(array.astype(dtype.numpy()))
    tensor = ir.Tensor(held, dtype=dtype, name=free)
    value = ir.Value(name=free, shape=tensor.shape, type=ir.TensorType(dtype), const_value=tensor)
    model.graph.register_initializer(value)
    return value


def sweep(model: ir.Model, *roots: ir.Value) -> int:
    """Removes the nodes and weights that made ``roots`` and that nothing reads any more.

    Returns:
        How many nodes went.
    """
    removed, waiting = 0, list(roots)
    while waiting:
        value = waiting.pop()
        if value.uses() or value.is_graph_output() or value.is_graph_input():
            continue
        if value.is_initializer() and value.name is not None:
            model.graph.initializers.pop(value.name, None)
            continue
        removed += _remove(value.producer(), waiting)
    return removed


def _remove(node: ir.Node | None, waiting: list[ir.Value]) -> int:
    if node is None or node.graph is None or any(v.uses() or v.is_graph_output() for v in node.outputs):
        return 0
    waiting.extend(v for v in node.inputs if v is not None)
    node.graph.remove(node, safe=True)
    return 1
