"""Nodes at which onnxruntime 1.32 ends the process, found before it reads them.

- ONNX's shape inference reads behind an array where a Split has more outputs than its ``num_outputs`` says
  (https://github.com/onnx/onnx/pull/8255).
- The function body of LayerNormalization, which onnxruntime builds while it loads, and the kernels of
  operators with any number of inputs read the type or the values of an input whose name is empty.
"""

from __future__ import annotations

import mmap

from cnntk.runtime.artifact.protobuf import field_spans, invalid_file_error, read_varint
from cnntk.runtime.errors import ArtifactCorrupt

__all__ = ["check_nodes"]

_NODE, _BYTES = "node", 2
_NODE_INPUT, _NODE_OUTPUT, _NODE_NAME, _NODE_OP, _NODE_ATTRIBUTE, _NODE_DOMAIN = 1, 2, 3, 4, 5, 7
_INT = (3, 0)  # of an attribute, with its wire type
_OUTPUTS_KEY = b"num_outputs"
_EMPTY_INPUT = b"\n\0"
"""An input without a name, as it is encoded; other bytes of a node may look like it."""

_ALL_INPUTS_NAMED = frozenset({b"Einsum", b"LayerNormalization", b"Max", b"Mean", b"Min", b"Sum"})
_ONNX_DOMAINS = (b"", b"ai.onnx")
_INNER = {
    "model": {7: "graph", 25: "function"},
    "graph": {1: _NODE},
    "function": {7: _NODE},
    _NODE: {_NODE_ATTRIBUTE: "attribute"},
    "attribute": {6: "graph", 11: "graph"},
}
"""Fields of onnx.proto that lead to nodes."""


def check_nodes(data: bytes | mmap.mmap, name: str) -> None:
    """Checks every node of a model that `find_external_tensors` has read.

    Raises:
        ArtifactCorrupt: A node would end the process.
    """
    messages = [("model", 0, len(data))]
    find = data.find
    try:
        while messages:
            kind, start, end = messages.pop()
            if kind == _NODE:
                _check_node(data, start, end, name)
            inner_kinds = _INNER[kind]
            for number, wire_type, first, last in field_spans(data, start, end):
                inner = inner_kinds.get(number)
                if inner is None or wire_type != _BYTES:
                    continue
                if (
                    kind == "model"
                    or find(_EMPTY_INPUT, first, last) >= 0
                    or find(_OUTPUTS_KEY, first, last) >= 0
                ):
                    messages.append((inner, first, last))
    except (ValueError, IndexError) as error:
        raise invalid_file_error(data, name, error) from error


def _check_node(data: bytes | mmap.mmap, start: int, end: int, name: str) -> None:
    texts = dict.fromkeys((_NODE_NAME, _NODE_OP, _NODE_DOMAIN), b"")
    inputs, outputs, stated = list[int](), 0, list[int]()
    for number, _, first, last in field_spans(data, start, end):
        if number in texts:
            texts[number] = data[first:last]
        elif number == _NODE_INPUT:
            inputs.append(last - first)
        elif number == _NODE_OUTPUT:
            outputs += 1
        elif number == _NODE_ATTRIBUTE and data.find(_OUTPUTS_KEY, first, last) >= 0:
            stated += _integers(data, first, last)
    op = texts[_NODE_OP]
    if op == b"Split" and any(number < outputs for number in stated):
        raise ArtifactCorrupt(
            f"{name}: not a valid ONNX file: a Split has {outputs} outputs, but states {min(stated)} "
            "(num_outputs). Export it again"
        )
    if op in _ALL_INPUTS_NAMED and texts[_NODE_DOMAIN] in _ONNX_DOMAINS and 0 in inputs:
        raise ArtifactCorrupt(
            f"{name}: onnxruntime can't run its node {texts[_NODE_NAME].decode('utf-8', 'replace')!r}: "
            f"input {inputs.index(0) + 1} of {len(inputs)} of the {op.decode()} has an empty name. Leave "
            "that input out of the node, or export the model again"
        )


def _integers(data: bytes | mmap.mmap, start: int, end: int) -> list[int]:
    spans = field_spans(data, start, end)
    return [
        read_varint(data, first)[0] for number, wire_type, first, _ in spans if (number, wire_type) == _INT
    ]
