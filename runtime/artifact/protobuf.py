"""Reading of weights, nodes and metadata from ONNX files, and writing of messages, without the onnx package.

The file is a protobuf message: a sequence of fields, each with a number, a wire type and a value; a nested
message is a value of bytes. See https://protobuf.dev/programming-guides/encoding, and onnx.proto for the
field numbers.
"""

from __future__ import annotations

import mmap
import os
import struct
from collections.abc import Callable, Iterator
from typing import NamedTuple

from cnntk.runtime.errors import ArtifactCorrupt

__all__ = [
    "ExternalTensor",
    "ParsedModel",
    "ParsedNode",
    "check_not_empty",
    "encode_message",
    "field_spans",
    "file_bytes",
    "invalid_file_error",
    "last_metadata_entry",
    "metadata_entry",
    "parse_model",
    "read_external_tensor",
    "read_varint",
    "without_node_names",
]

_MODEL_GRAPH, _MODEL_METADATA = 7, 14
_GRAPH_NODE, _GRAPH_INITIALIZER = 1, 5
_NODE_INPUT, _NODE_NAME, _NODE_OP = 1, 3, 4
_TENSOR_NAME, _TENSOR_RAW_DATA, _TENSOR_EXTERNAL_DATA = 8, 9, 13
_KEY, _VALUE = 1, 2

_VARINT, _BYTES, _FLOAT = 0, 2, 5
_FIXED_SIZES = {1: 8, 5: 4}

_HEAD_BYTES = 256
_FIRST_BYTE = b"\x08"
"""Tag of the IR version, with which every known tool begins a model."""

_AGAIN = "Download or copy it again"
_OTHER_FORMATS = {
    b"version https://git-lfs": "it is a Git LFS pointer, not the model. Fetch the model with: git lfs pull",
    b"<!doctype html": "it is a web page. Download the file itself, not the page that shows it",
    b"<html": "it is a web page. Download the file itself, not the page that shows it",
    b"pk\x03\x04": "it is a ZIP archive, as torch.save writes. Unpack it, or export the model to ONNX",
    b"\x1f\x8b": "it is compressed with gzip. Unpack it first",
    b"\x89hdf": "it is an HDF5 file, as Keras writes. Convert the model to ONNX",
}
"""Lower-case beginnings of files that are taken for models."""

Data = bytes | memoryview | mmap.mmap


class ParsedNode(NamedTuple):
    """A node of the graph: its name, operator and the names of its inputs."""

    name: str
    op: str
    inputs: tuple[str, ...]


class ExternalTensor(NamedTuple):
    """A tensor whose values are in another file (ONNX external data).

    Attributes:
        name: Name of the tensor; empty for one without.
        locations: Paths of the file as stated; one, in a valid model.
        numbers: ``offset`` and ``length`` in bytes, as the stated text; each may be missing.
    """

    name: str
    locations: tuple[str, ...]
    numbers: dict[str, str]


class ParsedModel(NamedTuple):
    """The contents of an ONNX file; ``structure`` has the fields of the graph other than its weights."""

    structure: list[memoryview]
    weights: dict[str, memoryview]
    external_tensors: dict[str, ExternalTensor]
    nodes: list[ParsedNode]
    metadata: dict[str, str]


class _Field(NamedTuple):
    """A field of a message: its number, its value, and all its bytes."""

    number: int
    value: memoryview
    encoded: memoryview

    @property
    def text(self) -> str:
        return bytes(self.value).decode("utf-8", "replace")


def file_bytes(file: str | os.PathLike[str] | bytes) -> bytes | mmap.mmap:
    """Maps a file to memory, where its bytes are read on access; bytes stay as they are."""
    if isinstance(file, bytes):
        return file
    with open(file, "rb") as stream:
        if os.fstat(stream.fileno()).st_size == 0:
            return b""
        return mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ)


