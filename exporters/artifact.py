"""The artifact's bytes: the graph with its weights, followed by the spec.

The graph is written and checked first; the spec with the results is appended as one more protobuf field,
without reading or writing the weights again. Weights are written straight from the tensors' memory:
serializing them through protobuf needs two copies of the model, and most of an export's time for a large one.
Large ones may be in a data file (`cnntk.exporters.external_data`).
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import onnx
import onnx_ir as ir
from numpy.typing import NDArray

from cnntk.exporters.external_data import ExternalData, raw_bytes, staged_artifact
from cnntk.runtime.artifact.digest import insert_digest
from cnntk.runtime.artifact.fingerprint import STRUCTURE, fingerprint, limit_fingerprints
from cnntk.runtime.artifact.protobuf import metadata_entry
from cnntk.runtime.artifact.spec import METADATA_KEY, ModelSpec

__all__ = [
    "Written",
    "append_spec",
    "copy_artifact",
    "values_text",
    "without_weights",
    "write_graph",
    "write_hashed",
]

_TORCH_NOTES = ("pkg.torch.onnx.", "namespace")

# Field numbers of onnx.proto.
_MODEL_GRAPH, _GRAPH_INITIALIZER, _TENSOR_RAW_DATA = 7, 5, 9

_NO_DIGEST = "0" * 64


@dataclass(frozen=True)
class Written:
    """A written graph without its spec.

    Attributes:
        sha256: SHA-256 of the file so far.
        fingerprints: Fingerprints of the weights and of the rest of the graph, by name.
        external: Data file with the large weights; None where all are in the file.
    """

    sha256: hashlib._Hash
    fingerprints: dict[str, str]
    external: ExternalData | None = None


def write_graph(model: ir.Model, file: Path) -> None:
    """Writes the graph with its weights to one file, without torch's notes."""
    with file.open("wb") as stream:
        for _, data in _parts(model):
            stream.write(data)


def write_hashed(model: ir.Model, file: Path, external: ExternalData | None = None) -> Written:
    """`write_graph` for a file to which `append_spec` adds the spec.

    Args:
        model: Graph to write.
        file: Path of the file.
        external: Data file with weights, to which the file refers.
    """
    sha256, fingerprints = hashlib.sha256(), {}
    with file.open("wb") as stream:
        for name, data in _parts(model, external):
            stream.write(data)
            sha256.update(data)
            if name is not None:
                computed = external is not None and external.fingerprints.get(name)
                fingerprints[name] = computed or fingerprint([data])
    return Written(sha256, limit_fingerprints(fingerprints), external)


def append_spec(file: Path, spec: ModelSpec, written: Written | None = None) -> ModelSpec:
    """Adds the spec, with fingerprints and digest, to a graph that `write_graph` wrote.

    Args:
        file: Path of the graph.
        spec: Spec without fingerprints, data file and digest.
        written: Result of `write_hashed`; without it the file is read again, and there are no fingerprints.

    Returns:
        The spec in the file.
    """
    sha256 = hashlib.sha256(file.read_bytes()) if written is None else written.sha256.copy()
    prints = {} if written is None else written.fingerprints
    data = None if written is None or written.external is None else written.external.data
    spec = replace(spec, fingerprints=prints, data=data, digest=_NO_DIGEST)
    unsealed = metadata_entry(METADATA_KEY, spec.to_json())
    sha256.update(unsealed)
    digest = sha256.hexdigest()
    with file.open("ab") as stream:
        stream.write(insert_digest(unsealed, digest))
    return replace(spec, digest=digest)


def copy_artifact(source: Path, target: Path, spec: ModelSpec) -> None:
    """Writes an artifact's graph and weights with another spec, with new fingerprints and digest.

    Raises:
        UsageError: The file can't be written.
    """
    model = ir.load(source)
    model.metadata_props.pop(METADATA_KEY, None)
    with staged_artifact(model, target, required=spec.data is not None) as (temporary, external):
        append_spec(temporary, spec, write_hashed(model, temporary, external))


def _parts(
    model: ir.Model, external: ExternalData | None = None
) -> Iterator[tuple[str | None, bytes | memoryview]]:
    """The file's bytes in order, with the name of the fingerprint for those that have one."""
    weights = {v.name: v.const_value for v in model.graph.initializers.values() if v.const_value is not None}
    frame = without_weights(model)
    graph = frame.graph.SerializeToString()
    frame.ClearField("graph")
    inside = {name for name in weights if external is None or name not in external.ranges}
    heads = [_tensor_head(name, weight, external) for name, weight in weights.items()]
    size = len(graph) + sum(map(len, heads)) + sum(weights[name].nbytes for name in inside)
    yield None, frame.SerializeToString() + _prefix(_MODEL_GRAPH, size)
    yield STRUCTURE, graph
    for head, (name, weight) in zip(heads, weights.items(), strict=True):
        yield None, head
        yield name, raw_bytes(weight) if name in inside else b""


def without_weights(model: ir.Model) -> onnx.ModelProto:
    """The model as protobuf without its weights and torch's notes; other threads may read the model."""
    copy = model.clone()  # which shares the weights
    copy.graph.initializers.clear()
    frame = ir.to_proto(copy)
    for message in (frame, frame.graph, *frame.functions):
        _strip_notes(message)
    return frame


def _tensor_head(name: str | None, weight: ir.TensorProtocol, external: ExternalData | None) -> bytes:
    """The bytes before a weight's values: field, name, type, shape; all bytes of one in a data file."""
    tensor = onnx.TensorProto(name=name, data_type=int(weight.dtype), dims=weight.numpy().shape)
    if external is not None and name in external.ranges:
        offset, length = external.ranges[name]
        tensor.data_location = onnx.TensorProto.EXTERNAL
        for key, value in (("location", external.data.file), ("offset", offset), ("length", length)):
            tensor.external_data.add(key=key, value=str(value))
        message: bytes = tensor.SerializeToString()
        return _prefix(_GRAPH_INITIALIZER, len(message)) + message
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
    """Removes torch's notes: they have stack traces with paths of the user's machine."""
    remaining = [p for p in message.metadata_props if not p.key.startswith(_TORCH_NOTES)]
    if len(remaining) < len(message.metadata_props):
        del message.metadata_props[:]
        message.metadata_props.extend(remaining)
    for inner in _inside(message):
        _strip_notes(inner)


def _inside(message: Any) -> Iterator[Any]:
    """The parts of a graph, function or node that may have notes."""
    if isinstance(message, onnx.GraphProto):
        yield from (*message.node, *message.value_info, *message.input, *message.output)
    elif isinstance(message, onnx.FunctionProto):
        yield from (*message.node, *message.value_info)
    elif isinstance(message, onnx.NodeProto):
        yield from (a.g for a in message.attribute if a.HasField("g"))


def values_text(array: NDArray[Any], stride: int) -> str:
    """Every stride-th value with nine digits: a hundredth of float32's own rounding."""
    return " ".join(f"{value:.9g}" for value in array.reshape(-1)[::stride].tolist())
