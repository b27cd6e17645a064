"""`Graph`: an ONNX file's nodes, what they read and write, and the shapes of its weights; without onnx."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from cnntk.runtime.artifact.protobuf import field_spans, map_file
from cnntk.runtime.errors import ArtifactCorrupt

__all__ = ["Graph", "Node", "Weight", "graph_of"]

_MODEL_GRAPH, _GRAPH_NODE, _GRAPH_INITIALIZER, _GRAPH_INPUT = 7, 1, 5, 11
_NODE_INPUT, _NODE_OUTPUT, _NODE_NAME, _NODE_OP, _NODE_ATTRIBUTE = 1, 2, 3, 4, 5
_ATTRIBUTE_NAME, _ATTRIBUTE_INT = 1, 3
_TENSOR_DIMS, _TENSOR_TYPE, _TENSOR_NAME = 1, 2, 8
_VALUE_NAME = 1

_BITS = {1: 32, 6: 32, 12: 32, 4: 16, 5: 16, 10: 16, 16: 16, 7: 64, 11: 64, 13: 64, 21: 4, 22: 4, 23: 4}
"""Of a number of each type, by its number in onnx.proto; all others take 8."""


@dataclass(frozen=True)
class Node:
    """A node of a graph.

    Attributes:
        name: may be empty.
        op: ONNX operator.
        inputs: names of values; empty for those left out.
        outputs: names of values.
        numbers: its attributes that are one whole number.
    """

    name: str
    op: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    numbers: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class Weight:
    """A constant of a graph."""

    shape: tuple[int, ...]
    size_bytes: int

    @property
    def elements(self) -> int:
        """How many numbers it holds."""
        return math.prod(self.shape)


@dataclass(frozen=True)
class Graph:
    """What is in an ONNX file; subgraphs are not looked into.

    Attributes:
        nodes: in the order of the file.
        weights: by name.
        inputs: names of its inputs that are no weights.
    """

    nodes: tuple[Node, ...] = ()
    weights: dict[str, Weight] = field(default_factory=dict)
    inputs: tuple[str, ...] = ()


def graph_of(file: Path) -> Graph:
    """Reads an ONNX file; of its weights only their shapes.

    Raises:
        ArtifactCorrupt: it is no ONNX model.
    """
    data = map_file(file)
    nodes: list[Node] = []
    weights: dict[str, Weight] = {}
    inputs: list[str] = []
    try:
        for part in (p for n, p in _parts(data) if n == _MODEL_GRAPH):
            for number, inner in _parts(part):
                if number == _GRAPH_NODE:
                    nodes.append(_node(inner))
                elif number == _GRAPH_INITIALIZER:
                    weights.update(_weight(inner))
                elif number == _GRAPH_INPUT:
                    inputs += [_text(value) for n, value in _parts(inner) if n == _VALUE_NAME]
    except (ValueError, IndexError) as error:
        raise ArtifactCorrupt(f"{file}: is no ONNX model, or a damaged one ({error})") from error
    return Graph(tuple(nodes), weights, tuple(name for name in inputs if name not in weights))


def _node(data: memoryview) -> Node:
    texts: dict[int, list[str]] = {n: [] for n in (_NODE_INPUT, _NODE_OUTPUT, _NODE_NAME, _NODE_OP)}
    numbers: dict[str, int] = {}
    for number, part in _parts(data):
        if number in texts:
            texts[number].append(_text(part))
        elif number == _NODE_ATTRIBUTE:
            numbers.update(_attribute(part))
    name, op = ("".join(texts[n][-1:]) for n in (_NODE_NAME, _NODE_OP))
    return Node(name, op, tuple(texts[_NODE_INPUT]), tuple(texts[_NODE_OUTPUT]), numbers)


def _attribute(data: memoryview) -> dict[str, int]:
    """Its name and number, if that is a whole one."""
    parts = dict(_parts(data))
    if _ATTRIBUTE_INT not in parts:
        return {}
    return {_text(parts[_ATTRIBUTE_NAME]): next(_numbers(parts[_ATTRIBUTE_INT]))}


def _weight(data: memoryview) -> dict[str, Weight]:
    name, kind = "", 0
    shape: list[int] = []
    for number, part in _parts(data):
        if number == _TENSOR_DIMS:
            shape += _numbers(part)
        elif number == _TENSOR_TYPE:
            kind = next(_numbers(part))
        elif number == _TENSOR_NAME:
            name = _text(part)
    return {name: Weight(tuple(shape), -(-math.prod(shape) * _BITS.get(kind, 8) // 8))}


def _parts(data: memoryview) -> Iterator[tuple[int, memoryview]]:
    return ((number, data[start:stop]) for number, _, start, stop in field_spans(data, 0, len(data)))


def _text(data: memoryview) -> str:
    return bytes(data).decode("utf-8", "replace")


def _numbers(data: memoryview) -> Iterator[int]:
    """The whole numbers in a row, seven bits a byte; those below zero as protobuf writes them."""
    value = shift = 0
    for byte in data:
        value |= (byte & 0x7F) << shift
        shift += 7
        if byte < 0x80:
            yield value - (1 << 64) if value >> 63 else value
            value = shift = 0
