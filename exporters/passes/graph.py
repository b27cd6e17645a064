"""Helpers that the passes share: read a value, replace a node, remove what is no longer used."""

from __future__ import annotations

import itertools
from collections.abc import Container, Iterable, Mapping
from typing import Any

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from cnntk.exporters.passes.origins import Origin, set_origin
from cnntk.runtime.errors import ExportCheckError

__all__ = [
    "RANDOM",
    "SHAPE_OPERATORS",
    "add_weight",
    "constant",
    "dimensions",
    "epsilon",
    "fresh_name",
    "is_random",
    "is_used",
    "label",
    "only_user",
    "opset",
    "producer_of",
    "random_nodes",
    "remove_unused",
    "remove_unused_nodes",
    "replace_node",
    "replace_uses",
    "same_shape",
    "uniform",
    "unused_name",
]

Array = NDArray[Any]

RANDOM = frozenset(
    {"RandomUniform", "RandomUniformLike", "RandomNormal", "RandomNormalLike", "Bernoulli", "Multinomial"}
)
"""Operators whose output differs each time they run."""

_EPSILON = {
    ir.DataType.DOUBLE: 2.0**-52,
    ir.DataType.FLOAT: 2.0**-23,
    ir.DataType.FLOAT16: 2.0**-10,
    ir.DataType.BFLOAT16: 2.0**-7,
}


def epsilon(dtype: ir.DataType | None) -> float:
    """Returns the step between 1 and the next larger number of a floating-point type."""
    return _EPSILON.get(dtype or ir.DataType.FLOAT, 2.0**-23)


def label(node: ir.Node) -> str:
    """Returns how messages name a node: its operator and its first output."""
    return f"{node.op_type} {node.outputs[0].name or node.name}"


def opset(model: ir.Model) -> int:
    """Returns the version of the standard operators that a model uses; 0 where it names none."""
    return model.graph.opset_imports.get("", 0)


def constant(value: ir.Value | None) -> Array | None:
    """Returns the array of a value that is a weight or a Constant; None for any other value."""
    if value is None or value.is_graph_input():
        return None
    tensor = value.const_value if value.is_initializer() else ir.convenience.get_const_tensor(value)
    return None if tensor is None else tensor.numpy()


SHAPE_OPERATORS = frozenset(
    {"Identity", "Cast", "CastLike", "Expand", "Reshape", "Squeeze", "Unsqueeze", "Flatten", "Transpose"}
)
"""Operators whose output has the elements of their input, but for a cast."""


def uniform(value: ir.Value | None) -> float | None:
    """Returns the number that every entry of a value equals, seen through casts, fills and expansions.

    None where the entries differ or are not known.
    """
    array = constant(value)
    if array is not None:
        return float(array.flat[0]) if array.size and np.all(array == array.flat[0]) else None
    node = value.producer() if value is not None else None
    if node is None or node.domain:
        return None
    if node.op_type == "ConstantOfShape":
        fill = node.attributes.get_tensor("value")
        return 0.0 if fill is None else float(fill.numpy().flat[0])
    if node.op_type in SHAPE_OPERATORS and _keeps_number(node):
        return uniform(node.inputs[0])
    return None


def _keeps_number(node: ir.Node) -> bool:
    """Whether an operator keeps the number: a cast to an integer type may truncate it."""
    if node.op_type not in ("Cast", "CastLike"):
        return True
    dtype = _dtype(node.outputs[0])
    return dtype is not None and dtype.is_floating_point()


def _dtype(value: ir.Value | None) -> ir.DataType | None:
    """Returns a value's type, derived from its producers where the graph has none (in inlined functions)."""
    if value is None or value.dtype is not None:
        return None if value is None else value.dtype
    node = value.producer()
    if node is None or node.domain:
        return None
    dtype = node.attributes.get_int("to" if node.op_type == "Cast" else "dtype", 0)
    if dtype:
        return ir.DataType(dtype)
    if node.op_type in (*SHAPE_OPERATORS, "RandomUniformLike"):
        return _dtype(node.inputs[1 if node.op_type == "CastLike" else 0])
    return None


def producer_of(value: ir.Value | None, *operators: str) -> ir.Node | None:
    """Returns the node that computes a value, where it is one of these standard operators; else None."""
    node = value.producer() if value is not None else None
    return node if node is not None and not node.domain and node.op_type in operators else None


def only_user(value: ir.Value | None) -> ir.Node | None:
    """Returns the one node that reads a value; None where several do, or where it is a graph output."""
    users = [] if value is None or value.is_graph_output() else [use.node for use in value.uses()]
    return users[0] if len(users) == 1 else None


def dimensions(value: ir.Value | None) -> tuple[int | str | None, ...] | None:
    """Returns a value's shape, with names for symbolic dimensions and None for unknown ones."""
    if value is None or value.shape is None:
        return None
    return tuple(d if isinstance(d, int) else d.value for d in value.shape)


def same_shape(one: ir.Value | None, other: ir.Value | None) -> bool:
    """Whether two values certainly have the same shape, symbolic dimensions included."""
    left, right = dimensions(one), dimensions(other)
    return left is not None and left == right and None not in left


def is_random(node: ir.Node) -> bool:
    """Whether a node's output differs each time; Dropout is random in training mode only."""
    if node.domain:
        return False
    if node.op_type == "Dropout":
        return len(node.inputs) > 2 and node.inputs[2] is not None and uniform(node.inputs[2]) != 0
    return node.op_type in RANDOM


