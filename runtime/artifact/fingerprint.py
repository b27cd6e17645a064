"""Fingerprints of a graph's weights, one a tensor: they name what changed.

The file's digest says that something changed, and who edits a file may write a new digest. A fingerprint is
the CRC-32 of a tensor's bytes, in 8 hex characters: it is sure to see a change within 32 bits, so any change
of one float32 weight. It guards against bugs, not against people: who wants to can write a new one too.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Mapping
from itertools import islice

from cnntk.runtime.artifact.protobuf import ParsedModel, ParsedNode
from cnntk.runtime.artifact.spec import PREPROCESS_SCOPE, Layer

__all__ = ["STRUCTURE", "changed_tensors", "fingerprint", "fingerprints_of", "layer_of", "limit_fingerprints"]

STRUCTURE = ""
"""The key under which the graph without its weights stands: nodes, attributes, inputs and outputs."""

_LIMIT_BYTES = 12_000
"""Of all fingerprints in a spec; about 250 tensors' worth."""

_SPAN = " .. "


def fingerprint(parts: Iterable[bytes | memoryview]) -> str:
    """8 hex characters for the bytes of ``parts``, one behind the other."""
    crc = 0
    for part in parts:
        crc = zlib.crc32(part, crc)
    return f"{crc:08x}"


def limit_fingerprints(fingerprints: Mapping[str, str]) -> dict[str, str]:
    """As they stand in the spec: of a graph with very many tensors, one for each few neighbors."""
    weights = {name: value for name, value in fingerprints.items() if name != STRUCTURE}
    size = sum(len(name.encode()) + 14 for name in weights)
    if size <= _LIMIT_BYTES:
        return dict(fingerprints)
    together = -(-2 * size // _LIMIT_BYTES)  # a group bears two names
    rest = iter(weights.items())
    groups = iter(lambda: dict(islice(rest, together)), {})
    kept = {STRUCTURE: fingerprints[STRUCTURE]} if STRUCTURE in fingerprints else {}
    return kept | {_span(tuple(g)): fingerprint(v.encode() for v in g.values()) for g in groups}


def fingerprints_of(contents: ParsedModel) -> dict[str, str]:
    """Of a file, in its spec's form."""
    found = {name: fingerprint([weight]) for name, weight in contents.weights.items()}
    return limit_fingerprints({STRUCTURE: fingerprint(contents.structure), **found})


def changed_tensors(stated: Mapping[str, str], found: Mapping[str, str]) -> tuple[str, ...]:
    """What differs, is gone or is new, in the file's order."""
    return tuple(name for name in dict.fromkeys((*stated, *found)) if stated.get(name) != found.get(name))


def layer_of(tensor: str, nodes: list[ParsedNode], layers: tuple[Layer, ...]) -> str:
    """The layer that holds a tensor (or the first of several); empty where none does."""
    name = tensor.partition(_SPAN)[0]
    own = [node for node in nodes if not node.name.startswith(f"{PREPROCESS_SCOPE}/")]
    known = dict(zip(map(id, own), layers, strict=True)) if _are_of(layers, own) else {}
    for node in nodes:
        if name in node.inputs:
            return known[id(node)].name if id(node) in known else node.name or node.op
    return ""


def _are_of(layers: tuple[Layer, ...], nodes: list[ParsedNode]) -> bool:
    return [layer.op for layer in layers] == [node.op for node in nodes]


def _span(names: tuple[str, ...]) -> str:
    return names[0] if len(names) == 1 else f"{names[0]}{_SPAN}{names[-1]}"
