"""The few fields of an ONNX file that are read without onnx (weights, nodes, metadata), and a writer.

The file is protobuf: a message is a row of fields, each a number, a kind and a value; a nested message is a
value of bytes. See https://protobuf.dev/programming-guides/encoding and onnx.proto, for the field numbers.
"""

from __future__ import annotations

import mmap
import os
import struct
from collections.abc import Iterator
from dataclasses import dataclass, field

from cnntk.runtime.errors import ArtifactCorrupt

__all__ = [
    "ExternalTensor",
    "ParsedModel",
    "ParsedNode",
    "encode_message",
    "field_spans",
    "last_metadata_entry",
    "map_file",
    "metadata_entry",
    "parse_model",
    "read_external_tensor",
]

_MODEL_GRAPH, _MODEL_METADATA = 7, 14
_GRAPH_NODE, _GRAPH_INITIALIZER = 1, 5
_NODE_INPUT, _NODE_NAME, _NODE_OP = 1, 3, 4
_TENSOR_NAME, _TENSOR_RAW_DATA, _TENSOR_EXTERNAL_DATA = 8, 9, 13
_KEY, _VALUE = 1, 2

_VARINT, _BYTES, _FIXED = 0, 2, {1: 8, 5: 4}
_FLOAT = 5


@dataclass(frozen=True)
class ParsedNode:
    """A node of the graph."""

    name: str
    op: str
    inputs: tuple[str, ...]


@dataclass(frozen=True)
class ExternalTensor:
    """Where a tensor says that its numbers are, beside the model's file.

    Attributes:
        tensor: its name; empty for one without.
        locations: paths of the file; one, in a sound model.
        numbers: ``offset`` and ``length``, in bytes, as the text that stands there; each may be missing.
    """

    tensor: str
    locations: tuple[str, ...]
    numbers: dict[str, str]


@dataclass(frozen=True)
class ParsedModel:
    """What is in an ONNX file.

    Attributes:
        structure: the graph's fields other than its weights, as bytes.
        weights: bytes of each initializer.
        places: of the initializers that are beside the file.
        nodes: in the order of the file.
        metadata: the model's.
    """

    structure: list[memoryview] = field(default_factory=list)
    weights: dict[str, memoryview] = field(default_factory=dict)
    external_tensors: dict[str, ExternalTensor] = field(default_factory=dict)
    nodes: list[ParsedNode] = field(default_factory=list)
    metadata: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class _Field:
    number: int
    value: memoryview
    whole: memoryview

    @property
    def text(self) -> str:
        return bytes(self.value).decode("utf-8", "replace")


def map_file(path: str | os.PathLike[str]) -> memoryview:
    """A file's bytes, read as they are looked at."""
    with open(path, "rb") as stream:
        if os.fstat(stream.fileno()).st_size == 0:
            return memoryview(b"")
        return memoryview(mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ))


def parse_model(data: memoryview, where: str) -> ParsedModel:
    """Reads an ONNX file.

    Raises:
        ArtifactCorrupt: it is no protobuf message.
    """
    found = ParsedModel()
    try:
        for part in _fields(data):
            if part.number == _MODEL_GRAPH:
                _read_graph(part.value, found)
            elif part.number == _MODEL_METADATA:
                entry = {f.number: f.text for f in _fields(part.value)}
                found.metadata[entry.get(_KEY, "")] = entry.get(_VALUE, "")
    except (ValueError, IndexError) as error:
        raise ArtifactCorrupt(f"{where}: is no ONNX model, or a damaged one ({error})") from error
    return found


def field_spans(
    data: bytes | memoryview | mmap.mmap, at: int, end: int
) -> Iterator[tuple[int, int, int, int]]:
    """Number, kind, beginning and end of each field of the message at ``data[at:end]``.

    Raises:
        ValueError: it is no message.
        IndexError: it is no message, at the end of ``data``.
    """
    while at < end:
        start = at
        tag = data[at]
        at += 1
        if tag > 0x7F:
            tag, at = _varint(data, start)
            tag &= 0xFFFFFFFF  # as protobuf reads it
        kind = tag & 7
        if kind == _BYTES:
            length = data[at]
            at += 1
            if length > 0x7F:
                length, at = _varint(data, at - 1)
            stop = at + length
        elif kind == _VARINT:
            stop = _varint(data, at)[1]
        elif kind in _FIXED:
            stop = at + _FIXED[kind]
        else:
            raise ValueError(f"a field of kind {kind} at byte {start}")
        if stop > end:
            raise ValueError(f"a field at byte {start} ends {stop - end} bytes behind the data")
        yield tag >> 3, kind, at, stop
        at = stop