def parse_model(data: Data, name: str) -> ParsedModel:
    """Parses the bytes of an ONNX file; ``name`` is its name in messages.

    Raises:
        ArtifactCorrupt: The data is not a protobuf message.
    """
    model = ParsedModel([], {}, {}, [], {})
    try:
        for item in _fields(memoryview(data)):
            if item.number == _MODEL_GRAPH:
                _parse_graph(item.value, model)
            elif item.number == _MODEL_METADATA:
                entry = {f.number: f.text for f in _fields(item.value)}
                model.metadata[entry.get(_KEY, "")] = entry.get(_VALUE, "")
    except (ValueError, IndexError) as error:
        raise invalid_file_error(data, name, error) from error
    return model


def check_not_empty(data: Data) -> None:
    """Raises ValueError for no bytes at all, which are a message without fields."""
    if not len(data):
        raise ValueError("it is empty")


def invalid_file_error(data: Data, name: str, error: Exception) -> ArtifactCorrupt:
    """The error for bytes that are no ONNX model: what they are instead, where known, and what to do."""
    head = bytes(data[:_HEAD_BYTES])
    kinds = (text for prefix, text in _OTHER_FORMATS.items() if head.lstrip().lower().startswith(prefix))
    text = next(kinds, None)
    if not head:
        text = f"{error}. {_AGAIN}"
    elif text is None and head.startswith(_FIRST_BYTE) and "after the data" in str(error):
        text = f"its end is missing ({error}). {_AGAIN}"
    elif text is None and _is_text(head):
        text = "it is a text file. Name the .onnx file itself"
    elif text is None:
        text = f"{error}. {_AGAIN}"
    return ArtifactCorrupt(f"{name}: not a valid ONNX file, or damaged: {text}")


def _is_text(head: bytes) -> bool:
    try:
        text = head.decode()
    except UnicodeDecodeError:
        return False
    return all(character.isprintable() or character.isspace() for character in text)


def field_spans(data: Data, start: int, end: int) -> Iterator[tuple[int, int, int, int]]:
    """Yields number, wire type, start and end of each field's value in the message ``data[start:end]``.

    Raises:
        ValueError: The bytes are not a message.
        IndexError: The message goes beyond the end of ``data``.
    """
    position = start
    while position < end:
        field_start = position
        tag = data[position]
        position += 1
        if tag > 0x7F:
            tag, position = read_varint(data, field_start)
            tag &= 0xFFFFFFFF  # as protobuf reads it
        if tag < 8:
            raise ValueError(f"a field without a number at byte {field_start}")
        wire_type = tag & 7
        if wire_type == _BYTES:
            length = data[position]
            position += 1
            if length > 0x7F:
                length, position = read_varint(data, position - 1)
            stop = position + length
        elif wire_type == _VARINT:
            stop = read_varint(data, position)[1]
        elif wire_type in _FIXED_SIZES:
            stop = position + _FIXED_SIZES[wire_type]
        else:
            raise ValueError(f"unknown wire type {wire_type} at byte {field_start}")
        if stop > end:
            raise ValueError(f"the field at byte {field_start} ends {stop - end} bytes after the data")
        yield tag >> 3, wire_type, position, stop
        position = stop


def read_external_tensor(data: Data, start: int, end: int) -> ExternalTensor | None:
    """Parses the tensor ``data[start:end]``; None if its values are in the model's own file."""
    locations: list[str] = []
    numbers: dict[str, str] = {}
    name = (start, start)
    for number, wire_type, first, last in field_spans(data, start, end):
        if wire_type == _BYTES and number == _TENSOR_NAME:
            name = (first, last)
        elif wire_type == _BYTES and number == _TENSOR_EXTERNAL_DATA:
            entry = {n: os.fsdecode(bytes(data[a:b])) for n, _, a, b in field_spans(data, first, last)}
            key, value = entry.get(_KEY, ""), entry.get(_VALUE, "")
            if key == "location":
                locations.append(value)
            else:
                numbers[key] = value
    if not locations:
        return None
    return ExternalTensor(bytes(data[slice(*name)]).decode("utf-8", "replace"), tuple(locations), numbers)


