"""The artifact's bytes: the graph with its weights, and behind it the spec.

The graph is written and tested first; the spec, which tells of the test, is appended as one more protobuf
field without writing the weights again. Weights go from the tensors' memory straight to the file: serialising
them through protobuf takes two copies of the model, and most of an export's time for a large one.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir

from cnntk.runtime.spec import METADATA_KEY, ModelSpec

__all__ = ["append_spec", "write_graph"]

_TORCH_NOTES = ("pkg.torch.onnx.", "namespace")

# Field numbers of onnx.proto.
_MODEL_GRAPH, _GRAPH_INITIALIZER, _TENSOR_RAW_DATA = 7, 5, 9


def write_graph(model: ir.Model, file: Path) -> None:
    """Writes the graph with its weights, in one file."""
    _strip_notes(model)
    weights = {v.name: v.const_value for v in model.graph.initializers.values() if v.const_value is not None}
    frame = _without_weights(model)
    graph = frame.graph.SerializeToString()
    frame.ClearField("graph")
    heads = [_tensor_head(name, weight) for name, weight in weights.items()]
    size = len(graph) + sum(map(len, heads)) + sum(w.nbytes for w in weights.values())
    with file.open("wb") as stream:
        stream.write(frame.SerializeToString() + _prefix(_MODEL_GRAPH, size) + graph)
        for head, weight in zip(heads, weights.values(), strict=True):
            stream.write(head)
            stream.write(_raw(weight))


def append_spec(file: Path, spec: ModelSpec) -> None:
    """Adds the spec to a graph that `write_graph` wrote."""
    tail = onnx.ModelProto()
    tail.metadata_props.add(key=METADATA_KEY, value=spec.to_json())
    with file.open("ab") as stream:
        stream.write(tail.SerializeToString())


def _without_weights(model: ir.Model) -> onnx.ModelProto:
    kept = dict(model.graph.initializers)
    model.graph.initializers.clear()
    try:
        return ir.to_proto(model)
    finally:
        model.graph.initializers.update(kept)


def _tensor_head(name: str | None, weight: ir.TensorProtocol) -> bytes:
    """What stands before a weight's bytes: its place in the graph, name, type and shape."""
    tensor = onnx.TensorProto(name=name, data_type=int(weight.dtype), dims=weight.numpy().shape)
    head: bytes = tensor.SerializeToString() + _prefix(_TENSOR_RAW_DATA, weight.nbytes)
    return _prefix(_GRAPH_INITIALIZER, len(head) + weight.nbytes) + head


def _raw(weight: ir.TensorProtocol) -> bytes | memoryview:
    """Little-endian, as ONNX stores it; a view where memory already holds it so."""
    array = np.ascontiguousarray(weight.numpy())
    if array.nbytes != weight.nbytes or array.dtype.byteorder == ">":  # 4-bit types are packed in the file
        return weight.tobytes()
    return array.reshape(-1).view(np.uint8).data


def _prefix(field: int, length: int) -> bytes:
    """A length-delimited protobuf field's tag and length."""
    return bytes((*_varint(field << 3 | 2), *_varint(length)))


def _varint(value: int) -> Iterator[int]:
    """Seven bits a byte, the lowest first, the top bit set on all but the last."""
    while value > 0x7F:
        yield value & 0x7F | 0x80
        value >>= 7
    yield value


def _strip_notes(model: ir.Model) -> None:
    """torch notes the stack trace of each node, with paths of the user's machine: they stay there."""
    nodes = list(model.graph)
    notes = [n.metadata_props for n in nodes] + [v.metadata_props for n in nodes for v in n.outputs]
    for props in (*notes, model.graph.metadata_props, model.metadata_props):
        _drop(props, (key for key in tuple(props) if key.startswith(_TORCH_NOTES)))


def _drop(props: dict[str, str], keys: Iterable[str]) -> None:
    for key in keys:
        del props[key]
