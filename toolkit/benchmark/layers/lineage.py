"""`Lineage`: which of the user's layers is left of in which node that onnxruntime runs.

It fuses nodes, renames them and puts some in between. What a node is of is found by, in turn,

1. a value of a layer, which the node writes;
2. the node's name, which onnxruntime derives from that of an original node or value (``fused node_linear``,
   ``relu_3_nchwc``);
3. a weight that only one layer reads;
4. its place: of the layers behind what the node reads, the first of its operator.

A layer that no node is left of was fused: one that multiplies into the node that follows it, others into the
one before.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass

from cnntk.benchmark.layers.graph import Graph, Node
from cnntk.runtime.artifact.spec import PREPROCESS_SCOPE, Layer

__all__ = ["CONVERTS", "REORDERS", "Flow", "Lineage", "prepares", "trace_back"]

REORDERS = frozenset({"ReorderInput", "ReorderOutput", "Transpose", "MemcpyToHost", "MemcpyFromHost"})
"""Operators that put numbers into another order or place."""

CONVERTS = REORDERS | {"QuantizeLinear", "DequantizeLinear", "Cast"}
"""Operators that say the same in other numbers; nodes of them are a layer's only where the user wrote one."""


class Flow:
    """Who reads from whom, among nodes by their positions."""

    def __init__(self, nodes: Sequence[Node]) -> None:
        wrote = {value: i for i, node in enumerate(nodes) for value in node.outputs if value}
        self._above = [[wrote[v] for v in node.inputs if v in wrote] for node in nodes]
        self._below: list[list[int]] = [[] for _ in nodes]
        for i, sources in enumerate(self._above):
            for source in sources:
                self._below[source].append(i)

    def above(self, node: int, known: Container[int]) -> list[int]:
        """The nearest of ``known`` that a node's values come from, past all others."""
        return _nearest(self._above, node, known)

    def below(self, node: int, known: Container[int]) -> list[int]:
        """The nearest of ``known`` that a node's values go to, past all others."""
        return _nearest(self._below, node, known)


@dataclass(frozen=True)
class Lineage:
    """What is left of each layer.

    Attributes:
        layer_of: of a node, by their positions; nodes that were put in between have none.
        node_of: of a layer, its own or that into which it was fused; those that can't be found have none.
    """

    layer_of: dict[int, int]
    node_of: dict[int, int]


def trace_back(layers: Sequence[Layer], nodes: Sequence[Node], original: Graph) -> Lineage:
    """Finds the layers of nodes and the nodes of layers.

    Args:
        layers: in the order of the data.
        nodes: of the optimized graph, in the order in which they ran.
        original: the graph of the file.
    """
    flow = _LayerFlow(layers)
    layer_of = _layers_of(layers, flow, nodes, original)
    return Lineage(layer_of, _nodes_of(layers, flow, layer_of))


def prepares(node: Node) -> bool:
    """Whether a node makes the network's input of an image."""
    return any(name.startswith(f"{PREPROCESS_SCOPE}/") for name in (node.name, *node.outputs))


class _LayerFlow:
    """Who reads from whom, among layers by their positions."""

    def __init__(self, layers: Sequence[Layer]) -> None:
        self.by_value = {layer.output: i for i, layer in enumerate(layers) if layer.output}
        self.above = [[self.by_value[v] for v in layer.inputs if v in self.by_value] for layer in layers]
        self.below: list[list[int]] = [[] for _ in layers]
        for i, sources in enumerate(self.above):
            for source in sources:
                self.below[source].append(i)


def _layers_of(
    layers: Sequence[Layer], flow: _LayerFlow, nodes: Sequence[Node], original: Graph
) -> dict[int, int]:
    by_name = _by_name(layers, flow, original)
    by_weight = _only_readers(layers)
    found: dict[int, int] = {}
    for i, node in enumerate(nodes):
        name = node.name.removeprefix("fused ").removesuffix("_nchwc")
        candidates = (
            *(flow.by_value.get(value) for value in node.outputs),
            by_name.get(name),
            *(by_weight.get(value) for value in node.inputs),
        )
        fitting = (c for c in candidates if c is not None and _fits(node, layers[c]))
        if (layer := next(fitting, None)) is not None:
            found[i] = layer
    links, named = Flow(nodes), frozenset(found.values())
    for i, node in enumerate(nodes):
        if i not in found and not prepares(node) and node.op not in CONVERTS:
            sources = [found[source] for source in links.above(i, found)]
            behind = (c for c in _behind(sources, flow, named) if layers[c].op in node.op)
            if (layer := next(behind, None)) is not None:
                found[i] = layer
    return found


def _fits(node: Node, layer: Layer) -> bool:
    return not prepares(node) and (node.op not in CONVERTS or node.op == layer.op)


def _by_name(layers: Sequence[Layer], flow: _LayerFlow, original: Graph) -> dict[str, int]:
    """Layers by their own names, those of their values, and of the original nodes that write these."""
    names = {layer.name: i for i, layer in reversed([*enumerate(layers)])}
    for node in original.nodes:
        for value in node.outputs:
            if node.name and value in flow.by_value:
                names[node.name] = flow.by_value[value]
    return names | flow.by_value


def _only_readers(layers: Sequence[Layer]) -> dict[str, int]:
    """The layer of each weight that only one reads."""
    readers: dict[str, list[int]] = defaultdict(list)
    for i, layer in enumerate(layers):
        for weight in layer.weights:
            readers[weight].append(i)
    return {weight: found[0] for weight, found in readers.items() if len(found) == 1}


def _behind(sources: Sequence[int], flow: _LayerFlow, named: Container[int]) -> list[int]:
    """The layers behind some others, nearest first, past those of which no node is left."""
    waiting = list(sources)
    for layer in waiting:
        waiting += [reader for reader in flow.below[layer] if reader not in named and reader not in waiting]
    return waiting[len(sources) :]


def _nodes_of(layers: Sequence[Layer], flow: _LayerFlow, layer_of: Mapping[int, int]) -> dict[int, int]:
    homes: dict[int, int] = {}
    for node, layer in layer_of.items():
        homes.setdefault(layer, node)
    lost = [i for i in range(len(layers)) if i not in homes]
    for i in sorted(lost, key=lambda i: (not _multiplies(layers[i]), i)):
        before = [homes[source] for source in flow.above[i] if source in homes]
        after = [homes[reader] for reader in _nearest(flow.below, i, homes)]
        order = (after[:1], before) if _multiplies(layers[i]) else (before, after[:1])
        if (home := next((max(some) for some in order if some), None)) is not None:
            homes[i] = home
    return homes


def _multiplies(layer: Layer) -> bool:
    return layer.multiply_adds > 0 or layer.parameters > 0


def _nearest(links: Sequence[Sequence[int]], start: int, known: Container[int]) -> list[int]:
    """Those of ``known`` that are reached from ``start``, nearest first, none behind another."""
    found: list[int] = []
    waiting, seen = [start], {start}
    for place in waiting:
        for other in links[place]:
            if other not in seen:
                seen.add(other)
                (found if other in known else waiting).append(other)
    return found
