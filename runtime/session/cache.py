"""A folder that keeps models as onnxruntime optimized them, to load them sooner.

An entry is a folder named after everything that the optimized graph depends on; in it are ``model.onnx`` and,
where processes are to share its weights, ``model.data``. It is made under another name and renamed, so any
number of processes may write the same entry at once: the first one's stays. The last thing in ``model.onnx``
is a digest, as in an artifact, so damage is noticed: such an entry is made again. Entries are never removed
otherwise; the folder may be emptied at any time. Who can write to it decides what is run, as with the model
itself.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
import os
import platform
import secrets
import shutil
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any, TypeVar

from cnntk.runtime.artifact.digest import (
    compute_digest,
    embedded_digest,
    final_metadata,
    insert_digest,
    sha256_of,
    verified_model,
)
from cnntk.runtime.artifact.external import check_external_tensors, find_external_tensors, verified_data
from cnntk.runtime.artifact.protobuf import metadata_entry
from cnntk.runtime.artifact.spec import DataFile
from cnntk.runtime.errors import ArtifactCorrupt, ArtifactError, CnntkError, UsageError
from cnntk.runtime.log import log
from cnntk.runtime.session.devices import Device, import_onnxruntime

__all__ = ["DATA_FILE", "cache_key", "create_folder", "load_through_cache"]

MODEL_FILE, DATA_FILE = "model.onnx", "model.data"

_ENTRY = "cnntk-cache"
_FORMAT = 1
"""Raised when entries are made otherwise than before."""

T = TypeVar("T")


def create_folder(cache: str | os.PathLike[str]) -> Path | None:
    """The folder, made if missing; None, and a line in the log, where it can't be.

    Raises:
        UsageError: it is a file.
    """
    folder = Path(cache)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError) as error:
        raise UsageError(f"cache {folder}: is a file, or in one; name a folder") from error
    except OSError as error:
        log.warning("cache %s: can't be made (%s); models are optimized each time", folder, error.strerror)
        return None
    return folder


def cache_key(model: str | bytes, device: Device, *, sharing: bool) -> str:
    """The name of a model's entry: 64 hex characters.

    It depends on the model's bytes, on onnxruntime and its build, on the provider and its options, on the CPU
    and what it can do, on what the entry is for, and on cnntk's version.

    Args:
        model: path or bytes.
        device: on which it runs.
        sharing: whether processes share its weights.
    """
    ort = import_onnxruntime()
    build = getattr(ort, "get_build_info", str)()
    parts = {
        "format": _FORMAT,
        "cnntk": _own_version(),
        "onnxruntime": [ort.__version__, build],
        "providers": device.providers,
        "cpu": _cpu(),
        "sharing": sharing,
        "model": _digest_of(model),
    }
    return hashlib.sha256(json.dumps(parts, sort_keys=True, default=str).encode()).hexdigest()


def load_through_cache(
    folder: Path,
    key: str,
    load: Callable[[str | bytes], T],
    build: Callable[[str | None], T],
    *,
    again: bool,
) -> T:
    """A model from its entry, or, where there is none that is sound, built and put there.

    Args:
        folder: of the cache.
        key: from `cache_key`.
        load: makes a session of the optimized model: a path or bytes.
        build: makes a session of the model itself; given a path, it writes the optimized one there, and to
            `DATA_FILE` beside it as it likes.
        again: whether what was built is to be loaded from its entry.

    Raises:
        CnntkError: the model itself can't be loaded. What is wrong with the cache goes to the log.
    """
    entry = folder / key
    found = _loaded(entry, load)
    if found is not None:
        return found
    draft = folder / f".{key[:16]}.{os.getpid()}-{secrets.token_hex(4)}.tmp"
    try:
        draft.mkdir()
        found = build(str(draft / MODEL_FILE))
        _seal(draft)
        _publish(draft, entry)
    except (OSError, CnntkError) as error:
        log.warning("cache %s: %s; the model is optimized each time", folder, error)
        return build(None) if found is None else found
    finally:
        shutil.rmtree(draft, ignore_errors=True)
    return (_loaded(entry, load) if again else None) or found


def _loaded(entry: Path, load: Callable[[str | bytes], T]) -> T | None:
    """None where there is no entry, or a damaged one, which is removed."""
    if not entry.exists():
        return None
    try:
        return _opened(entry / MODEL_FILE, load)
    except (OSError, ArtifactError, ValueError, KeyError, TypeError) as error:
        log.warning("cache: %s; it is made again", error)
        aside = entry.with_name(f".{secrets.token_hex(8)}.tmp")
        try:
            entry.rename(aside)
        except OSError:  # somebody else was first, or the folder may not be written to
            return None
        shutil.rmtree(aside, ignore_errors=True)
        return None


def _opened(file: Path, load: Callable[[str | bytes], T]) -> T:
    name = str(file)
    with verified_model(name, name) as found:
        entry = final_metadata(found, _ENTRY)
        if entry is None:
            raise ArtifactCorrupt(f"{file}: is damaged: it does not end with a digest")
        data = json.loads(entry)["data"]
        own = None if data is None else DataFile(**data)
        places = find_external_tensors(found.model, name)
        check_external_tensors(places, file, own, has_digest=True)
        with verified_data(file, own):
            return load(name if places else found.model)


def _seal(draft: Path) -> None:
    """Appends the entry of metadata that ends with the digest."""
    model, data = draft / MODEL_FILE, draft / DATA_FILE
    own = None
    if data.exists():
        own = asdict(DataFile(data.name, data.stat().st_size, sha256_of(data)))
    end = metadata_entry(_ENTRY, json.dumps({"data": own, "digest": "0" * 64}))
    with model.open("r+b") as stream:
        stream.seek(0, os.SEEK_END)
        stream.write(end)
        stream.flush()
        stream.seek(-len(end), os.SEEK_END)
        stream.write(insert_digest(end, compute_digest(str(model))))


def _publish(draft: Path, entry: Path) -> None:
    try:
        draft.rename(entry)
    except OSError:
        if not entry.exists():
            raise


def _digest_of(model: str | bytes) -> str:
    """Of an artifact the one that it states, which is checked while it is loaded."""
    if (stated := embedded_digest(model)) is not None:
        return stated
    return hashlib.sha256(model).hexdigest() if isinstance(model, bytes) else sha256_of(model)


def _own_version() -> str:
    try:
        return importlib.metadata.version("cnntk")
    except importlib.metadata.PackageNotFoundError:
        return "unknown"


def _cpu() -> list[Any]:
    """What the CPU is and can do, of its first core."""
    found = [platform.machine(), platform.processor(), platform.system()]
    try:
        text = Path("/proc/cpuinfo").read_text(errors="replace")
    except OSError:
        return found
    kept = ("vendor_id", "model", "stepping", "flags", "Features", "CPU ")
    return found + [line for line in text.partition("\n\n")[0].splitlines() if line.startswith(kept)]
