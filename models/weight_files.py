"""Reads weights files without running code: safetensors, whole or in shards, and files of torch.save."""

from __future__ import annotations

import json
import pickle
import re
import threading
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file

from cnntk.models.weights_reference import INDEX_SUFFIX, SUFFIXES
from cnntk.runtime.errors import CheckpointError, UsageError
from cnntk.runtime.files import readable_file

__all__ = ["read_weights_file"]

_EXPECTED = f"weights as {', '.join(SUFFIXES)} or {INDEX_SUFFIX.removeprefix('.')}"


class _Unread:
    """Stands for a value that is not read: it takes the arguments and the state of any, and drops them."""

    def __new__(cls, *_: object) -> _Unread:
        return super().__new__(cls)

    def __init__(self, *_: object) -> None:
        pass

    def __setstate__(self, state: object) -> None:
        pass


def _dict(*_: object) -> dict[Any, Any]:
    return {}


def _list(items: Iterable[Any] = (), *_: object) -> list[Any]:
    return list(items)


_NUMPY = ("core.multiarray.scalar", "core.multiarray._reconstruct")
_PATHS = ("PosixPath", "WindowsPath", "PurePosixPath", "PureWindowsPath")
_UNREAD = (
    "argparse.Namespace",
    "numpy.dtype",
    "numpy.ndarray",
    *(f"numpy.{prefix}{name}" for prefix in ("", "_") for name in _NUMPY),
    *(f"{module}.{name}" for module in ("pathlib", "pathlib._local") for name in _PATHS),
)

_PLAIN_DATA: list[Any] = [
    *((_Unread, name) for name in _UNREAD),
    (_dict, "collections.defaultdict"),
    (_list, "collections.deque"),
    *((kind, f"builtins.{kind.__name__}") for kind in (bool, dict, float, frozenset, int, list, str, tuple)),
]
"""What checkpoints hold beside tensors, by name. No class of these names is used: numpy's own reader trusts
the sizes and types that a file states, and nothing of these values is needed."""

_PLAIN_DATA_LOCK = threading.Lock()
"""torch's list of allowed names is one for all threads."""


def read_weights_file(path: Path) -> dict[str, Any]:
    """Returns the content of a weights file: a state dict, or a dict with one somewhere in it.

    Raises:
        UsageError: There is no such file, or it has another suffix.
        CheckpointError: The file is damaged, would run code when read, or contains no dict.
    """
    file = readable_file(path, _EXPECTED)
    if file.name.endswith(INDEX_SUFFIX):
        return _read_shards(file)
    if file.suffix == ".safetensors":
        return _read_safetensors(file)
    if file.suffix in SUFFIXES:
        return _read_pickle(file)
    raise UsageError(f"{file}: suffix {file.suffix!r}; expected {_EXPECTED}")


def _read_shards(index: Path) -> dict[str, Any]:
    """Reads the files that an index names, each once; they are in its folder."""
    try:
        shards = json.loads(index.read_bytes())["weight_map"]
        names = dict.fromkeys(shards.values())
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        message = f"{index}: not a valid index of shards: {_one_line(error)}"
        raise CheckpointError(message) from error
    state: dict[str, Any] = {}
    for name in names:
        if not isinstance(name, str) or name != Path(name).name or not name.endswith(SUFFIXES):
            raise CheckpointError(f"{index}: names the shard {name!r}; expected a weights file of its folder")
        state.update(read_weights_file(index.with_name(name)))
    if missing := next((name for name in shards if name not in state), None):
        raise CheckpointError(f"{index}: tensor {missing!r} is not in its shard {shards[missing]!r}")
    return state


def _read_safetensors(file: Path) -> dict[str, Any]:
    try:
        return dict(load_file(file))
    except (SafetensorError, OSError, ValueError) as error:
        raise CheckpointError(f"{file}: not a valid safetensors file: {_one_line(error)}") from error


def _read_pickle(file: Path) -> dict[str, Any]:
    try:
        with _PLAIN_DATA_LOCK, torch.serialization.safe_globals(_PLAIN_DATA):
            content = torch.load(file, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise CheckpointError(f"{file}: {_refusal(error)}") from error
    except Exception as error:  # on damaged bytes torch raises many types
        if "TorchScript" in str(error):
            raise CheckpointError(
                f"{file}: a TorchScript archive, which contains code; save module.state_dict() instead"
            ) from error
        raise CheckpointError(f"{file}: not a valid file of torch.save: {_one_line(error)}") from error
    if not isinstance(content, Mapping):
        kind = type(content).__name__
        raise CheckpointError(f"{file}: contains {kind}, expected a state dict; save module.state_dict()")
    return content  # type: ignore[return-value]  # with the attribute _metadata of torch.save


def _refusal(error: pickle.UnpicklingError) -> str:
    """Returns in one line why torch's reader of plain weights refused; its own message is a page."""
    if unsafe := re.search(r"GLOBAL (\S+)", str(error)):
        return f"needs {unsafe[1]} to be read, which could run code; save module.state_dict() instead"
    reason = re.search(r"WeightsUnpickler error: (.+)", str(error))
    return f"damaged, or contains more than plain weights: {reason[1] if reason else 'no state dict in it'}"


def _one_line(error: BaseException) -> str:
    first = str(error).partition("\n")[0].strip()
    return f"{type(error).__name__}: {first}" if first else type(error).__name__
