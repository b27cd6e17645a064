"""The artifact's bytes: the graph with its weights, and behind it the spec.

The graph is written and tested first; the spec, which tells of the test, is appended as one more protobuf
field without reading or writing the weights again. Weights go from the tensors' memory straight to the file:
serializing them through protobuf takes two copies of the model, and most of an export's time for a large one.
Large ones may be in a file beside it (`cnntk.exporters.external_data`).
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import onnx
import onnx_ir as ir

from cnntk.exporters.external_data import Beside, raw_bytes
from cnntk.runtime.artifact.digest import insert_digest
from cnntk.runtime.artifact.fingerprint import STRUCTURE, fingerprint, limit_fingerprints
from cnntk.runtime.artifact.protobuf import metadata_entry
from cnntk.runtime.artifact.spec import METADATA_KEY, ModelSpec

__all__ = ["Written", "append_spec", "without_weights", "write_graph", "write_hashed"]

_TORCH_NOTES = ("pkg.torch.onnx.", "namespace")

# Field numbers of onnx.proto.
_MODEL_GRAPH, _GRAPH_INITIALIZER, _TENSOR_RAW_DATA = 7, 5, 9

_NO_DIGEST = "0" * 64


@dataclass(frozen=True)
class Written:
    """A graph in a file, with what its spec will say of the bytes.

    Attributes:
        sha256: of the file so far.
        fingerprints: of the weights and of the rest of the graph.
        beside: where the large weights are; None where all are in the file.
    """

    sha256: hashlib._Hash
    fingerprints: dict[str, str]
    beside: Beside | None = None


def write_graph(model: ir.Model, file: Path) -> None:
    """Writes the graph with its weights, in one file; torch's notes stay in ``model`` alone."""
    with file.open("wb") as stream:
        for _, data in _parts(model):
            stream.write(data)


def write_hashed(model: ir.Model, file: Path, beside: Beside | None = None) -> Written:
    """`write_graph`, for a file that `append_spec` is going to seal.

    Args:
        model: the graph.
        file: to write.
        beside: weights that are beside it already, and only named in it.
    """
    sha256, fingerprints = hashlib.sha256(), {}
    with file.open("wb") as stream:
        for name, data in _parts(model, beside):
            stream.write(data)
            sha256.update(data)
            if name is not None:
                there = beside is not None and beside.fingerprints.get(name)
                fingerprints[name] = there or fingerprint([data])
    return Written(sha256, limit_fingerprints(fingerprints), beside)


def append_spec(file: Path, spec: ModelSpec, written: Written | None = None) -> ModelSpec:
    """Adds the spec, with fingerprints and digest, to a graph that `write_graph` wrote.

    Args:
        file: the graph.
        spec: what the file is to say of itself.
        written: what `write_hashed` returned; without it the file is read again, and there are no
            fingerprints.

    Returns:
        The spec as it stands in the file.
    """
    sha256 = hashlib.sha256(file.read_bytes()) if written is None else written.sha256.copy()
    prints = {} if written is None else written.fingerprints
    data = None if written is None or written.beside is None else written.beside.data
    spec = replace(spec, fingerprints=prints, data=data, digest=_NO_DIGEST)
    unsealed = metadata_entry(METADATA_KEY, spec.to_json())
    sha256.update(unsealed)
    digest = sha256.hexdigest()
    with file.open("ab") as stream:
        stream.write(insert_digest(unsealed, digest))
    return replace(spec, digest=digest)


def _parts(model: ir.Model, beside: Beside | None = None) -> Iterator[tuple[str | None, bytes | memoryview]]:
    """The file's bytes in order, with the name of what is to have a fingerprint."""
    weights = {v.name: v.const_value for v in model.graph.initializers.values() if v.const_value is not None}
    frame = without_weights(model)
    graph = frame.graph.SerializeToString()
    frame.ClearField("graph")
    inside = {name for name in weights if beside is None or name not in beside.places}
    heads = [_tensor_head(name, weight, beside) for name, weight in weights.items()]
    size = len(graph) + sum(map(len, heads)) + sum(weights[name].nbytes for name in inside)
    yield None, frame.SerializeToString() + _prefix(_MODEL_GRAPH, size)
    yield STRUCTURE, graph
    for head, (name, weight) in zip(heads, weights.items(), strict=True):
        yield None, head
        yield name, raw_bytes(weight) if name in inside else b""


def without_weights(model: ir.Model) -> onnx.ModelProto:
    """The model as protobuf, but for its weights and torch's notes."""
    kept = dict(model.graph.initializers)
    model.graph.initializers.clear()
    try:
        frame = ir.to_proto(model)
    finally:
        model.graph.initializers.update(kept)
    for message in (frame, frame.graph, *frame.functions):
        _strip_notes(message)
    return frame


def _tensor_head(name: str | None, weight: ir.TensorProtocol, beside: Beside | None) -> bytes:
    """What stands before a weight's bytes: its place in the graph, name, type and shape.

    It is all that stands in the file for a weight beside it.
    """
    tensor = onnx.TensorProto(name=name, data_type=int(weight.dtype), dims=weight.numpy().shape)
    if beside is not None and name in beside.places:
        offset, length = beside.places[name]
        tensor.data_location = onnx.TensorProto.EXTERNAL
        for key, value in (("location", beside.data.file), ("offset", offset), ("length", length)):
            tensor.external_data.add(key=key, value=str(value))
        whole: bytes = tensor.SerializeToString()
        return _prefix(_GRAPH_INITIALIZER, len(whole)) + whole
    head: bytes = tensor.SerializeToString() + _prefix(_TENSOR_RAW_DATA, weight.nbytes)
    return _prefix(_GRAPH_INITIALIZER, len(head) + weight.nbytes) + head


def _prefix(field: int, length: int) -> bytes:
    """A length-delimited protobuf field's tag and length."""
    return bytes((*_varint(field << 3 | 2), *_varint(length)))


def _varint(value: int) -> Iterator[int]:
    """Seven bits a byte, the lowest first, the top bit set on all but the last."""
    while value > 0x7F:
        yield value & 0x7F | 0x80
        value >>= 7
    yield value


def _strip_notes(message: Any) -> None:
    """torch notes the stack trace of each node, with paths of the user's machine: they stay there."""
    kept = [p for p in message.metadata_props if not p.key.startswith(_TORCH_NOTES)]
    if len(kept) < len(message.metadata_props):
        del message.metadata_props[:]
        message.metadata_props.extend(kept)
    for inner in _inside(message):
        _strip_notes(inner)


def _inside(message: Any) -> Iterator[Any]:
    """What bears notes of its own in a graph, function or node."""
    if isinstance(message, onnx.GraphProto):
        yield from (*message.node, *message.value_info, *message.input, *message.output)
    elif isinstance(message, onnx.FunctionProto):
        yield from (*message.node, *message.value_info)
    elif isinstance(message, onnx.NodeProto):
        yield from (a.g for a in message.attribute if a.HasField("g"))
