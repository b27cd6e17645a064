"""The versions that a model file states, and the oldest onnxruntime that runs it, by them and its operators.

Releases from 1.18 on were tried with a file of each version. ``tests/runtime/artifact/test_compatibility.py``
tries the installed one, which CI does with the oldest supported and the newest release.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

from cnntk.runtime.artifact.protobuf import Data, field_spans, parse_model, read_varint
from cnntk.runtime.session.devices import release_numbers

__all__ = [
    *(
        "BYTE_OPERATORS",
        "IR_VERSIONS",
        "OPERATORS",
        "OPSETS",
        "FileFormat",
        "first_release",
        "oldest_onnxruntime",
        "read_format",
    ),
]

IR_VERSIONS = {10: "1.18", 11: "1.23", 13: "1.24", 14: "1.32"}
OPSETS = {21: "1.18", 22: "1.21", 23: "1.23", 25: "1.24", 26: "1.25", 28: "1.32"}
"""First release that loads versions up to and including each."""

OPERATORS = {"MatMulNBits": "1.23"}
"""First release that runs onnxruntime's own operators as `cnntk quantize` writes them; all run the others."""

BYTE_OPERATORS = {"Max": "1.24", "Min": "1.24"}
"""First release that runs these operators on bytes."""

_MODEL_IR_VERSION, _MODEL_PRODUCER, _MODEL_PRODUCER_VERSION, _MODEL_GRAPH, _MODEL_OPSET = 1, 2, 3, 7, 8
_DOMAIN, _VERSION = 1, 2
_STANDARD = "ai.onnx"
_SHOWN_DOMAINS = 2

_GRAPH_INITIALIZER, _TENSOR_DIMS, _TENSOR_DTYPE, _TENSOR_NAME = 5, 1, 2, 8
_BYTES = 2
_DTYPES = {
    1: "float32",
    2: "uint8",
    3: "int8",
    4: "uint16",
    5: "int16",
    6: "int32",
    7: "int64",
    8: "string",
    9: "bool",
    10: "float16",
    11: "float64",
    12: "uint32",
    13: "uint64",
    16: "bfloat16",
    21: "uint4",
    17: "float8e4m3fn",
    18: "float8e4m3fnuz",
    19: "float8e5m2",
    20: "float8e5m2fnuz",
    22: "int4",
}
"""Names of ONNX's TensorProto.DataType."""


@dataclass(frozen=True)
class FileFormat:
    """What a model file states of itself.

    Attributes:
        ir_version: Version of the ONNX file format; None where the file states none.
        opsets: Version of each operator set by its domain; the standard one is ``ai.onnx``.
        producer: Tool that wrote the file, with its version; empty where the file states none.
        weight_types: Number of values by data type, of all weights.
    """

    ir_version: int | None
    opsets: dict[str, int]
    producer: str
    weight_types: dict[str, int]

    def __str__(self) -> str:
        others = [f"{name} {version}" for name, version in self.opsets.items() if name != _STANDARD]
        shown = others if len(others) <= _SHOWN_DOMAINS else [f"{len(others)} other domains"]
        opset = [f"opset {self.opsets[_STANDARD]}"] if _STANDARD in self.opsets else []
        return ", ".join(
            [*opset, *([f"IR {self.ir_version}"] if self.ir_version is not None else []), *shown]
        )


def read_format(data: Data) -> FileFormat:
    """Reads what a valid ONNX file states of itself, without its weights' values."""
    ir_version, opsets, producer = None, {}, {}
    values: Counter[str] = Counter()
    for number, _, start, stop in field_spans(data, 0, len(data)):
        if number == _MODEL_IR_VERSION:
            ir_version = read_varint(data, start)[0]
        elif number in (_MODEL_PRODUCER, _MODEL_PRODUCER_VERSION):
            producer[number] = bytes(data[start:stop]).decode("utf-8", "replace")
        elif number == _MODEL_OPSET:
            fields = {n: (a, b) for n, _, a, b in field_spans(data, start, stop)}
            domain = bytes(data[slice(*fields.get(_DOMAIN, (0, 0)))]).decode("utf-8", "replace")
            opsets[domain or _STANDARD] = (
                read_varint(data, fields[_VERSION][0])[0] if _VERSION in fields else 0
            )
        elif number == _MODEL_GRAPH:
            for _, dtype, count in _weights(data, start, stop):
                values[dtype] += count
    return FileFormat(
        ir_version, opsets, " ".join(filter(None, producer.values())), dict(values.most_common())
    )


def _weights(data: Data, start: int, stop: int) -> Iterator[tuple[str, str, int]]:
    """Name, data type and number of values of each weight of a graph."""
    for number, _, first, last in field_spans(data, start, stop):
        if number != _GRAPH_INITIALIZER:
            continue
        name, dtype, dims = "", 0, []
        for field, wire_type, a, b in field_spans(data, first, last):
            if field == _TENSOR_DTYPE:
                dtype = read_varint(data, a)[0]
            elif field == _TENSOR_NAME:
                name = bytes(data[a:b]).decode("utf-8", "replace")
            elif field == _TENSOR_DIMS and wire_type == _BYTES:
                while a < b:
                    value, a = read_varint(data, a)
                    dims.append(value)
            elif field == _TENSOR_DIMS:
                dims.append(read_varint(data, a)[0])
        yield name, _DTYPES.get(dtype, f"type {dtype}"), math.prod(dims)


def _byte_weights(data: Data) -> set[str]:
    """Names of the weights in uint8 or int8."""
    graphs = [(a, b) for number, _, a, b in field_spans(data, 0, len(data)) if number == _MODEL_GRAPH]
    weights = (weight for graph in graphs for weight in _weights(data, *graph))
    return {name for name, dtype, _ in weights if dtype in ("uint8", "int8")}


def first_release(releases: dict[int, str], version: int) -> str | None:
    """Returns the first onnxruntime release for an IR version or opset; None for later ones than known."""
    return next((release for newest, release in releases.items() if version <= newest), None)


def oldest_onnxruntime(data: Data, name: str) -> str | None:
    """Returns the oldest onnxruntime that runs a model; None where its versions are later than known ones.

    Raises:
        ArtifactCorrupt: The data is not a valid ONNX file.
    """
    nodes = parse_model(data, name).nodes
    operators, on_bytes = {node.op for node in nodes}, set[str]()
    if operators & BYTE_OPERATORS.keys():
        bytes_ = _byte_weights(data)
        on_bytes = {node.op for node in nodes if not bytes_.isdisjoint(node.inputs)}
    releases: list[str | None] = [release for op, release in OPERATORS.items() if op in operators]
    releases += [release for op, release in BYTE_OPERATORS.items() if op in on_bytes]
    stated = read_format(data)
    if stated.ir_version is not None:
        releases.append(first_release(IR_VERSIONS, stated.ir_version))
    if stated.opsets.get(_STANDARD):
        releases.append(first_release(OPSETS, stated.opsets[_STANDARD]))
    known = [release for release in releases if release is not None]
    return max(known, key=release_numbers) if known and len(known) == len(releases) else None
