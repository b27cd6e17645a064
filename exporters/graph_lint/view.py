"""A graph with what is known about it: what checks look at."""

from __future__ import annotations

from dataclasses import dataclass

import onnx_ir as ir

from cnntk.exporters.shapes.dataflow import layer_nodes, reads
from cnntk.exporters.shapes.dims import Shape
from cnntk.exporters.shapes.ledger import known_shapes
from cnntk.exporters.shapes.receptive import Field, receptive_fields

__all__ = ["View", "view"]


@dataclass(frozen=True)
class View:
    """A graph as the checks see it.

    Attributes:
        model: the graph.
        nodes: its layers, in order.
        layers: the same, to look them up.
        shapes: of its values, as far as known.
        fields: receptive fields of its values, as far as they have one.
    """

    model: ir.Model
    nodes: tuple[ir.Node, ...]
    layers: frozenset[ir.Node]
    shapes: dict[ir.Value, Shape]
    fields: dict[ir.Value, Field]

    def next(self, node: ir.Node) -> ir.Node | None:
        """The one layer that reads ``node``'s output; None where there are several or it leaves the graph."""
        readers = reads(node.outputs[0], self.layers)
        return readers[0] if len(readers) == 1 and not node.outputs[0].is_graph_output() else None

    def before(self, node: ir.Node) -> ir.Node | None:
        """The layer that makes ``node``'s first input."""
        value = node.inputs[0] if node.inputs else None
        producer = value.producer() if value is not None else None
        return producer if producer in self.layers else None


def view(model: ir.Model) -> View:
    """What the checks need."""
    nodes, shapes = layer_nodes(model), known_shapes(model)
    return View(model, nodes, frozenset(nodes), shapes, receptive_fields(model, shapes))