def random_nodes(model: ir.Model) -> list[ir.Node]:
    """Returns all random nodes of a model, including those of its subgraphs and functions."""
    bodies: list[ir.Graph | ir.Function] = [model.graph, *model.functions.values()]
    return [n for body in bodies for n in ir.traversal.RecursiveGraphIterator(body) if is_random(n)]


def replace_node(
    old: ir.Value,
    operator: str,
    inputs: Iterable[ir.Value | None],
    attributes: Mapping[str, Any] | None = None,
    *,
    like: ir.Node | None = None,
    name: str | None = None,
) -> ir.Value:
    """Adds a node that takes over the name, shape and readers of ``old``.

    Args:
        old: Output of an existing node. That node stays while something reads its other outputs;
            `remove_unused` removes it otherwise.
        operator: Operator of the new node.
        inputs: Inputs of the new node; each is computed before ``old``.
        attributes: Attributes of the new node.
        like: Node whose name and torch metadata the new node takes over; by default the producer of ``old``.
        name: Name of a new intermediate value. With it, ``old`` keeps its name and readers, and the caller
            sets type and shape of the new value.

    Returns:
        The new node's output.

    Raises:
        ExportCheckError: No node computes ``old``.
    """
    producer = old.producer()
    if producer is None or producer.graph is None:
        raise ExportCheckError(f"{old.name}: not the output of a node, so it can't be replaced")
    origin = like or producer
    node = ir.node(operator, list(inputs), dict(attributes or {}))
    node.metadata_props.update(origin.metadata_props)
    new = node.outputs[0]
    producer.graph.insert_before(producer, node)
    if name is not None:
        new.name, node.name = name, f"{origin.name}/{name}"
        return new
    node.name, origin.name = origin.name, None  # names of nodes are unique in a graph
    new.type, new.shape = old.type, None if old.shape is None else old.shape.copy()
    new.metadata_props.update(old.metadata_props)
    old.name, new.name = None, old.name
    old.replace_all_uses_with(new, replace_graph_outputs=True)
    return new


def replace_uses(old: ir.Value, new: ir.Value) -> bool:
    """Lets the readers of ``old`` read ``new``. A graph output keeps its name.

    Returns:
        Whether it was possible: a graph input, a weight or a second output can't become a graph output.
    """
    is_output = old.is_graph_output()
    if is_output and (new.producer() is None or new.is_graph_output() or new.is_initializer()):
        return False
    old.replace_all_uses_with(new, replace_graph_outputs=True)
    if is_output:
        old.name, new.name = None, old.name
    return True


def fresh_name(graph: ir.Graph, name: str) -> str:
    """Returns ``name``, or the first of ``name_1``, ``name_2`` ... that no value of the graph has."""
    values = itertools.chain(graph.inputs, graph.initializers.values(), (v for n in graph for v in n.outputs))
    used = {v.name for v in values}
    return unused_name(name, used)


def unused_name(name: str, used: Container[str | None]) -> str:
    """Returns ``name``, or the first of ``name_1``, ``name_2`` ... that is not in ``used``."""
    numbered = (f"{name}_{i}" for i in itertools.count(1))
    return next(n for n in itertools.chain([name], numbered) if n not in used)


def add_weight(
    model: ir.Model, name: str, array: Array, dtype: ir.DataType, origin: Origin | None = None
) -> ir.Value:
    """Adds a weight of type ``dtype`` to the graph, under ``name`` or a numbered variant of it.

    Args:
        model: Model that is changed in place.
        name: Name of the weight.
        array: Numbers, which are rounded to ``dtype``.
        dtype: Type of the weight.
        origin: Expression that the weight is computed by; an export refuses weights without one.
    """
    free = fresh_name(model.graph, name)
    with np.errstate(over="ignore"):  # float16 ends early; a pass whose weights are infinite is rolled back
        held = array.astype(dtype.numpy(), order="C")
    tensor = ir.Tensor(held, dtype=dtype, name=free)
    value = ir.Value(name=free, shape=tensor.shape, type=ir.TensorType(dtype), const_value=tensor)
    model.graph.register_initializer(value)
    if origin is not None:
        set_origin(value, origin)
    return value


def remove_unused(model: ir.Model, *roots: ir.Value) -> None:
    """Removes the nodes and weights behind ``roots`` that nothing reads any more."""
    waiting = list(roots)
    while waiting:
        value = waiting.pop()
        node = value.producer()
        if value.uses() or value.is_graph_output() or value.is_graph_input():
            continue
        if value.is_initializer() and value.name is not None:
            model.graph.initializers.pop(value.name, None)
        elif node is not None and node.graph is not None and not is_used(node):
            waiting.extend(v for v in node.inputs if v is not None)
            node.graph.remove(node, safe=True)


def remove_unused_nodes(model: ir.Model) -> None:
    """Removes all nodes that no output depends on, with their weights."""
    for node in reversed(list(model.graph)):
        if node.graph is not None and not is_used(node):
            remove_unused(model, node.outputs[0])


def is_used(node: ir.Node) -> bool:
    """Whether something reads an output of a node."""
    return any(v.uses() or v.is_graph_output() for v in node.outputs)
