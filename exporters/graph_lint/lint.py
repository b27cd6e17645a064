"""What stands in an artifact about its build: oddities, and how much memory its activations take."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import onnx_ir as ir

from cnntk.exporters.graph_lint.rules import CHECKS
from cnntk.exporters.graph_lint.view import View, view
from cnntk.exporters.shapes.dataflow import layer_name
from cnntk.exporters.shapes.ledger import activation_bytes

__all__ = ["LintReport", "lint_graph"]

_ALIASES = frozenset({"Flatten", "Identity", "Reshape", "Squeeze", "Unsqueeze"})
"""They answer their input's own memory."""


@dataclass(frozen=True)
class LintReport:
    """What is odd about a network, and its activations' memory.

    Attributes:
        warnings: a line each, the layer's name in front.
        peak_activation_bytes: most that is alive at one moment of a run with one image, in the graph's order.
        peak_layer: where that is.
    """

    warnings: tuple[str, ...]
    peak_activation_bytes: int
    peak_layer: str


def lint_graph(model: ir.Model) -> LintReport:
    """Looks at a graph; at best one whose nodes still bear torch's names."""
    seen = view(model)
    peak, layer = _peak(seen)
    return LintReport(tuple(line for check in CHECKS for line in check(seen)), peak, layer)


def _peak(seen: View) -> tuple[int, str]:
    """The most bytes alive at once, and at which layer: what it reads, what it answers, and what waits."""
    size = {v: activation_bytes(v, seen.shapes) for v in _memories(seen)}
    last = _last_uses(seen)
    alive = {v for v in seen.model.graph.inputs if v in size}
    peak, where = sum(size[v] for v in alive), ""
    for i, node in enumerate(seen.nodes):
        alive |= {_memory(v) for v in node.outputs}
        now = sum(size[v] for v in alive)
        if now > peak:
            peak, where = now, layer_name(node)
        alive -= {v for v in alive if last.get(v, i) <= i}
    return peak, where


def _memories(seen: View) -> Iterator[ir.Value]:
    """The values that take memory of their own."""
    yield from (v for v in seen.model.graph.inputs if not v.is_initializer())
    yield from {_memory(v) for node in seen.nodes for v in node.outputs}


def _memory(value: ir.Value) -> ir.Value:
    """Whose memory a value lies in."""
    producer = value.producer()
    while producer is not None and producer.op_type in _ALIASES and producer.inputs[0] is not None:
        value = producer.inputs[0]
        producer = value.producer()
    return value


def _last_uses(seen: View) -> dict[ir.Value, int]:
    """The place of the last layer that reads a memory; what leaves the graph is read at its end."""
    last = {
        _memory(v): i
        for i, node in enumerate(seen.nodes)
        for v in (*node.outputs, *node.inputs)
        if v is not None
    }
    return last | {_memory(v): len(seen.nodes) for v in seen.model.graph.outputs}
