"""A cache folder of models as optimized by onnxruntime, which load faster.

The name of an entry's folder is a hash of everything that the optimized graph depends on. It contains
``model.onnx`` and, if processes share the weights, ``model.data``. An entry is created under a temporary name
and renamed, so many processes may create it at once, and the first one wins. ``model.onnx`` ends with a
digest like an artifact; a damaged entry is created again. Entries are not removed otherwise; the folder may
be emptied at any time. Whoever can write to the folder decides which model runs, as with the model itself.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
import os
import platform
from collections.abc import Callable
from contextlib import suppress
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
from cnntk.runtime.codec import as_json
from cnntk.runtime.errors import ArtifactCorrupt, ArtifactError, CnntkError, UsageError
from cnntk.runtime.files import temporary_folder
from cnntk.runtime.log import log
from cnntk.runtime.session.devices import Device, import_onnxruntime

MODEL_FILE, DATA_FILE = "model.onnx", "model.data"

_ENTRY = "cnntk-cache"
_FORMAT = 1
"""Version of the entries' format."""

T = TypeVar("T")


def create_folder(cache: str | os.PathLike[str]) -> Path | None:
    """Creates the folder if it is missing; returns None, with a warning in the log, if that fails.

    Raises:
        UsageError: The path is a file or inside one.
    """
    folder = Path(cache)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError) as error:
        raise UsageError(f"cache {folder}: is a file, or inside one; name a folder") from error
    except OSError as error:
        log.warning("cache %s: can't be created (%s); models are optimized each time", folder, error.strerror)
        return None
    return folder


def cache_key(model: str | bytes, device: Device, *, sharing: bool) -> str:
    """Returns the name of a model's entry, 64 hex characters: a hash of all that the entry depends on."""
    ort = import_onnxruntime()
    build = getattr(ort, "get_build_info", str)()
    parts = {
        "format": _FORMAT,
        "cnntk": _cnntk_version(),
        "onnxruntime": [ort.__version__, build],
        "providers": device.providers,
        "cpu": _cpu(),
        "sharing": sharing,
        "model": _model_digest(model),
    }
    return hashlib.sha256(json.dumps(parts, sort_keys=True, default=str).encode()).hexdigest()


def load_through_cache(
    folder: Path,
    key: str,
    load: Callable[[str | bytes], T],
    build: Callable[[str | None], T],
    *,
    reload: bool,
) -> T:
    """Loads a model from its cache entry, or creates the entry if it is missing or damaged.

    ``load`` creates a session of the optimized model, a path or bytes. ``build`` creates one of the original
    model; if its argument is a path, it writes the optimized model there, and optionally weights to
    `DATA_FILE` in the same folder. With ``reload``, the result is the session of the new entry instead.
    Problems of the cache only go to the log.
    """
    entry = folder / key
    session = _load_entry(entry, load)
    if session is not None:
        return session
    try:
        with temporary_folder(entry) as draft:
            session = build(str(draft / MODEL_FILE))
            _append_digest(draft)
            _publish(draft, entry)
    except (OSError, CnntkError) as error:
        log.warning("cache %s: %s; the model is optimized each time", folder, error)
        return build(None) if session is None else session
    return (_load_entry(entry, load) if reload else None) or session


def _load_entry(entry: Path, load: Callable[[str | bytes], T]) -> T | None:
    """Loads an entry; returns None if it is missing or damaged, and removes a damaged one."""
    if not entry.exists():
        return None
    try:
        return _load_verified(entry / MODEL_FILE, load)
    except (OSError, ArtifactError, ValueError, KeyError, TypeError) as error:
        log.warning("cache: %s; the entry is created again", error)
        # Another process may be first, or the folder not writable.
        with suppress(OSError), temporary_folder(entry) as discarded:
            entry.rename(discarded / entry.name)
        return None


def _load_verified(file: Path, load: Callable[[str | bytes], T]) -> T:
    name = str(file)
    with verified_model(name, name) as verified:
        entry = final_metadata(verified, _ENTRY)
        if entry is None:
            raise ArtifactCorrupt(f"{file}: is damaged: it has no digest at its end")
        data = json.loads(entry)["data"]
        data_file = None if data is None else DataFile(**data)
        tensors = find_external_tensors(verified.model, name)
        check_external_tensors(tensors, file, data_file, has_digest=True, may_be_link=False)
        with verified_data(file, data_file):
            return load(name if tensors else verified.model)


def _append_digest(draft: Path) -> None:
    """Appends the metadata entry that ends with the digest."""
    model, data = draft / MODEL_FILE, draft / DATA_FILE
    data_file = DataFile(data.name, data.stat().st_size, sha256_of(data)) if data.exists() else None
    end = metadata_entry(_ENTRY, json.dumps({"data": as_json(data_file), "digest": "0" * 64}))
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


def _model_digest(model: str | bytes) -> str:
    """Returns the embedded digest of an artifact, which is verified during loading, else the SHA-256."""
    if (digest := embedded_digest(model)) is not None:
        return digest
    return hashlib.sha256(model).hexdigest() if isinstance(model, bytes) else sha256_of(model)


def _cnntk_version() -> str:
    try:
        return importlib.metadata.version("cnntk")
    except importlib.metadata.PackageNotFoundError:
        return "unknown"


def _cpu() -> list[Any]:
    """Returns model and features of the first core."""
    description = [platform.machine(), platform.processor(), platform.system()]
    try:
        text = Path("/proc/cpuinfo").read_text(errors="replace")
    except OSError:
        return description
    fields = ("vendor_id", "model", "stepping", "flags", "Features", "CPU ")
    return description + [line for line in text.partition("\n\n")[0].splitlines() if line.startswith(fields)]
