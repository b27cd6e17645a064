"""Large weights in a data file beside the artifact.

The file's name contains the first 8 characters of its SHA-256: ``x.onnx`` has ``x.1f0c9a3b.data``. So an
export over an older pair never changes the older data: the new data is written under a new name, then the new
``.onnx`` replaces the old one atomically, and only then the old data is removed. Killed at any moment, an
export leaves a complete pair, old or new, and at most a data file without an ``.onnx``, which the next export
of that name removes.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import onnx_ir as ir

from cnntk.runtime.artifact.digest import sha256_of
from cnntk.runtime.artifact.external import find_external_tensors
from cnntk.runtime.artifact.fingerprint import fingerprint
from cnntk.runtime.artifact.spec import DataFile
from cnntk.runtime.errors import ArtifactCorrupt, UsageError
from cnntk.runtime.files import atomic_write, follow_links, is_device, is_temporary

__all__ = [
    "ALIGNMENT",
    "MAX_INTERNAL_BYTES",
    "ExternalData",
    "check_data_target",
    "raw_bytes",
    "staged_artifact",
]

ALIGNMENT = 64 << 10
"""Alignment of tensors in bytes, so that every system can map them; smaller ones stay in the artifact."""

MAX_INTERNAL_BYTES = (2 << 30) - (64 << 20)
"""Largest size of weights in the artifact: protobuf reads files up to 2 GiB, with the graph and the spec."""


@dataclass(frozen=True)
class ExternalData:
    """Weights in a data file.

    Attributes:
        data: The file, as the spec describes it.
        ranges: Offset and length in bytes, by the weight's name.
        fingerprints: Fingerprints by the weight's name.
    """

    data: DataFile
    ranges: dict[str, tuple[int, int]] = field(default_factory=dict)
    fingerprints: dict[str, str] = field(default_factory=dict)


@contextmanager
def staged_artifact(
    model: ir.Model, target: Path, *, required: bool = False
) -> Iterator[tuple[Path, ExternalData | None]]:
    """`atomic_write` of an artifact whose large weights may be in a data file, which is written first.

    Args:
        model: Graph with the weights.
        target: Path of the artifact.
        required: Write a data file even where the weights would fit into the artifact.

    Yields:
        Temporary path of the artifact, beside which the data file is; the data file, or None where all
        weights go into the artifact.

    Raises:
        UsageError: The folder is not writable, or the disk is full.
    """
    external = required or _weight_bytes(model) > MAX_INTERNAL_BYTES
    if external:
        check_data_target(target)
    if is_device(target):
        with atomic_write(target) as temporary:
            yield temporary, None
        return
    file = follow_links(target)
    before = _data_of(file, _data_name(file))
    try:
        with atomic_write(target) as temporary:
            yield temporary, _write(model, target) if external else None
    finally:
        _remove_unused_data(file, before)


def check_data_target(target: Path) -> None:
    """Refuses an artifact with a data file where that would not be found beside it.

    Raises:
        UsageError: The target is a device, a pipe or a link.
    """
    if is_device(target) or target.is_symlink():
        raise UsageError(
            f"{target}: the model has a data file, which must be beside a regular file; name one in a folder"
        )


def raw_bytes(weight: ir.TensorProtocol) -> bytes | memoryview:
    """A weight's bytes, little-endian as in an ONNX file; a view where memory has that layout."""
    array = np.ascontiguousarray(weight.numpy())
    if array.nbytes != weight.nbytes or array.dtype.byteorder == ">":  # 4-bit types are packed in the file
        return weight.tobytes()
    return array.reshape(-1).view(np.uint8).data


def _write(model: ir.Model, target: Path) -> ExternalData | None:
    """Writes the large weights in the model's order; None where none is large."""
    weights = {
        name: value.const_value
        for name, value in model.graph.initializers.items()
        if value.const_value is not None and value.const_value.nbytes >= ALIGNMENT
    }
    if not weights:
        return None
    external = _layout(weights, target.stem)
    try:
        external.data.file.encode()
    except UnicodeEncodeError as error:
        raise UsageError(
            f"{target}: the name is not valid Unicode, so a model can't refer to its data; use another name"
        ) from error
    with atomic_write(target.with_name(external.data.file)) as temporary, temporary.open("wb") as stream:
        for chunk in _chunks(weights):
            stream.write(chunk)
    return external


def _layout(weights: Mapping[str, ir.TensorProtocol], stem: str) -> ExternalData:
    """Name and layout of the data file; reads the weights once, because their hash is in the name."""
    sha256 = hashlib.sha256()
    ranges, fingerprints, size = {}, {}, 0
    for chunk in _chunks(weights):
        sha256.update(chunk)
    for name, weight in weights.items():
        size += -size % ALIGNMENT
        ranges[name] = size, weight.nbytes
        fingerprints[name] = fingerprint([raw_bytes(weight)])
        size += weight.nbytes
    digest = sha256.hexdigest()
    return ExternalData(DataFile(f"{stem}.{digest[:8]}.data", size, digest), ranges, fingerprints)


def _chunks(weights: Mapping[str, ir.TensorProtocol]) -> Iterator[bytes | memoryview]:
    """The file's bytes in order."""
    size = 0
    for weight in weights.values():
        yield bytes(-size % ALIGNMENT)
        yield raw_bytes(weight)
        size += -size % ALIGNMENT + weight.nbytes


def _weight_bytes(model: ir.Model) -> int:
    values = (value.const_value for value in model.graph.initializers.values())
    return sum(weight.nbytes for weight in values if weight is not None)


def _data_of(model: Path, pattern: re.Pattern[str]) -> str | None:
    """Name of the data file of an artifact, where it fits the pattern; None for any other file."""
    try:
        locations = {tensor.locations[-1] for tensor in find_external_tensors(os.fspath(model), model.name)}
    except (OSError, ArtifactCorrupt):
        return None
    return min(filter(pattern.fullmatch, locations), default=None)


def _data_name(file: Path) -> re.Pattern[str]:
    return re.compile(re.escape(file.stem) + r"\.[0-9a-f]{8}\.data")


def _remove_unused_data(file: Path, before: str | None) -> None:
    """Removes data files of earlier exports to ``file``, also of killed ones, if no model refers to them.

    Another export that still runs may have written its data file already: then all stay.

    Args:
        file: Path of the artifact.
        before: Name of the data file that it had before this export; others must have the hash in their name.
    """
    pattern = _data_name(file)
    with suppress(OSError):
        names = os.listdir(file.parent)
        unused = set(filter(pattern.fullmatch, names))
        if not unused or any(is_temporary(name) and name.startswith(f".{file.name[:20]}") for name in names):
            return
        # Read after the temporary names: an export that has ended meanwhile is referred to.
        models = {file.name, *(name for name in names if name.endswith(".onnx"))}
        unused -= {_data_of(file.with_name(name), pattern) for name in models}
        for data in map(file.with_name, unused):
            if data.name == before or sha256_of(data)[:8] == data.name[-13:-5]:
                data.unlink(missing_ok=True)