def last_metadata_entry(data: bytes | mmap.mmap, key: str) -> bytes | None:
    """Returns the JSON object of the metadata entry ``key`` that a file ends with, reading only its end."""
    start = data.rfind(b"\n" + bytes([len(key)]) + key.encode() + b"\x12")
    begin = data.find(b"{", start)
    return None if start < 0 or begin < 0 else data[begin:]


def metadata_entry(key: str, value: str) -> bytes:
    """Encodes an entry of a model's metadata, to be appended to its file."""
    return encode_message((_MODEL_METADATA, encode_message((_KEY, key), (_VALUE, value))))


def without_node_names(data: Data) -> bytes:
    """A model whose graph's nodes have no names; they are optional, and have no meaning in ONNX."""
    return _replaced(data, _MODEL_GRAPH, lambda graph: _replaced(graph, _GRAPH_NODE, _nameless))


def _replaced(message: Data, number: int, replace: Callable[[memoryview], bytes]) -> bytes:
    """A message with each field ``number`` replaced."""
    fields = _fields(memoryview(message))
    return b"".join(
        encode_message((number, replace(f.value))) if f.number == number else bytes(f.encoded) for f in fields
    )


def _nameless(node: memoryview) -> bytes:
    return b"".join(bytes(f.encoded) for f in _fields(node) if f.number != _NODE_NAME)


def encode_message(*fields: tuple[int, int | float | str | bytes]) -> bytes:
    """Encodes a message from pairs of field number and value.

    Values are integers from 0, floats (written as float32), text, or an encoded message.
    """
    return b"".join(_encode_field(number, value) for number, value in fields)


def _encode_field(number: int, value: int | float | str | bytes) -> bytes:
    if isinstance(value, int):
        return _encode_varint(number << 3 | _VARINT) + _encode_varint(value)
    if isinstance(value, float):
        return _encode_varint(number << 3 | _FLOAT) + struct.pack("<f", value)
    data = value.encode() if isinstance(value, str) else value
    return _encode_varint(number << 3 | _BYTES) + _encode_varint(len(data)) + data


def _encode_varint(value: int) -> bytes:
    """Encodes seven bits per byte, the lowest first."""
    encoded = bytearray()
    while value > 0x7F:
        encoded.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*encoded, value])


def _parse_graph(graph: memoryview, model: ParsedModel) -> None:
    for item in _fields(graph):
        if item.number == _GRAPH_INITIALIZER:
            parts = {inner.number: inner for inner in _fields(item.value)}
            name = parts[_TENSOR_NAME].text if _TENSOR_NAME in parts else ""
            # Values that are not stored as raw bytes are represented by the whole tensor.
            model.weights[name] = parts.get(_TENSOR_RAW_DATA, item).value
            if external := read_external_tensor(item.value, 0, len(item.value)):
                model.external_tensors[name] = external
            continue
        model.structure.append(item.encoded)
        if item.number == _GRAPH_NODE:
            model.nodes.append(_parse_node(item.value))


def _parse_node(data: memoryview) -> ParsedNode:
    fields = list(_fields(data))
    names = {f.number: f.text for f in fields if f.number in (_NODE_NAME, _NODE_OP)}
    inputs = tuple(f.text for f in fields if f.number == _NODE_INPUT)
    return ParsedNode(names.get(_NODE_NAME, ""), names.get(_NODE_OP, ""), inputs)


def _fields(data: memoryview) -> Iterator[_Field]:
    begin = 0
    for number, _, start, stop in field_spans(data, 0, len(data)):
        yield _Field(number, data[start:stop], data[begin:stop])
        begin = stop


def read_varint(data: Data, position: int) -> tuple[int, int]:
    """Decodes seven bits per byte, the lowest first; returns the number and the position after it."""
    value = 0
    for shift in range(0, 70, 7):
        byte = data[position]
        position += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, position
    raise ValueError("a number of more than ten bytes")
