"""Weights of a module to and from a file; none may be missing, left over or of another shape."""

from __future__ import annotations

import os
import pickle
import re
from collections import OrderedDict
from collections.abc import Callable, Mapping
from os import PathLike
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from cnntk.runtime.errors import CheckpointError, UsageError
from cnntk.runtime.files import readable_file, temporary_folder

__all__ = ["StateTranslation", "load_weights", "save_tensors", "write_weights"]

StateTranslation = Callable[[nn.Module, dict[str, Any]], dict[str, Any]]
"""Returns the tensors of a file with the names and shapes that the module has."""

_WRAPPERS = ("state_dict", "model")


def load_weights(
    module: nn.Module, path: str | PathLike[str], translate: StateTranslation | None = None
) -> None:
    """Loads a state dict into ``module``, all of it or none.

    The versions of modules that torch.save keeps are passed on: torchvision's MNASNet is another network in
    its first version. Files from before torch 0.4.1 lack ``num_batches_tracked`` of batch norms, which
    inference does not read.

    Args:
        module: Module whose parameters and buffers are overwritten in place, in their own dtype and device.
        path: ``.safetensors`` file, or ``.pt`` or ``.pth`` file with tensors only; there the state dict may
            be under the key ``state_dict`` or ``model``.
        translate: Translation of a file whose names are not those of the module.

    Raises:
        UsageError: There is no such file, or it has another suffix.
        CheckpointError: The file is damaged, would run code when read, or does not fit the module; the
            message names the file and the tensor.
    """
    file = readable_file(path, "weights as .safetensors, .pt or .pth")
    readers = {".safetensors": _read_safetensors, ".pt": _read_pickle, ".pth": _read_pickle}
    if file.suffix not in readers:
        raise UsageError(f"{file}: suffix {file.suffix!r}; expected weights as .safetensors, .pt or .pth")
    expected_state = module.state_dict(keep_vars=True)
    content = readers[file.suffix](file)
    state = _with_aliases(content, expected_state)
    counters = {n: t for n, t in expected_state.items() if n.endswith(".num_batches_tracked")}
    state = {**counters, **state}
    if translate is not None and state.keys() != expected_state.keys():
        state = {**counters, **translate(module, state)}
    _check(file, state, expected_state)
    versioned = OrderedDict(state)
    versioned._metadata = getattr(content, "_metadata", expected_state._metadata)  # type: ignore[attr-defined]
    module.load_state_dict(versioned)


def write_weights(module: nn.Module, path: Path) -> None:
    """Writes the state dict of ``module`` as safetensors, tied weights once.

    Raises:
        CheckpointError: The state dict contains something other than tensors.
    """
    state = module.state_dict(keep_vars=True)
    for name, value in state.items():
        if not isinstance(value, Tensor) or is_lazy(value):
            owner, kind = type(module).__name__, type(value).__name__
            raise CheckpointError(f"{name!r} of {owner} is {kind}, expected a tensor")
    names = dict.fromkeys(_first_names(state).values())
    save_tensors(_separate({name: state[name].detach() for name in names}), path, {"format": "pt"})


def save_tensors(tensors: dict[str, Tensor], path: Path, metadata: dict[str, str]) -> None:
    """Writes a safetensors file, with the mode of an existing one, else by the umask.

    safetensors itself writes a temporary file, readable for its owner only, in the same folder; here in one
    that the next write removes if the process is killed.
    """
    path.touch()
    mode = path.stat().st_mode
    with temporary_folder(path) as folder:
        save_file(tensors, folder / path.name, metadata=metadata)
        (folder / path.name).chmod(mode)
        os.replace(folder / path.name, path)


def _first_names(state: Mapping[str, Any]) -> dict[str, str]:
    """Maps each name to the first name of the same tensor: tied weights are one tensor with several names."""
    first: dict[int, str] = {}
    return {name: first.setdefault(id(tensor), name) for name, tensor in state.items()}


def _separate(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Returns contiguous ``tensors``, each in separate memory, which safetensors requires."""
    seen: set[int] = set()
    separate = {}
    for name, tensor in tensors.items():
        contiguous = tensor.contiguous()
        memory = contiguous.untyped_storage().data_ptr()
        separate[name] = contiguous.clone() if memory in seen else contiguous
        seen.add(memory)
    return separate


def _with_aliases(state: dict[str, Any], expected_state: Mapping[str, Any]) -> dict[str, Any]:
    """Adds the value of a tied weight under all its names."""
    first = _first_names(expected_state)
    by_first_name = {first[name]: value for name, value in state.items() if name in first}
    tied = {name: by_first_name[origin] for name, origin in first.items() if origin in by_first_name}
    return {**tied, **state}


def _check(file: Path, state: Mapping[str, Any], expected_state: Mapping[str, Any]) -> None:
    if missing := [name for name in expected_state if name not in state]:
        raise CheckpointError(f"{file}: belongs to another network: tensor {_listed(missing)} is missing")
    if unknown := [name for name in state if name not in expected_state]:
        raise CheckpointError(f"{file}: belongs to another network: tensor {_listed(unknown)} is unexpected")
    for name, tensor in expected_state.items():
        if not isinstance(tensor, Tensor) or is_lazy(tensor):
            continue  # extra state, or a lazy parameter that takes any shape
        expected, got = _kind(tensor), _kind(state[name])
        if expected != got:
            raise CheckpointError(f"{file}: tensor {name!r} is {got}, the network has {expected}")


def _listed(names: list[str]) -> str:
    more = f" (and {len(names) - 1} more)" if len(names) > 1 else ""
    return f"{names[0]!r}{more}"


def _kind(value: Any) -> str:
    """Returns shape and kind of number: 16 or 64 bits may become 32, integers and complex numbers may not."""
    if not isinstance(value, Tensor):
        return type(value).__name__
    number = "real" if value.is_floating_point() else str(value.dtype).removeprefix("torch.")
    return f"{number} {tuple(value.shape)}"


def _read_safetensors(file: Path) -> dict[str, Any]:
    try:
        return dict(load_file(file))
    except (SafetensorError, OSError, ValueError) as error:
        raise CheckpointError(f"{file}: not a valid safetensors file: {_one_line(error)}") from error


def _read_pickle(file: Path) -> dict[str, Any]:
    try:
        content = torch.load(file, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise CheckpointError(f"{file}: {_refusal(error)}") from error
    except Exception as error:  # on damaged bytes torch raises many types
        raise CheckpointError(f"{file}: not a valid file of torch.save: {_one_line(error)}") from error
    for key in _WRAPPERS:
        if isinstance(content, dict) and isinstance(content.get(key), dict):
            content = content[key]
    if not isinstance(content, dict):
        kind = type(content).__name__
        raise CheckpointError(f"{file}: contains {kind}, expected a state dict; save module.state_dict()")
    return content


def _refusal(error: pickle.UnpicklingError) -> str:
    """Returns in one line why torch's reader of plain weights refused; its own message is a page."""
    if unsafe := re.search(r"GLOBAL (\S+)", str(error)):
        return f"needs {unsafe[1]} to be read, which could run code; save module.state_dict() instead"
    reason = re.search(r"WeightsUnpickler error: (.+)", str(error))
    return f"damaged, or contains more than plain weights: {reason[1] if reason else 'no state dict in it'}"


def _one_line(error: BaseException) -> str:
    first = str(error).partition("\n")[0].strip()
    return f"{type(error).__name__}: {first}" if first else type(error).__name__
