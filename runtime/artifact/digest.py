"""The embedded digest: the SHA-256 of an artifact with the digest's own 64 characters replaced by zeros.

The spec is the last thing in the file, and the digest is the last thing in the spec, so that an artifact ends
with ``"digest": "<64 hex characters>"}`` and can be verified without parsing it. onnxruntime does not notice
damage: of files with changed bytes it ran one in six, with different outputs.
"""

from __future__ import annotations

import hashlib
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import NamedTuple

from cnntk.runtime.artifact.protobuf import file_bytes, last_metadata_entry
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
    "verified_while_loading",
]

LARGE_BYTES = 4 << 20
"""Larger files are hashed while onnxruntime loads them, smaller ones before."""

_BEFORE, _AFTER, _ZEROS = b'"digest": "', b'"}', b"0" * 64
_END_BYTES = len(_BEFORE) + len(_ZEROS) + len(_AFTER)
_BUFFER_BYTES = 1 << 17  # stays in the cache of the core that hashes it


class VerifiedModel(NamedTuple):
    """A model whose digest is verified.

    Attributes:
        model: Bytes of the model if they were read already, else its path.
        has_digest: Whether the model ends with a digest.
        confirm: Function that waits for the check and raises ArtifactCorrupt if the digest differs.
    """

    model: str | bytes
    has_digest: bool
    confirm: Callable[[], None] = lambda: None


@contextmanager
def verified_model(model: str | bytes, name: str) -> Iterator[VerifiedModel]:
    """Verifies the digest: of a small file before the block, of a large one while the block loads it.

    Raises:
        ArtifactCorrupt: The digest differs, whatever the block made of the file.
    """
    if embedded_digest(model) is None:
        yield VerifiedModel(model, has_digest=False)
    elif _size(model) <= LARGE_BYTES:
        data = file_bytes(model)[:]
        _check(data, name, threading.Event())
        yield VerifiedModel(data, has_digest=True)
    else:
        with verified_while_loading(lambda stop: _check(model, name, stop)) as confirm:
            yield VerifiedModel(model, has_digest=True, confirm=confirm)


@contextmanager
def verified_while_loading(
    check: Callable[[threading.Event], None],
) -> Iterator[Callable[[], None]]:
    """Runs a check in a thread while the block runs; yields a function that waits for it, as the end does.

    The check ends early when its argument is set, as it is by Ctrl-C, which threads do not receive.
    """
    from concurrent.futures import ThreadPoolExecutor

    stop = threading.Event()
    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(check, stop)
        try:
            try:
                yield running.result
            except Exception:  # damage explains whatever the block made of the file
                running.result()
                raise
            running.result()
        finally:
            stop.set()


def final_metadata(verified: VerifiedModel, key: str) -> bytes | None:
    """Returns the metadata entry, a JSON object, at the end of a file with a digest; None without one."""
    return last_metadata_entry(file_bytes(verified.model), key) if verified.has_digest else None


def embedded_digest(model: str | bytes) -> str | None:
    """Returns the digest that a file ends with; None if it has none."""
    end = file_bytes(model)[-_END_BYTES:]
    if len(end) < _END_BYTES or not (end.startswith(_BEFORE) and end.endswith(_AFTER)):
        return None
    return end[len(_BEFORE) : -len(_AFTER)].decode("latin-1")


def compute_digest(model: str | bytes, stop: threading.Event | None = None) -> str:
    """Computes the digest of a file that ends with one: 64 hex characters."""
    if isinstance(model, bytes):
        sha = hashlib.sha256(memoryview(model)[: -len(_ZEROS + _AFTER)])
    else:
        sha = _hash_file(model, _size(model) - len(_ZEROS + _AFTER), stop)
    sha.update(_ZEROS + _AFTER)
    return sha.hexdigest()


def sha256_of(file: str | os.PathLike[str], stop: threading.Event | None = None) -> str:
    """Computes the SHA-256 of a whole file, as 64 hex characters, without holding it in memory.

    Hashing ends early, with another result, when ``stop`` is set.
    """
    return _hash_file(file, os.stat(file).st_size, stop).hexdigest()


def insert_digest(end: bytes, digest: str) -> bytes:
    """Replaces the zeros at the end of a file, which were hashed, with the digest."""
    return end[: -len(_ZEROS + _AFTER)] + digest.encode() + _AFTER


def _check(model: str | bytes, name: str, stop: threading.Event) -> None:
    embedded = embedded_digest(model)
    if embedded is None or compute_digest(model, stop) != embedded:
        raise ArtifactCorrupt(
            f"{name}: is damaged: its content does not match the embedded digest written at export. "
            "Copy or download it again"
        )


def _hash_file(path: str | os.PathLike[str], size: int, stop: threading.Event | None) -> hashlib._Hash:
    """Hashes the first ``size`` bytes without holding the file in memory."""
    sha, buffer, stop = hashlib.sha256(), memoryview(bytearray(_BUFFER_BYTES)), stop or threading.Event()
    with open(path, "rb", buffering=0) as stream:
        while size > 0 and not stop.is_set():
            count = stream.readinto(buffer[: min(size, _BUFFER_BYTES)])
            if not count:
                break
            sha.update(buffer[:count])
            size -= count
    return sha


def _size(model: str | bytes) -> int:
    return len(model) if isinstance(model, bytes) else os.stat(model).st_size
