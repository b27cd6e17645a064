"""Weights of a module to and from a file, where nothing may be missing, left over or of another shape."""

from __future__ import annotations

import pickle
import re
from collections.abc import Mapping
from os import PathLike
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from cnntk.runtime.errors import CheckpointError, UsageError
from cnntk.runtime.files import readable_file

__all__ = ["load_weights", "write_weights"]

_WRAPPERS = ("state_dict", "model")


def load_weights(module: nn.Module, path: str | PathLike[str]) -> None:
    """Loads a state dict into ``module``, all of it or none.

    Args:
        module: its parameters and buffers are overwritten in place, in their own dtype, on their device.
        path: ``.safetensors``, or ``.pt`` or ``.pth`` with tensors alone; there the state dict may lie
            under the key ``state_dict`` or ``model``.

    Raises:
        UsageError: no such file, or another kind of file.
        CheckpointError: the file is damaged, would run code when read, or does not fit the module; the
            message names the file and the tensor.
    """
    file = readable_file(path, "weights as .safetensors, .pt or .pth")
    readers = {".safetensors": _read_safetensors, ".pt": _read_pickle, ".pth": _read_pickle}
    if file.suffix not in readers:
        raise UsageError(f"{file}: has the suffix {file.suffix!r}; weights are .safetensors, .pt or .pth")
    wanted = module.state_dict(keep_vars=True)
    given = _with_aliases(readers[file.suffix](file), wanted)
    _check(file, given, wanted)
    module.load_state_dict(given)


def write_weights(module: nn.Module, path: Path) -> None:
    """Writes the state dict of ``module`` as safetensors, tied weights once.

    Raises:
        CheckpointError: the state dict holds something else than tensors.
    """
    state = module.state_dict(keep_vars=True)
    for name, value in state.items():
        if not isinstance(value, Tensor) or is_lazy(value):
            owner, kind = type(module).__name__, type(value).__name__
            raise CheckpointError(f"{name!r} of {owner} is {kind}, which can't be saved as a tensor")
    names = dict.fromkeys(_first_names(state).values())
    path.touch()
    mode = path.stat().st_mode  # what the umask says; safetensors would leave a file for its owner alone
    save_file(_apart({name: state[name].detach() for name in names}), path, metadata={"format": "pt"})
    path.chmod(mode)


def _first_names(state: Mapping[str, Any]) -> dict[str, str]:
    """Each name, and the first name of the same tensor: tied weights are one tensor under several names."""
    first: dict[int, str] = {}
    return {name: first.setdefault(id(tensor), name) for name, tensor in state.items()}


def _apart(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """``tensors``, contiguous and each in memory of its own, which safetensors insists on."""
    seen: set[int] = set()
    apart = {}
    for name, tensor in tensors.items():
        own = tensor.contiguous()
        memory = own.untyped_storage().data_ptr()
        apart[name] = own.clone() if memory in seen else own
        seen.add(memory)
    return apart


def _with_aliases(given: dict[str, Any], wanted: Mapping[str, Any]) -> dict[str, Any]:
    """``given``, and under every name of a tied weight what it has under one of them."""
    first = _first_names(wanted)
    known = {first[name]: value for name, value in given.items() if name in first}
    tied = {name: known[origin] for name, origin in first.items() if origin in known}
    return {**tied, **given}


def _check(file: Path, given: Mapping[str, Any], wanted: Mapping[str, Any]) -> None:
    if missing := [name for name in wanted if name not in given]:
        raise CheckpointError(f"{file}: is of another network: tensor {_listed(missing)} is missing")
    if unknown := [name for name in given if name not in wanted]:
        raise CheckpointError(f"{file}: is of another network: tensor {_listed(unknown)} is unexpected")
    for name, tensor in wanted.items():
        if not isinstance(tensor, Tensor) or is_lazy(tensor):
            continue  # extra state, or a lazy parameter that takes the shape it is given
        expected, got = _kind(tensor), _kind(given[name])
        if expected != got:
            raise CheckpointError(f"{file}: tensor {name!r} is {got}, the network has {expected}")


def _listed(names: list[str]) -> str:
    more = f" (and {len(names) - 1} more)" if len(names) > 1 else ""
    return f"{names[0]!r}{more}"


def _kind(value: Any) -> str:
    """Shape and kind of number: 16 or 64 bits may become 32, integers and complex numbers may not."""
    if not isinstance(value, Tensor):
        return type(value).__name__
    number = "real" if value.is_floating_point() else str(value.dtype).removeprefix("torch.")
    return f"{number} {tuple(value.shape)}"


def _read_safetensors(file: Path) -> dict[str, Any]:
    try:
        return dict(load_file(file))
    except (SafetensorError, OSError, ValueError) as error:
        raise CheckpointError(f"{file}: is damaged, or no safetensors file: {_one_line(error)}") from error


def _read_pickle(file: Path) -> dict[str, Any]:
    try:
        content = torch.load(file, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise CheckpointError(f"{file}: {_refusal(error)}") from error
    except Exception as error:  # of damaged bytes torch raises whatever its next step stumbles over
        raise CheckpointError(f"{file}: is damaged, or no file of torch.save: {_one_line(error)}") from error
    for key in _WRAPPERS:
        if isinstance(content, dict) and isinstance(content.get(key), dict):
            content = content[key]
    if not isinstance(content, dict):
        kind = type(content).__name__
        raise CheckpointError(f"{file}: holds {kind}, not a state dict; save module.state_dict()")
    return dict(content)


def _refusal(error: pickle.UnpicklingError) -> str:
    """Why torch's reader of plain weights declined, in one line; its own message is a page."""
    if unsafe := re.search(r"GLOBAL (\S+)", str(error)):
        return f"needs {unsafe[1]} to be read, which could run code; save module.state_dict() instead"
    reason = re.search(r"WeightsUnpickler error: (.+)", str(error))
    return f"is damaged, or holds more than plain weights: {reason[1] if reason else 'no state dict in it'}"


def _one_line(error: BaseException) -> str:
    first = str(error).partition("\n")[0].strip()
    return f"{type(error).__name__}: {first}" if first else type(error).__name__
