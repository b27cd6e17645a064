"""Which of the user's layers each node that onnxruntime runs belongs to.

onnxruntime fuses nodes, renames them and inserts others. The layer of a node is found by, in this order,

1. a value of a layer that the node writes;
2. the node's name, which onnxruntime derives from that of an original node or value (``fused node_linear``,
   ``relu_3_nchwc``);
3. a weight that only one layer reads;
4. its position: of the layers behind what the node reads, the first with its operator.

A layer without a node was fused: a layer with weights into the node that follows it, others into the one
before. Nodes that only convert values or their order, and are not a layer of the user's, have a row of their
own between two layers. Other nodes without a layer, such as arithmetic on shapes, belong to the layer that
needs them. All nodes that prepare images are one row.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass

from cnntk.benchmark.layers._graph import Graph, Node
from cnntk.runtime.artifact.spec import PREPROCESS_SCOPE, Layer

_REORDERS = frozenset({"ReorderInput", "ReorderOutput", "Transpose", "MemcpyToHost", "MemcpyFromHost"})
"""Operators that move values to another position or device."""

_CONVERTS = _REORDERS | {"QuantizeLinear", "DequantizeLinear", "Cast"}
"""Operators that also represent values by other numbers."""

_HEAD = "head/"
_Between = tuple[str, str]


@dataclass(frozen=True)
class LayerNodes:
    """Indices of the layers and of the nodes that ran for one row, which is named after the first layer.

    Names and operators are those of `cnntk.benchmark.layers.report.LayerTime`.
    """

    name: str
    op_type: str
    executed_ops: tuple[str, ...]
    layers: tuple[int, ...]
    nodes: tuple[int, ...]


class _Flow:
    """Data flow between operations, by their indices."""

    def __init__(self, inputs: Sequence[Sequence[str]], outputs: Sequence[Sequence[str]]) -> None:
        self.producer = {value: i for i, values in enumerate(outputs) for value in values if value}
        self.sources = [[self.producer[v] for v in values if v in self.producer] for values in inputs]
        self.readers: list[list[int]] = [[] for _ in outputs]
        for i, sources in enumerate(self.sources):
            for source in sources:
                self.readers[source].append(i)

    @classmethod
    def of_nodes(cls, nodes: Sequence[Node]) -> _Flow:
        return cls([node.inputs for node in nodes], [node.outputs for node in nodes])


def attribute_nodes(
    layers: Sequence[Layer], nodes: Sequence[Node], original: Graph
) -> tuple[LayerNodes, ...]:
    """Assigns each node to a row, and each layer whose node is found.

    Layers are in the order of the data, nodes of the optimized graph and rows in the order in which they ran.
    """
    flow = _Flow([layer.inputs for layer in layers], [(layer.output,) for layer in layers])
    layer_of = _layer_of_nodes(layers, flow, nodes, original)
    node_of = _node_of_layers(layers, flow, layer_of)
    heads: dict[int, int] = {}  # of each node, its layer with the most work
    for layer, node in sorted(node_of.items(), key=lambda pair: _by_work(layers[pair[0]])):
        heads.setdefault(node, layer)
    names = {i: PREPROCESS_SCOPE for i, node in enumerate(nodes) if _prepares_image(node)}
    for node, layer in layer_of.items():
        names[node] = layers[heads[node_of[layer]]].name.removeprefix(_HEAD)
    rows: dict[str | _Between, list[int]] = defaultdict(list)
    for i, row in enumerate(_row_names(nodes, names)):
        rows[row].append(i)
    leading = sorted((layers[head] for head in heads.values()), key=_by_work, reverse=True)
    op_types = {
        PREPROCESS_SCOPE: PREPROCESS_SCOPE,
        **{layer.name.removeprefix(_HEAD): layer.op for layer in leading},
    }
    return tuple(_layer_nodes(row, rows[row], nodes, node_of, layers, op_types) for row in rows)


def _by_work(layer: Layer) -> tuple[int, int]:
    """Sort key: the layer with the most work first."""
    return -layer.multiply_adds, -layer.parameters


def _row_names(nodes: Sequence[Node], names: Mapping[int, str]) -> list[str | _Between]:
    """The row of each node: a name, or the two names that it is between."""
    flow = _Flow.of_nodes(nodes)
    rows: list[str | _Between] = []
    for i, node in enumerate(nodes):
        if i in names:
            rows.append(names[i])
            continue
        before = next((names[n] for n in _nearest(flow.sources, i, names)), "")
        after = next((names[n] for n in _nearest(flow.readers, i, names)), "")
        if node.op_type in _CONVERTS and before != after:
            rows.append((before or "input", after or "output"))
        else:
            rows.append(after or before or node.name)
    return rows


def _layer_nodes(
    row: str | _Between,
    indices: Sequence[int],
    nodes: Sequence[Node],
    node_of: Mapping[int, int],
    layers: Sequence[Layer],
    op_types: Mapping[str, str],
) -> LayerNodes:
    ops = tuple(dict.fromkeys(nodes[i].op_type for i in indices))
    if isinstance(row, tuple):
        op_type = "reordering" if _REORDERS.issuperset(ops) else "conversion"
        return LayerNodes(f"{op_type} between {row[0]} and {row[1]}", op_type, ops, (), tuple(indices))
    members = [layer for layer, node in node_of.items() if node in indices]
    members.sort(key=lambda layer: (_by_work(layers[layer]), layer))
    return LayerNodes(row, op_types.get(row, ops[0]), ops, tuple(members), tuple(indices))


def _prepares_image(node: Node) -> bool:
    return any(name.startswith(f"{PREPROCESS_SCOPE}/") for name in (node.name, *node.outputs))


def _layer_of_nodes(
    layers: Sequence[Layer], flow: _Flow, nodes: Sequence[Node], original: Graph
) -> dict[int, int]:
    """Index of the layer of each node; inserted nodes have none."""
    layer_of = _layers_by_name(layers, flow, nodes, original)
    node_flow, matched = _Flow.of_nodes(nodes), frozenset(layer_of.values())
    for i, node in enumerate(nodes):
        if i not in layer_of and not _prepares_image(node) and node.op_type not in _CONVERTS:
            sources = [layer_of[source] for source in _nearest(node_flow.sources, i, layer_of)]
            candidates = _layers_behind(sources, flow, matched)
            layer = next((c for c in candidates if layers[c].op in node.op_type), None)
            if layer is not None:
                layer_of[i] = layer
    return layer_of


def _layers_by_name(
    layers: Sequence[Layer], flow: _Flow, nodes: Sequence[Node], original: Graph
) -> dict[int, int]:
    """Layers of nodes by values, names and weights."""
    by_name = {layer.name: i for i, layer in reversed([*enumerate(layers)])}
    for node in original.nodes:
        for value in node.outputs:
            if node.name and value in flow.producer:
                by_name[node.name] = flow.producer[value]
    by_name |= flow.producer
    readers: dict[str, list[int]] = defaultdict(list)
    for i, layer in enumerate(layers):
        for weight in layer.weights:
            readers[weight].append(i)
    layer_of: dict[int, int] = {}
    for i, node in enumerate(nodes):
        candidates = (
            *(flow.producer.get(value) for value in node.outputs),
            by_name.get(node.name.removeprefix("fused ").removesuffix("_nchwc")),
            *(readers[value][0] for value in node.inputs if len(readers.get(value, ())) == 1),
        )
        valid = (c for c in candidates if c is not None and _may_run(node, layers[c]))
        if (match := next(valid, None)) is not None:
            layer_of[i] = match
    return layer_of


def _may_run(node: Node, layer: Layer) -> bool:
    """Conversions are a layer's only where the user wrote one."""
    return not _prepares_image(node) and (node.op_type not in _CONVERTS or node.op_type == layer.op)


