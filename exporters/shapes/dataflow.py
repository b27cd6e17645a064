"""What of a graph is a layer: the nodes that the data passes through, their names and their weights."""

from __future__ import annotations

from collections.abc import Iterator

import onnx_ir as ir

__all__ = ["data_inputs", "layer_name", "layer_nodes", "learned", "reads", "weight_of"]

_SCOPES = "pkg.torch.onnx.name_scopes"
_MEASURES = {"Shape", "Size"}


def layer_nodes(model: ir.Model) -> tuple[ir.Node, ...]:
    """The nodes that the inputs' values reach, in order; arithmetic on shapes or weights is no layer."""
    carried = set(model.graph.inputs)
    found = []
    for node in model.graph:
        if node.op_type not in _MEASURES and any(v in carried for v in node.inputs if v is not None):
            carried.update(node.outputs)
            found.append(node)
    return tuple(found)


def layer_name(node: ir.Node) -> str:
    """The torch module that a node came from; the node's own name where it came from none."""
    scopes = node.metadata_props.get(_SCOPES, "")
    names = [part.strip(" '\"") for part in scopes.strip("[]").split(",")]
    module = names[-2] if len(names) > 1 else ""
    return module or node.name or node.op_type


def data_inputs(node: ir.Node, layers: frozenset[ir.Node]) -> tuple[ir.Value, ...]:
    """What of a node's inputs is data: a layer's output, or the graph's input."""
    return tuple(v for v in node.inputs if v is not None and _is_data(v, layers))


def reads(value: ir.Value, layers: frozenset[ir.Node]) -> tuple[ir.Node, ...]:
    """The layers that read a value, each once."""
    return tuple(dict.fromkeys(use.node for use in value.uses() if use.node in layers))


def learned(node: ir.Node, layers: frozenset[ir.Node]) -> Iterator[ir.Value]:
    """The weights of a layer: floating-point initializers, also where a Transpose or the like stands between.

    Of a quantized weight it is the integers, and neither their scale nor their zero point.
    """
    for value in node.inputs:
        if value is not None and not _is_data(value, layers):
            yield from _learned_behind(value)


def weight_of(node: ir.Node, index: int = 1) -> ir.TensorProtocol | None:
    """A constant input's tensor; None where the input is missing or computed."""
    value = node.inputs[index] if index < len(node.inputs) else None
    return value.const_value if value is not None and value.is_initializer() else None


def _learned_behind(value: ir.Value) -> Iterator[ir.Value]:
    """Walks back from ``value``, and passes each value once: arithmetic on shapes meets again and again."""
    waiting, seen = [value], {value}
    while waiting:
        value = waiting.pop()
        producer = value.producer()
        if producer is None:
            if value.is_initializer() and value.dtype is not None and _holds_weights(value.dtype):
                yield value
            continue
        kept = producer.inputs[:1] if producer.op_type == "DequantizeLinear" else producer.inputs
        new = [v for v in reversed(kept) if v is not None and v not in seen]
        seen.update(new)
        waiting.extend(new)


def _holds_weights(dtype: ir.DataType) -> bool:
    """Shapes and indices are integers of 32 and 64 bits."""
    return dtype.is_floating_point() or (dtype.is_integer() and dtype.bitwidth <= 8)


def _is_data(value: ir.Value, layers: frozenset[ir.Node]) -> bool:
    producer = value.producer()
    return (
        producer in layers if producer is not None else value.is_graph_input() and not value.is_initializer()
    )
