"""Fingerprints of a graph's weights, one per tensor: they name the tensor that changed.

The digest only says that something changed, and whoever edits a file can write a new one. A fingerprint is
the CRC-32 of a tensor's bytes, as 8 hex characters: it detects every change within 32 bits, so every change
of one float32 weight. It protects against bugs, not against people, who can write new fingerprints as well.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Mapping
from itertools import islice

from cnntk.runtime.artifact.protobuf import ParsedModel, ParsedNode
from cnntk.runtime.artifact.spec import PREPROCESS_SCOPE, Layer

__all__ = [
    "STRUCTURE",
    "changed_tensors",
    "fingerprint",
    "fingerprints_of",
    "layer_of",
    "limit_fingerprints",
]

STRUCTURE = ""
"""Key of the graph without its weights: nodes, attributes, inputs and outputs."""

_LIMIT_BYTES = 12_000
"""Size limit of all fingerprints in a spec: about 250 tensors."""

_SPAN = " .. "


def fingerprint(parts: Iterable[bytes | memoryview]) -> str:
    """Computes the fingerprint, 8 hex characters, of the concatenated ``parts``."""
    crc = 0
    for part in parts:
        crc = zlib.crc32(part, crc)
    return f"{crc:08x}"


def limit_fingerprints(fingerprints: Mapping[str, str]) -> dict[str, str]:
    """Returns fingerprints in the form of the spec, with one per few neighbors if there are too many."""
    weights = {name: value for name, value in fingerprints.items() if name != STRUCTURE}
    size = sum(len(name.encode()) + 14 for name in weights)
    if size <= _LIMIT_BYTES:
        return dict(fingerprints)
    group_size = -(-2 * size // _LIMIT_BYTES)  # the name of a group has two tensor names
    remaining = iter(weights.items())
    groups = iter(lambda: dict(islice(remaining, group_size)), {})
    structure = {STRUCTURE: fingerprints[STRUCTURE]} if STRUCTURE in fingerprints else {}
    return structure | {_group_name(tuple(g)): fingerprint(v.encode() for v in g.values()) for g in groups}


def fingerprints_of(model: ParsedModel) -> dict[str, str]:
    """Computes the fingerprints of a model in the form of the spec."""
    weights = {name: fingerprint([weight]) for name, weight in model.weights.items()}
    return limit_fingerprints({STRUCTURE: fingerprint(model.structure), **weights})


def changed_tensors(expected: Mapping[str, str], actual: Mapping[str, str]) -> tuple[str, ...]:
    """Returns the names whose fingerprint differs, is missing or is new, in the order of the file."""
    names = dict.fromkeys((*expected, *actual))
    return tuple(name for name in names if expected.get(name) != actual.get(name))


def layer_of(tensor: str, nodes: list[ParsedNode], layers: tuple[Layer, ...]) -> str:
    """Returns the name of the layer with a tensor (or the first tensor of a group); empty for no layer."""
    name = tensor.partition(_SPAN)[0]
    network = [node for node in nodes if not node.name.startswith(f"{PREPROCESS_SCOPE}/")]
    paired = [layer.op for layer in layers] == [node.op for node in network]
    layer_by_node = dict(zip(map(id, network), layers, strict=True)) if paired else {}
    for node in nodes:
        if name in node.inputs:
            return layer_by_node[id(node)].name if id(node) in layer_by_node else node.name or node.op
    return ""


def _group_name(names: tuple[str, ...]) -> str:
    return names[0] if len(names) == 1 else f"{names[0]}{_SPAN}{names[-1]}"
