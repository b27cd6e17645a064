"""Weights of a module to and from a file; none may be missing or of another shape."""

from __future__ import annotations

import os
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from os import PathLike
from pathlib import Path
from typing import Any

from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from cnntk.models.state_dicts import StateDict, choose_state_dict, first_names
from cnntk.models.weight_files import read_weights_file
from cnntk.models.weights_reference import split_reference
from cnntk.runtime.errors import CheckpointError
from cnntk.runtime.files import temporary_folder

__all__ = ["LoadedWeights", "StateTranslation", "load_weights", "save_tensors", "write_weights"]

StateTranslation = Callable[[nn.Module, dict[str, Any]], dict[str, Any]]
"""Returns the tensors of a file with the names and shapes that the module has."""

_NAMED = 3
"""Number of ignored tensors that a note names."""


@dataclass(frozen=True)
class LoadedWeights:
    """What was loaded from a weights file.

    Attributes:
        file: Name of the file, and behind ``#`` which of several state dicts in it was taken.
        notes: What a user has to know: the key, a prefix that was removed, what was ignored, what else fits.
    """

    file: str
    notes: tuple[str, ...]


def load_weights(
    module: nn.Module, path: str | PathLike[str], translate: StateTranslation | None = None
) -> LoadedWeights:
    """Loads a state dict into ``module``, all of it or none.

    The state dict is the file itself or under a key in it (``state_dict``, ``model``, ``ema``, ...), and its
    names may have a prefix (``module.``, ``model.``, ``_orig_mod.``, ...): what fits the module is taken.

    The versions of modules that torch.save keeps are passed on: torchvision's MNASNet is another network in
    its first version. Files from before torch 0.4.1 lack ``num_batches_tracked`` of batch norms, which
    inference does not read.

    Args:
        module: Module whose parameters and buffers are overwritten in place, in their own dtype and device.
        path: ``.safetensors`` file, index of such files (``model.safetensors.index.json``), or ``.pt``,
            ``.pth``, ``.ckpt`` or ``.bin`` file with plain data only. ``FILE#KEY`` names one of several state
            dicts in it.
        translate: Translation of a file whose names are not those of the module.

    Raises:
        UsageError: There is no such file, or it has another suffix.
        CheckpointError: The file is damaged, would run code when read, does not fit the module, or several
            state dicts in it do; the message names the file and the tensor.
    """
    file, key = split_reference(path)
    content = read_weights_file(file)
    expected = module.state_dict(keep_vars=True)
    try:
        chosen, others = choose_state_dict(
            content, expected, key, None if translate is None else partial(translate, module)
        )
    except CheckpointError as error:
        raise CheckpointError(f"{file}: {error}") from error
    versioned = OrderedDict(chosen.tensors)
    versioned._metadata = _versions(chosen, expected)  # type: ignore[attr-defined]
    module.load_state_dict(versioned)
    is_choice = bool(others or key)
    return LoadedWeights(
        f"{file.name}#{chosen.label}" if is_choice else file.name, _notes(file, chosen, others)
    )


def _versions(chosen: StateDict, expected: Mapping[str, Any]) -> Mapping[str, Any]:
    """The version of each module, as torch.save keeps it, by the network's names of the modules."""
    metadata = getattr(chosen.source, "_metadata", None)
    if not isinstance(metadata, Mapping):
        return expected._metadata  # type: ignore[attr-defined,no-any-return]
    dotted = {f"{name}.": v for name, v in metadata.items() if isinstance(v, Mapping)}
    start = chosen.prefix or "."  # the network itself is "."
    versions = {
        name.removeprefix(chosen.prefix).rstrip("."): v
        for name, v in dotted.items()
        if name.startswith(chosen.prefix)
    }
    return {**versions, "": dotted.get(start, {})}


def _notes(file: Path, chosen: StateDict, others: tuple[StateDict, ...]) -> tuple[str, ...]:
    parts = []
    if chosen.key:
        average = ", a moving average" if chosen.is_average else ""
        parts.append(f"those under {chosen.key!r}{average}")
    if chosen.prefix:
        average = ", a moving average" if chosen.is_average and not chosen.key else ""
        parts.append(f"the prefix {chosen.prefix!r} is removed{average}")
    if chosen.tensors.keys() - {name.removeprefix(chosen.prefix) for name in chosen.source}:
        parts.append("names are translated to the network's")
    if others:
        labels = " and ".join(repr(other.label) for other in others)
        parts.append(f"{labels} would fit too (--weights {file}#{others[0].label})")
    if ignored := chosen.ignored:
        more = f" and {len(ignored) - _NAMED} more" if len(ignored) > _NAMED else ""
        names = ", ".join(map(repr, ignored[:_NAMED]))
        parts.append(f"ignored, because the network does not have them: {names}{more}")
    return (f"weights of {file.name}: {'; '.join(parts)}",) if parts else ()


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
    names = dict.fromkeys(first_names(state).values())
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
