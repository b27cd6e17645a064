"""The oldest onnxruntime that runs a model file, by its IR version, its opset and its operators.

Releases from 1.18 on were tried with a file of each version. ``tests/runtime/artifact/test_compatibility.py``
tries the installed one, which CI does with the oldest supported and the newest release.
"""

from __future__ import annotations

from cnntk.runtime.artifact.protobuf import Data, field_spans, parse_model, read_varint
from cnntk.runtime.session.devices import release_numbers

__all__ = ["IR_VERSIONS", "OPERATORS", "OPSETS", "first_release", "oldest_onnxruntime"]

IR_VERSIONS = {10: "1.18", 11: "1.23", 13: "1.24", 14: "1.32"}
OPSETS = {21: "1.18", 22: "1.21", 23: "1.23", 25: "1.24", 26: "1.25", 28: "1.32"}
"""First release that loads versions up to and including each."""

OPERATORS = {"MatMulNBits": "1.23"}
"""First release that runs onnxruntime's own operators as `cnntk quantize` writes them; all run the others."""

_MODEL_IR_VERSION, _MODEL_OPSET = 1, 8
_DOMAIN, _VERSION = 1, 2
_STANDARD = (b"", b"ai.onnx")


def first_release(releases: dict[int, str], version: int) -> str | None:
    """Returns the first onnxruntime release for an IR version or opset; None for later ones than known."""
    return next((release for newest, release in releases.items() if version <= newest), None)


def oldest_onnxruntime(data: Data, name: str) -> str | None:
    """Returns the oldest onnxruntime that runs a model; None where its versions are later than known ones.

    Raises:
        ArtifactCorrupt: The data is not a valid ONNX file.
    """
    operators = {node.op for node in parse_model(data, name).nodes}
    releases: list[str | None] = [release for op, release in OPERATORS.items() if op in operators]
    for number, _, start, stop in field_spans(data, 0, len(data)):
        if number == _MODEL_IR_VERSION:
            releases.append(first_release(IR_VERSIONS, read_varint(data, start)[0]))
        elif number == _MODEL_OPSET:
            fields = {n: (a, b) for n, _, a, b in field_spans(data, start, stop)}
            if bytes(data[slice(*fields.get(_DOMAIN, (0, 0)))]) in _STANDARD and _VERSION in fields:
                releases.append(first_release(OPSETS, read_varint(data, fields[_VERSION][0])[0]))
    known = [release for release in releases if release is not None]
    return max(known, key=release_numbers) if known and len(known) == len(releases) else None
