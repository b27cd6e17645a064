"""What a node has to do: multiply-adds and bytes, of the graph and of the shapes that ran; without onnx."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from cnntk.benchmark.layers.attribution import Share
from cnntk.benchmark.layers.graph import Graph, Node, Weight
from cnntk.benchmark.layers.profile import RanNode
from cnntk.benchmark.layers.profiled import NodeTimes
from cnntk.runtime.artifact.spec import Layer

__all__ = ["Work", "layers_of", "work_of"]

_CONVOLUTIONS = frozenset(
    {"Conv", "FusedConv", "NhwcFusedConv", "ConvTranspose", "QLinearConv", "ConvInteger"}
)
_DENSE = frozenset(
    {
        *("Gemm", "FusedGemm", "QGemm", "MatMul", "FusedMatMul", "QLinearMatMul"),
        *("MatMulInteger", "MatMulIntegerToFloat", "DynamicQuantizeMatMul", "MatMulNBits"),
    }
)
_INTEGERS = frozenset(
    {
        *("QLinearConv", "ConvInteger", "QGemm", "QLinearMatMul"),
        *("MatMulInteger", "MatMulIntegerToFloat", "DynamicQuantizeMatMul"),
    }
)
_INT8_PRODUCTS = 4
"""MatMulNBits' accuracy_level from which its products are integers."""

_VIEWS = frozenset({"Reshape", "Flatten", "Squeeze", "Unsqueeze", "Identity"})
"""They give memory another name, and move nothing."""

_MEASURES = frozenset({"Shape", "Size"})
_NAMES = {"float": "float32", "double": "float64"}


@dataclass(frozen=True)
class Work:
    """What a row has to do in a run.

    Attributes:
        multiply_adds: of all images.
        numbers: that it multiplies: ``int8``, or a type like ``float32``; empty where it multiplies none.
        weight_bytes: that it reads.
        data_bytes: that it reads and writes besides.
    """

    multiply_adds: int
    numbers: str
    weight_bytes: int
    data_bytes: int


def layers_of(graph: Graph) -> tuple[Layer, ...]:
    """The nodes that data passes through, as layers, of a file that does not tell its own.

    Their multiply-adds are not known before they run, and stand at 0.
    """
    wrote = {value: node for node in graph.nodes for value in node.outputs}
    carried = set(graph.inputs)
    found = []
    for node in graph.nodes:
        data = tuple(value for value in node.inputs if value in carried)
        if data and node.op not in _MEASURES:
            carried.update(node.outputs)
            constant = [value for value in node.inputs if value not in carried]
            weights = tuple(name for value in constant for name in _weights_behind(value, graph, wrote))
            elements = sum(graph.weights[name].elements for name in weights)
            found.append(
                Layer(
                    name=node.name or node.outputs[0],
                    op=node.op,
                    shape=(),
                    parameters=elements,
                    multiply_adds=0,
                    weights=weights,
                    output=node.outputs[0],
                    inputs=data,
                )
            )
    return tuple(found)


def work_of(share: Share, layers: Sequence[Layer], times: NodeTimes, batch: int) -> Work:
    """What a row has to do in a run.

    Args:
        share: the row.
        layers: among which its own are.
        times: of the model.
        batch: images a run. Where one of the layers does not tell its multiply-adds, those of the nodes are
            taken.
    """
    pairs = [(times.nodes[i], times.ran[i]) for i in share.nodes]
    moving = [(node, ran) for node, ran in pairs if ran.op not in _VIEWS]
    own = [layers[i] for i in share.layers]
    kernels = [times.original.weights.get(name) for layer in own for name in layer.weights]
    by_node = [
        _multiply_adds(node, ran, [*kernels, *map(times.optimized.weights.get, node.inputs)])
        for node, ran in pairs
    ]
    told = own and all(layer.multiply_adds or layer.op not in _CONVOLUTIONS | _DENSE for layer in own)
    total = batch * sum(layer.multiply_adds for layer in own) if told else sum(by_node)
    busiest = max(range(len(pairs)), key=by_node.__getitem__)
    return Work(
        multiply_adds=total,
        numbers=_numbers(*pairs[busiest]) if total else "",
        weight_bytes=sum(_weight_bytes(node, ran, times.optimized) for node, ran in moving),
        data_bytes=sum(ran.data_bytes for _, ran in moving),
    )


def _multiply_adds(node: Node, ran: RanNode, weights: Sequence[Weight | None]) -> int:
    """Output elements times the length of the dot product behind each; 0 for what is no linear map.

    Args:
        node: of the optimized graph.
        ran: the same, with shapes.
        weights: among which a convolution's is the first of three dimensions or more, (M, C / groups, ...),
            as the user wrote it: onnxruntime pads channels.
    """
    if ran.op in _CONVOLUTIONS:
        kernel = next((w.elements for w in weights if w is not None and len(w.shape) > 2), 0)
        shape = ran.inputs[0] if ran.op == "ConvTranspose" else ran.outputs[0]
        last = node.numbers.get("channels_last", 0) or ran.op == "NhwcFusedConv"
        return kernel * (math.prod(shape[:-1]) if last else shape[0] * math.prod(shape[2:]))
    if ran.op not in _DENSE:
        return 0
    first = ran.inputs[0]
    length = node.numbers.get("K") or first[-2 if node.numbers.get("transA") else -1]
    return math.prod(ran.outputs[0]) * length


def _numbers(node: Node, ran: RanNode) -> str:
    """What a node multiplies: ``int8``, or its first input's type, like ``float32``."""
    if ran.op in _INTEGERS or node.numbers.get("accuracy_level", 0) >= _INT8_PRODUCTS:
        return "int8"
    return _NAMES.get(ran.dtypes[0], ran.dtypes[0])


def _weight_bytes(node: Node, ran: RanNode, optimized: Graph) -> int:
    """What a node reads of weights; those that are packed, in the size that they have in the graph."""
    known = sum(optimized.weights[value].size_bytes for value in node.inputs if value in optimized.weights)
    return known or ran.weight_bytes


def _weights_behind(value: str, graph: Graph, wrote: dict[str, Node]) -> Iterator[str]:
    """The constants that a value is made of; of one that was quantized the integers, not their scale."""
    if value in graph.weights:
        yield value
    elif (node := wrote.get(value)) is not None:
        kept = node.inputs[:1] if node.op == "DequantizeLinear" else node.inputs
        for source in kept:
            yield from _weights_behind(source, graph, wrote)
