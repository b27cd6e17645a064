"""The file's digest: the SHA-256 of an artifact, with the digest's own 64 characters taken as zeros.

The spec is the last thing in the file, and the digest is the last thing in the spec, so that an artifact ends
with ``"digest": "<64 hex characters>"}`` and the digest is found, and checked, without reading anything else.
onnxruntime finds no damage of its own accord: of files with changed bytes it ran one in six, with other
answers.
"""

from __future__ import annotations

import hashlib
import mmap
import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from cnntk.runtime.artifact.protobuf import last_metadata_entry
from cnntk.runtime.errors import ArtifactCorrupt

__all__ = [
    "LARGE_BYTES",
    "VerifiedModel",
    "compute_digest",
    "embedded_digest",
    "final_metadata",
    "insert_digest",
    "sha256_of",
    "verified_model",
]

LARGE_BYTES = 4 << 20
"""From here on a file is hashed beside onnxruntime's own loading; smaller ones before it sees them."""

_BEFORE, _AFTER, _ZEROS = b'"digest": "', b'"}', b"0" * 64
_SEAL_BYTES = len(_BEFORE) + len(_ZEROS) + len(_AFTER)
_CHUNK_BYTES = 1 << 17  # stays in the cache of the core that hashes it


@dataclass(frozen=True)
class VerifiedModel:
    """A model on its way to onnxruntime.

    Attributes:
        model: its bytes where they were read already, else its path.
        has_digest: whether it ends with a digest.
        confirm: waits until that is checked; raises ArtifactCorrupt where it does not fit.
    """

    model: str | bytes
    has_digest: bool
    confirm: Callable[[], None] = lambda: None


@contextmanager
def verified_model(model: str | bytes, where: str) -> Iterator[VerifiedModel]:
    """Checks the digest: of a small file before the block, of a large one while the block loads it.

    Args:
        model: path or bytes of an ``.onnx`` file.
        where: its name, for messages.

    Raises:
        ArtifactCorrupt: the digest does not fit, whatever the block made of the file.
    """
    if embedded_digest(model) is None:
        yield VerifiedModel(model, has_digest=False)
    elif _size(model) <= LARGE_BYTES:
        data = model if isinstance(model, bytes) else Path(model).read_bytes()
        _check(data, where)
        yield VerifiedModel(data, has_digest=True)
    else:
        with ThreadPoolExecutor(1) as pool:
            check = pool.submit(_check, model, where)
            try:
                yield VerifiedModel(model, has_digest=True, confirm=check.result)
            finally:
                check.result()


def final_metadata(found: VerifiedModel, key: str) -> bytes | None:
    """The metadata entry with which a sealed file ends, a JSON object; None for a file without a seal."""
    if not found.has_digest:
        return None
    if isinstance(found.model, bytes):
        return last_metadata_entry(found.model, key)
    with open(found.model, "rb") as stream, mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) as data:
        return last_metadata_entry(data, key)


def embedded_digest(model: str | bytes) -> str | None:
    """The digest that a file ends with; None where it ends otherwise."""
    end = _end(model)
    if len(end) < _SEAL_BYTES or not (end.startswith(_BEFORE) and end.endswith(_AFTER)):
        return None
    return end[len(_BEFORE) : -len(_AFTER)].decode("latin-1")


def compute_digest(model: str | bytes) -> str:
    """The digest that a sealed file should state: 64 hex characters."""
    if isinstance(model, bytes):
        sha = hashlib.sha256(memoryview(model)[: -len(_ZEROS + _AFTER)])
    else:
        sha = _hash_file(model, _size(model) - len(_ZEROS + _AFTER))
    sha.update(_ZEROS + _AFTER)
    return sha.hexdigest()


def sha256_of(file: str | os.PathLike[str]) -> str:
    """SHA-256 of all of a file, as 64 hex characters, without holding the file in memory."""
    return _hash_file(file, os.stat(file).st_size).hexdigest()


def insert_digest(end: bytes, digest: str) -> bytes:
    """``end`` of a file, hashed with zeros in the digest's place, with the digest there."""
    return end[: -len(_ZEROS + _AFTER)] + digest.encode() + _AFTER


def _check(model: str | bytes, where: str) -> None:
    stated = embedded_digest(model)
    if stated is None or compute_digest(model) != stated:
        raise ArtifactCorrupt(
            f"{where}: is damaged: its SHA-256 is not the one written at export. Copy or download it again"
        )


def _hash_file(path: str | os.PathLike[str], size: int) -> hashlib._Hash:
    """Of the first ``size`` bytes, without holding the file in memory."""
    sha, buffer = hashlib.sha256(), memoryview(bytearray(_CHUNK_BYTES))
    with open(path, "rb", buffering=0) as stream:
        while size > 0 and (count := stream.readinto(buffer[: min(size, _CHUNK_BYTES)])):
            sha.update(buffer[:count])
            size -= count
    return sha


def _end(model: str | bytes) -> bytes:
    if isinstance(model, bytes):
        return model[-_SEAL_BYTES:]
    with open(model, "rb") as stream:
        stream.seek(max(0, _size(model) - _SEAL_BYTES))
        return stream.read()


def _size(model: str | bytes) -> int:
    return len(model) if isinstance(model, bytes) else os.stat(model).st_size
