"""Large weights in a file beside the artifact.

The file's name holds the first 8 characters of its SHA-256: ``x.onnx`` has ``x.1f0c9a3b.data``. So an export
over an older pair never touches the older one's data: the new data is written under its own name, then the
new ``.onnx`` takes the old one's place in one step, and only then the old data is removed. Killed at any
moment, it leaves a whole pair, the old or the new one, and at most a data file that nobody names.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import onnx_ir as ir

from cnntk.runtime.artifact.external import find_external_tensors
from cnntk.runtime.artifact.fingerprint import fingerprint
from cnntk.runtime.artifact.spec import DataFile
from cnntk.runtime.errors import ArtifactCorrupt, UsageError
from cnntk.runtime.files import atomic_write

__all__ = ["ALIGNMENT", "LARGEST_INSIDE", "Beside", "raw_bytes", "weights_beside"]

ALIGNMENT = 64 << 10
"""Bytes. Each tensor begins at a multiple, so that every system can map it; smaller ones stay inside."""

LARGEST_INSIDE = (2 << 30) - (64 << 20)
"""Bytes of weights that still fit: protobuf reads files up to 2 GiB, and the graph and the spec need room."""


@dataclass(frozen=True)
class Beside:
    """Weights in a file of their own.

    Attributes:
        data: the file, as it stands in the spec.
        places: offset and length in bytes, by the weight's name.
        fingerprints: by the weight's name.
    """

    data: DataFile
    places: dict[str, tuple[int, int]] = field(default_factory=dict)
    fingerprints: dict[str, str] = field(default_factory=dict)


@contextmanager
def weights_beside(model: ir.Model, target: Path, *, wanted: bool) -> Iterator[Beside | None]:
    """Writes the large weights beside ``target``, which the block is to write; what is not needed is removed.

    Args:
        model: whose weights they are.
        target: the artifact.
        wanted: put them there even where they would fit into the artifact.

    Yields:
        Where they are; None where all weights go into the artifact.

    Raises:
        UsageError: the folder can't be written to, or the disk is full.
    """
    old = _own_data(target)
    beside = _write(model, target) if wanted or _weight_bytes(model) > LARGEST_INSIDE else None
    new = None if beside is None else target.with_name(beside.data.file)
    try:
        yield beside
    except BaseException:
        if new is not None and new != old:
            new.unlink(missing_ok=True)
        raise
    if old is not None and old != new:
        old.unlink(missing_ok=True)


def raw_bytes(weight: ir.TensorProtocol) -> bytes | memoryview:
    """Little-endian, as ONNX stores it; a view where memory already holds it so."""
    array = np.ascontiguousarray(weight.numpy())
    if array.nbytes != weight.nbytes or array.dtype.byteorder == ">":  # 4-bit types are packed in the file
        return weight.tobytes()
    return array.reshape(-1).view(np.uint8).data


def _write(model: ir.Model, target: Path) -> Beside | None:
    """The large weights, each once, in the model's order; None where none is large."""
    weights = {
        name: value.const_value
        for name, value in model.graph.initializers.items()
        if value.const_value is not None and value.const_value.nbytes >= ALIGNMENT
    }
    if not weights:
        return None
    beside = _planned(weights, target.stem)
    try:
        beside.data.file.encode()
    except UnicodeEncodeError as error:
        raise UsageError(f"{target}: its name is no Unicode text, so no model can name the data") from error
    with atomic_write(target.with_name(beside.data.file)) as temporary, temporary.open("wb") as stream:
        for part in _parts(weights):
            stream.write(part)
    return beside


def _planned(weights: Mapping[str, ir.TensorProtocol], stem: str) -> Beside:
    """Reads the weights once before they are written, because their hash is in the file's name."""
    sha256 = hashlib.sha256()
    places, fingerprints, size = {}, {}, 0
    for part in _parts(weights):
        sha256.update(part)
    for name, weight in weights.items():
        size += -size % ALIGNMENT
        places[name] = size, weight.nbytes
        fingerprints[name] = fingerprint([raw_bytes(weight)])
        size += weight.nbytes
    digest = sha256.hexdigest()
    return Beside(DataFile(f"{stem}.{digest[:8]}.data", size, digest), places, fingerprints)


def _parts(weights: Mapping[str, ir.TensorProtocol]) -> Iterator[bytes | memoryview]:
    """The file's bytes in order."""
    size = 0
    for weight in weights.values():
        yield bytes(-size % ALIGNMENT)
        yield raw_bytes(weight)
        size += -size % ALIGNMENT + weight.nbytes


def _weight_bytes(model: ir.Model) -> int:
    values = (value.const_value for value in model.graph.initializers.values())
    return sum(weight.nbytes for weight in values if weight is not None)


def _own_data(target: Path) -> Path | None:
    """The data of the artifact that ``target`` is now, if an export gave it that."""
    try:
        locations = {place.locations[-1] for place in find_external_tensors(os.fspath(target), target.name)}
    except (OSError, ArtifactCorrupt):
        return None
    own = re.compile(re.escape(target.stem) + r"\.[0-9a-f]{8}\.data")
    named = sorted(location for location in locations if own.fullmatch(location))
    return target.with_name(named[0]) if named else None