def _layers_behind(sources: Sequence[int], flow: _Flow, matched: Container[int]) -> list[int]:
    """Layers without a node that follow others, nearest first."""
    queue = list(sources)
    for layer in queue:
        queue += [reader for reader in flow.readers[layer] if reader not in matched and reader not in queue]
    return queue[len(sources) :]


def _node_of_layers(layers: Sequence[Layer], flow: _Flow, layer_of: Mapping[int, int]) -> dict[int, int]:
    """Index of the node of each layer, or of the node into which it was fused."""
    node_of: dict[int, int] = {}
    for node, layer in layer_of.items():
        node_of.setdefault(layer, node)
    weighted = [layer.multiply_adds > 0 or layer.parameters > 0 for layer in layers]
    fused = [i for i in range(len(layers)) if i not in node_of]
    for i in sorted(fused, key=lambda i: (not weighted[i], i)):
        before = [node_of[source] for source in flow.sources[i] if source in node_of]
        after = [node_of[reader] for reader in _nearest(flow.readers, i, node_of)][:1]
        choices = (after, before) if weighted[i] else (before, after)
        if (target := next((max(choice) for choice in choices if choice), None)) is not None:
            node_of[i] = target
    return node_of


def _nearest(links: Sequence[Sequence[int]], start: int, targets: Container[int]) -> list[int]:
    """Those of ``targets`` that are reached from ``start``, nearest first, none through another one."""
    reached: list[int] = []
    queue, seen = [start], {start}
    for current in queue:
        for other in links[current]:
            if other not in seen:
                seen.add(other)
                (reached if other in targets else queue).append(other)
    return reached
