"""The layers of a graph: the nodes that data passes through, their names, origins and weights."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator

import onnx_ir as ir

__all__ = [
    "data_inputs",
    "layer_name",
    "layer_nodes",
    "module_of",
    "node_origin",
    "parameters",
    "readers",
    "weight_of",
]

_SCOPES = "pkg.torch.onnx.name_scopes"
_STACK = "pkg.torch.onnx.stack_trace"
_FRAME = re.compile(r'File "([^"]+)", line (\d+), in .*\n\s*(.+)')
_SHAPE_OPS = {"Shape", "Size"}


def layer_nodes(model: ir.Model) -> tuple[ir.Node, ...]:
    """The nodes that depend on the values of the inputs, in order; not those that compute shapes."""
    data = set(model.graph.inputs)
    nodes = []
    for node in model.graph:
        if node.op_type not in _SHAPE_OPS and any(v in data for v in node.inputs if v is not None):
            data.update(node.outputs)
            nodes.append(node)
    return tuple(nodes)


def layer_name(node: ir.Node) -> str:
    """The torch module that a node comes from; the node's own name where it comes from none."""
    return module_of(node) or node.name or node.op_type


def module_of(node: ir.Node) -> str:
    """The torch module that a node comes from, like ``features.3``; empty where it comes from none."""
    try:
        scopes = ast.literal_eval(node.metadata_props.get(_SCOPES, "[]"))
    except (SyntaxError, ValueError):
        return ""
    return str(scopes[-2]) if len(scopes) > 1 else ""


def node_origin(node: ir.Node) -> str:
    """``Relu 'relu_1' (module layer1.0, net.py:12: x = F.relu(x))``, as far as it is known."""
    module = module_of(node)
    origin = ", ".join(text for text in (module and f"module {module}", _source_line(node)) if text)
    name = node.name or (node.outputs[0].name or "")
    return f"{node.op_type} {name!r} ({origin})" if origin else f"{node.op_type} {name!r}"


def _source_line(node: ir.Node) -> str:
    """The innermost line outside of torch."""
    frames = _FRAME.findall(node.metadata_props.get(_STACK, ""))
    outside = [f for f in frames if "/torch/" not in f[0].replace("\\", "/")] or frames
    if not outside:
        return ""
    file, number, code = outside[-1]
    name = file.replace("\\", "/").rpartition("/")[2]
    return f"{name}:{number}: {code.strip()[:80]}"


def data_inputs(node: ir.Node, layers: frozenset[ir.Node]) -> tuple[ir.Value, ...]:
    """The inputs of a node that are data: a layer's output, or the graph's input."""
    return tuple(v for v in node.inputs if v is not None and _is_data(v, layers))


def readers(value: ir.Value, layers: frozenset[ir.Node]) -> tuple[ir.Node, ...]:
    """The layers that read a value, each once."""
    return tuple(dict.fromkeys(use.node for use in value.uses() if use.node in layers))


def parameters(node: ir.Node, layers: frozenset[ir.Node]) -> Iterator[ir.Value]:
    """The weights of a layer: floating-point initializers, also behind a Transpose or the like.

    Of a quantized weight the integers, without scale and zero point.
    """
    for value in node.inputs:
        if value is not None and not _is_data(value, layers):
            yield from _initializers_behind(value)


def weight_of(node: ir.Node, index: int = 1) -> ir.TensorProtocol | None:
    """A constant input's tensor; None where the input is missing or computed."""
    value = node.inputs[index] if index < len(node.inputs) else None
    return value.const_value if value is not None and value.is_initializer() else None


def _initializers_behind(value: ir.Value) -> Iterator[ir.Value]:
    """Walks back from ``value``, through each value once."""
    waiting, seen = [value], {value}
    while waiting:
        value = waiting.pop()
        producer = value.producer()
        if producer is None:
            if value.is_initializer() and value.dtype is not None and _holds_weights(value.dtype):
                yield value
            continue
        sources = producer.inputs[:1] if producer.op_type == "DequantizeLinear" else producer.inputs
        new = [v for v in reversed(sources) if v is not None and v not in seen]
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