def read_external_tensor(data: bytes | memoryview | mmap.mmap, at: int, end: int) -> ExternalTensor | None:
    """Where the tensor at ``data[at:end]`` has its numbers; None where that is not beside the file."""
    locations: list[str] = []
    numbers: dict[str, str] = {}
    name = (at, at)
    for number, kind, start, stop in field_spans(data, at, end):
        if kind == _BYTES and number == _TENSOR_NAME:
            name = (start, stop)
        elif kind == _BYTES and number == _TENSOR_EXTERNAL_DATA:
            entry = {n: os.fsdecode(bytes(data[a:b])) for n, _, a, b in field_spans(data, start, stop)}
            key, value = entry.get(_KEY, ""), entry.get(_VALUE, "")
            if key == "location":
                locations.append(value)
            else:
                numbers[key] = value
    if not locations:
        return None
    return ExternalTensor(bytes(data[slice(*name)]).decode("utf-8", "replace"), tuple(locations), numbers)


def last_metadata_entry(data: bytes | mmap.mmap, key: str) -> bytes | None:
    """The JSON object in the metadata entry ``key`` that a file ends with; read from its end alone."""
    start = data.rfind(b"\n" + bytes([len(key)]) + key.encode() + b"\x12")
    begin = data.find(b"{", start)
    return None if start < 0 or begin < 0 else data[begin:]


def metadata_entry(key: str, value: str) -> bytes:
    """An entry of a model's metadata, to be appended to its file."""
    return encode_message((_MODEL_METADATA, encode_message((_KEY, key), (_VALUE, value))))


def encode_message(*fields: tuple[int, int | float | str | bytes]) -> bytes:
    """A message of these fields, by number: whole numbers from 0 on, float32, text, or another message."""
    return b"".join(_written(number, value) for number, value in fields)


def _written(number: int, value: int | float | str | bytes) -> bytes:
    if isinstance(value, int):
        return _number(number << 3 | _VARINT) + _number(value)
    if isinstance(value, float):
        return _number(number << 3 | _FLOAT) + struct.pack("<f", value)
    data = value.encode() if isinstance(value, str) else value
    return _number(number << 3 | _BYTES) + _number(len(data)) + data


def _number(value: int) -> bytes:
    """Seven bits a byte, the lowest first."""
    parts = bytearray()
    while value > 0x7F:
        parts.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*parts, value])


def _read_graph(graph: memoryview, found: ParsedModel) -> None:
    for part in _fields(graph):
        if part.number == _GRAPH_INITIALIZER:
            name, weight = _tensor(part)
            found.weights[name] = weight
            if place := read_external_tensor(part.value, 0, len(part.value)):
                found.external_tensors[name] = place
            continue
        found.structure.append(part.whole)
        if part.number == _GRAPH_NODE:
            found.nodes.append(_node(part.value))


def _node(data: memoryview) -> ParsedNode:
    parts = list(_fields(data))
    named = {f.number: f.text for f in parts if f.number in (_NODE_NAME, _NODE_OP)}
    inputs = tuple(f.text for f in parts if f.number == _NODE_INPUT)
    return ParsedNode(named.get(_NODE_NAME, ""), named.get(_NODE_OP, ""), inputs)


def _tensor(part: _Field) -> tuple[str, memoryview]:
    """Name and numbers; all of the tensor where its numbers stand otherwise than as raw bytes."""
    name, weight = "", part.value
    for inner in _fields(part.value):
        if inner.number == _TENSOR_NAME:
            name = inner.text
        elif inner.number == _TENSOR_RAW_DATA:
            weight = inner.value
    return name, weight


def _fields(data: memoryview) -> Iterator[_Field]:
    begin = 0
    for number, _, start, stop in field_spans(data, 0, len(data)):
        yield _Field(number, data[start:stop], data[begin:stop])
        begin = stop


def _varint(data: bytes | memoryview | mmap.mmap, at: int) -> tuple[int, int]:
    """Seven bits a byte, the lowest first; the number, and where the next field begins."""
    value = 0
    for shift in range(0, 70, 7):
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
    raise ValueError("a number of more than ten bytes")
