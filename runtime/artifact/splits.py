"""Nodes at which onnxruntime ends the process, found before it reads them.

ONNX's shape inference, as it is in onnxruntime 1.32, reads behind an array where a Split has more outputs
than its ``num_outputs`` says (https://github.com/onnx/onnx/pull/8255).
"""

from __future__ import annotations

import mmap

from cnntk.runtime.artifact.protobuf import field_spans, invalid_file_error, read_varint
from cnntk.runtime.errors import ArtifactCorrupt

__all__ = ["check_splits"]

_KEY, _NODE, _BYTES = b"num_outputs", "node", 2
_NODE_OUTPUT, _NODE_OP, _NODE_ATTRIBUTE = 2, 4, 5
_INT = (3, 0)  # of an attribute, with its wire type
_INNER = {
    "model": {7: "graph", 25: "function"},
    "graph": {1: _NODE},
    "function": {7: _NODE},
    _NODE: {_NODE_ATTRIBUTE: "attribute"},
    "attribute": {6: "graph", 11: "graph"},
}
"""Fields of onnx.proto that lead to nodes."""


def check_splits(data: bytes | mmap.mmap, name: str) -> None:
    """Checks every Split of a model that `find_external_tensors` has read.

    Raises:
        ArtifactCorrupt: One has more outputs than it states.
    """
    messages = [("model", 0, len(data))]
    try:
        while messages:
            kind, start, end = messages.pop()
            if kind == _NODE:
                _check_node(data, start, end, name)
            for number, wire_type, first, last in field_spans(data, start, end):
                inner = _INNER[kind].get(number)
                if inner is not None and wire_type == _BYTES and data.find(_KEY, first, last) >= 0:
                    messages.append((inner, first, last))
    except (ValueError, IndexError) as error:
        raise invalid_file_error(data, name, error) from error


def _check_node(data: bytes | mmap.mmap, start: int, end: int, name: str) -> None:
    op, outputs, stated = b"", 0, list[int]()
    for number, _, first, last in field_spans(data, start, end):
        if number == _NODE_OP:
            op = data[first:last]
        elif number == _NODE_OUTPUT:
            outputs += 1
        elif number == _NODE_ATTRIBUTE and data.find(_KEY, first, last) >= 0:
            stated += _integers(data, first, last)
    if op == b"Split" and any(number < outputs for number in stated):
        raise ArtifactCorrupt(
            f"{name}: not a valid ONNX file: a Split has {outputs} outputs, but states {min(stated)} "
            "(num_outputs). Export it again"
        )


def _integers(data: bytes | mmap.mmap, start: int, end: int) -> list[int]:
    spans = field_spans(data, start, end)
    return [
        read_varint(data, first)[0] for number, wire_type, first, _ in spans if (number, wire_type) == _INT
    ]
