"""The lint report of a graph: warnings, and the peak memory of its activations."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import onnx_ir as ir

from cnntk.exporters.graph_lint._rules import RULES, LintedGraph, analyze
from cnntk.exporters.shapes.dataflow import layer_name
from cnntk.exporters.shapes.shape_table import activation_bytes

__all__ = ["LintReport", "lint_graph"]

_ALIASES = frozenset({"Flatten", "Identity", "Reshape", "Squeeze", "Unsqueeze"})
"""Operators whose output shares the memory of their input."""


@dataclass(frozen=True)
class LintReport:
    """Hints about how a network is built, and the memory of its activations.

    Attributes:
        warnings: One line for each finding, with the layer's name first.
        peak_activation_bytes: Most activation bytes alive at one moment of a run with one image, in the
            graph's order.
        peak_layer: Name of the layer at that moment.
    """

    warnings: tuple[str, ...]
    peak_activation_bytes: int
    peak_layer: str


def lint_graph(model: ir.Model) -> LintReport:
    """Lints a graph, preferably one whose nodes still have torch's names."""
    graph = analyze(model)
    peak, layer = _peak(graph)
    return LintReport(tuple(line for check in RULES for line in check(graph)), peak, layer)


def _peak(graph: LintedGraph) -> tuple[int, str]:
    """Returns the most bytes alive at once (inputs, outputs, values that are read later) and the layer."""
    size = {v: activation_bytes(v, graph.shapes) for v in _memories(graph)}
    last = _last_uses(graph)
    alive = {v for v in graph.model.graph.inputs if v in size}
    peak, where = sum(size[v] for v in alive), ""
    for i, node in enumerate(graph.nodes):
        alive |= {_memory(v) for v in node.outputs}
        now = sum(size[v] for v in alive)
        if now > peak:
            peak, where = now, layer_name(node)
        alive -= {v for v in alive if last.get(v, i) <= i}
    return peak, where


def _memories(graph: LintedGraph) -> Iterator[ir.Value]:
    """Yields the values that have memory of their own."""
    yield from (v for v in graph.model.graph.inputs if not v.is_initializer())
    yield from {_memory(v) for node in graph.nodes for v in node.outputs}


def _memory(value: ir.Value) -> ir.Value:
    """Returns the value whose memory a value shares."""
    producer = value.producer()
    while producer is not None and producer.op_type in _ALIASES and producer.inputs[0] is not None:
        value = producer.inputs[0]
        producer = value.producer()
    return value


def _last_uses(graph: LintedGraph) -> dict[ir.Value, int]:
    """Returns the index of the last layer that reads a memory; graph outputs are read at the end."""
    last = {
        _memory(v): i
        for i, node in enumerate(graph.nodes)
        for v in (*node.outputs, *node.inputs)
        if v is not None
    }
    return last | {_memory(v): len(graph.nodes) for v in graph.model.graph.outputs}
