"""Names in the graph, and in the program that it was translated from.

Inputs and outputs have the names that the user or the interface gives them; parameters, buffers and constants
those of the module; inner values any that is left, the same in the graph and in the program, because a
difference between the two is located by name.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

import onnx_ir as ir
import torch
from torch import fx
from torch.export import ExportedProgram
from torch.export.graph_signature import InputKind, OutputKind, OutputSpec
from torch.utils import _pytree as pytree

from cnntk.exporters.passes.graph import unused_name
from cnntk.exporters.sources.outputs import named_tensors

__all__ = ["name_inputs_and_outputs", "user_inputs", "user_outputs"]

BATCH = "N"


def name_inputs_and_outputs(model: ir.Model, program: ExportedProgram, inputs: Sequence[str]) -> None:
    """Names the inputs, the outputs and the batch; inner values keep a common name on both sides.

    An output that is also an input, or another output, gets a node of its own: ONNX allows each name once.
    torch gives a name twice where a parameter is called like an operator or a constant of the graph.

    Args:
        model: Model that is changed in place.
        program: Program that ``model`` was translated from; it is changed in place.
        inputs: Names of the inputs.
    """
    _name_batch(model)
    names = _Names(model, program)
    for name, value, node in zip(inputs, tuple(model.graph.inputs), user_inputs(program), strict=True):
        names.assign(name, value, node)
        node.target = name
    names_in_use = set(inputs)
    for index, name in enumerate(_output_names(program)):
        unique = unused_name(name, names_in_use)
        names_in_use.add(unique)
        names.assign(unique, _separate_value(model, index), _separate_node(program, index))


def user_inputs(program: ExportedProgram) -> tuple[fx.Node, ...]:
    """Returns the program's nodes for the inputs that a user passes."""
    nodes = {node.name: node for node in program.graph.nodes}
    specs = program.graph_signature.input_specs
    return tuple(nodes[s.arg.name] for s in specs if s.kind is InputKind.USER_INPUT and s.arg.name in nodes)


def user_outputs(program: ExportedProgram) -> tuple[fx.Node, ...]:
    """Returns the program's nodes for its outputs."""
    nodes = {node.name: node for node in program.graph.nodes}
    return tuple(nodes[spec.arg.name] for _, spec in _output_specs(program))


def _output_specs(program: ExportedProgram) -> list[tuple[int, OutputSpec]]:
    """Returns the outputs that have a value, with their index among all that the program returns."""
    nodes = {node.name for node in program.graph.nodes}
    specs = enumerate(program.graph_signature.output_specs)
    return [(i, s) for i, s in specs if s.kind is OutputKind.USER_OUTPUT and s.arg.name in nodes]


def _output_names(program: ExportedProgram) -> list[str]:
    """Returns the names of the outputs, by `named_tensors` on placeholders in their structure."""
    specs = [s for s in program.graph_signature.output_specs if s.kind is OutputKind.USER_OUTPUT]
    valued = {id(spec) for _, spec in _output_specs(program)}
    leaves = [torch.empty(0) if id(spec) in valued else None for spec in specs]
    if program.call_spec.out_spec is None:
        structure = leaves
    else:
        structure = pytree.tree_unflatten(leaves, program.call_spec.out_spec)
    by_tensor = {id(tensor): name for name, tensor in named_tensors(structure).items()}
    return [by_tensor[id(leaf)] for leaf in leaves if leaf is not None]


def _separate_value(model: ir.Model, index: int) -> ir.Value:
    """Returns the output's value, which is neither an input nor an earlier output."""
    outputs = model.graph.outputs
    value = outputs[index]
    if not (value.is_graph_input() or value.is_initializer() or any(value is v for v in outputs[:index])):
        return value
    node = ir.node("Identity", [value])
    separate = node.outputs[0]
    separate.shape, separate.type = value.shape, value.type
    model.graph.append(node)
    outputs[index] = separate
    return separate


def _separate_node(program: ExportedProgram, index: int) -> fx.Node:
    """Returns the output's node, which is neither an input nor an earlier output."""
    nodes = user_outputs(program)
    node = nodes[index]
    if node.op != "placeholder" and node not in nodes[:index]:
        return node
    output = program.graph.output_node()
    with program.graph.inserting_before(output):
        separate: fx.Node = program.graph.call_function(torch.ops.aten.clone.default, (node,))
    separate.meta = dict(node.meta)
    position, spec = _output_specs(program)[index]
    returned = list(output.args[0])
    returned[position] = separate
    output.args = (tuple(returned),)
    spec.arg.name = separate.name
    return separate


class _Names:
    """Renames values and nodes; whatever has the new name already gets another, on both sides."""

    def __init__(self, model: ir.Model, program: ExportedProgram) -> None:
        self._nodes = {node.name: node for node in program.graph.nodes}
        self._signature = program.graph_signature
        self._values: dict[str | None, ir.Value] = dict(model.graph.initializers.items())
        inner = [value for graph in model.graphs() for value in _values(graph)]
        self._torch_names = {value.name for value in inner}
        for value in inner:
            self._separate(value)

    def assign(self, name: str, value: ir.Value, node: fx.Node) -> None:
        """Gives ``value`` and ``node`` the name ``name``."""
        if self._values.get(name, value) is not value or self._nodes.get(name, node) is not node:
            holder = self._values.get(name)
            free = self._unused(name if holder is not None and holder.is_initializer() else f"{name}_inner")
            self._rename_value(holder, free)
            self._rename_node(self._nodes.get(name), free)
        self._rename_value(value, name)
        self._rename_node(node, name)

    def _separate(self, value: ir.Value) -> None:
        """Enters a value; where a weight or an earlier value has its name, it gets another on both sides."""
        node = self._nodes.get(str(value.name)) if value.name in self._torch_names else None
        self._torch_names.discard(value.name)  # the program's node is that of the first value of the name
        if value.name in self._values:
            free = self._unused(f"{value.name}_inner")
            value.name = free
            self._rename_node(node, free)
        self._values[value.name] = value

    def _unused(self, name: str) -> str:
        return unused_name(name, self._values.keys() | self._nodes.keys() | self._torch_names)

    def _rename_value(self, value: ir.Value | None, name: str) -> None:
        if value is not None:
            self._values.pop(value.name, None)
            value.name = name
            self._values[name] = value

    def _rename_node(self, node: fx.Node | None, name: str) -> None:
        if node is not None:
            self._nodes.pop(node.name, None)
            self._signature.replace_all_uses(node.name, name)
            node.name = name
            self._nodes[name] = node


def _values(graph: ir.Graph | ir.Function) -> Iterator[ir.Value]:
    yield from graph.inputs
    for node in graph:
        yield from node.outputs


def _name_batch(model: ir.Model) -> None:
    """Renames the batch, which torch calls ``s77`` or similar, in all shapes."""
    shape = model.graph.inputs[0].shape
    symbol = shape[0].value if shape is not None and isinstance(shape[0], ir.SymbolicDim) else None
    if symbol is None:
        return
    pattern = re.compile(rf"\b{re.escape(symbol)}\b")
    graphs: list[ir.Graph | ir.Function] = [*model.graphs(), *model.functions.values()]
    for graph in graphs:
        for value in _values(graph):
            if value.shape is not None:
                value.shape = ir.Shape(_renamed(d, pattern) for d in value.shape)


def _renamed(dimension: int | ir.SymbolicDim, pattern: re.Pattern[str]) -> int | str | None:
    if isinstance(dimension, int):
        return dimension
    return None if dimension.value is None else pattern.sub(BATCH, dimension.value)
