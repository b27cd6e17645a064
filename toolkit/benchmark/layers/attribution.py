"""`attributed`: the nodes that ran, as rows of the user's layers.

Nodes that only convert numbers, or their order, stand between two layers and have a row of their own; others
that are no layer's (arithmetic on shapes) belong to the layer that needs them. What prepares images is one
row.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from cnntk.benchmark.layers.graph import Graph, Node
from cnntk.benchmark.layers.lineage import CONVERTS, REORDERS, Flow, Lineage, prepares, trace_back
from cnntk.runtime.artifact.spec import PREPROCESS_SCOPE, Layer

__all__ = ["Share", "attributed"]

_HEAD = "head/"
_Ends = tuple[str, str]


@dataclass(frozen=True)
class Share:
    """What ran for one layer.

    Attributes:
        name: torch's, or the node's where that is all that is known; ``preprocess``; ``reordering between A
            and B`` where numbers are put in another order, ``conversion between A and B`` where they become
            other ones, too.
        kind: operator of the layer; ``preprocess``, ``reordering`` or ``conversion``.
        ops: operators that ran.
        layers: positions of its layers; the first is the one that it is named after.
        nodes: positions of its nodes.
    """

    name: str
    kind: str
    ops: tuple[str, ...]
    layers: tuple[int, ...]
    nodes: tuple[int, ...]


def attributed(layers: Sequence[Layer], nodes: Sequence[Node], original: Graph) -> tuple[Share, ...]:
    """Gives each node to a row, and each layer that can be found.

    Args:
        layers: in the order of the data.
        nodes: of the optimized graph, in the order in which they ran.
        original: the graph of the file.

    Returns:
        In the order in which they ran.
    """
    lineage = trace_back(layers, nodes, original)
    heads = _heads(layers, lineage)
    names = _names(layers, nodes, lineage, heads)
    rows: dict[str | _Ends, list[int]] = defaultdict(list)
    for i, row in enumerate(_rows(nodes, names)):
        rows[row].append(i)
    leading = sorted((layers[head] for head in heads.values()), key=_work, reverse=True)
    kinds = {layer.name.removeprefix(_HEAD): layer.op for layer in leading}
    return tuple(_share(row, found, nodes, lineage, layers, kinds) for row, found in rows.items())


def _heads(layers: Sequence[Layer], lineage: Lineage) -> dict[int, int]:
    """Of each node that layers went into, the one with the most work."""
    heads: dict[int, int] = {}
    for layer, node in sorted(lineage.node_of.items(), key=lambda pair: _work(layers[pair[0]])):
        heads.setdefault(node, layer)
    return heads


def _work(layer: Layer) -> tuple[int, int]:
    """Those with the most come first."""
    return -layer.multiply_adds, -layer.parameters


def _names(
    layers: Sequence[Layer], nodes: Sequence[Node], lineage: Lineage, heads: Mapping[int, int]
) -> dict[int, str]:
    """The rows of nodes that are a layer's, or prepare images."""
    names = {i: PREPROCESS_SCOPE for i, node in enumerate(nodes) if prepares(node)}
    for node, layer in lineage.layer_of.items():
        names[node] = layers[heads[lineage.node_of[layer]]].name.removeprefix(_HEAD)
    return names


def _rows(nodes: Sequence[Node], names: Mapping[int, str]) -> list[str | _Ends]:
    """The row of each node: a name, or the two that it stands between."""
    flow = Flow(nodes)
    rows: list[str | _Ends] = []
    for i, node in enumerate(nodes):
        if i in names:
            rows.append(names[i])
            continue
        before = next((names[n] for n in flow.above(i, names)), "")
        after = next((names[n] for n in flow.below(i, names)), "")
        if node.op in CONVERTS and before != after:
            rows.append((before or "input", after or "output"))
        else:
            rows.append(after or before or node.name)
    return rows


def _share(
    row: str | _Ends,
    found: Sequence[int],
    nodes: Sequence[Node],
    lineage: Lineage,
    layers: Sequence[Layer],
    kinds: Mapping[str, str],
) -> Share:
    ops = tuple(dict.fromkeys(nodes[i].op for i in found))
    if isinstance(row, tuple):
        kind = "reordering" if REORDERS.issuperset(ops) else "conversion"
        return Share(f"{kind} between {row[0]} and {row[1]}", kind, ops, (), tuple(found))
    members = [layer for layer, node in lineage.node_of.items() if node in found]
    members.sort(key=lambda layer: (_work(layers[layer]), layer))
    kind = kinds.get(row, PREPROCESS_SCOPE if row == PREPROCESS_SCOPE else ops[0])
    return Share(row, kind, ops, tuple(members), tuple(found))
