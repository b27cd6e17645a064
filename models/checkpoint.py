"""Checkpoints: folders with the weights, ``model.safetensors``, and the ``spec.json``."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from os import PathLike
from pathlib import Path

from torch import nn

from cnntk.models.factory import file_of
from cnntk.models.trust import WITH_NEW_HEAD, check_network
from cnntk.models.weights import load_weights, write_weights
from cnntk.models.zoo import build
from cnntk.runtime.artifact.spec import ModelSpec, Network
from cnntk.runtime.errors import ArtifactCorrupt, CheckpointError, UsageError
from cnntk.runtime.files import atomic_write, check_writable, readable_file, temporary_folder

__all__ = ["SPEC_FILE", "WEIGHTS_FILE", "Checkpoint", "load_checkpoint", "save_checkpoint"]

WEIGHTS_FILE = "model.safetensors"
SPEC_FILE = "spec.json"


@dataclass(frozen=True)
class Checkpoint:
    """A trained network.

    Attributes:
        module: Network in evaluation mode.
        spec: Spec with labels, inputs, preprocessing and provenance.
    """

    module: nn.Module
    spec: ModelSpec


def save_checkpoint(folder: str | PathLike[str], module: nn.Module, spec: ModelSpec) -> None:
    """Writes ``module`` and ``spec`` to ``folder``, completely or not at all.

    A new folder appears with both files in it. In an existing one each file is replaced as a whole, the
    weights first; other files stay.

    Raises:
        UsageError: The folder can't be written to, or its parent does not exist.
        CheckpointError: The module's state contains something other than tensors.
    """
    target = Path(folder)
    if target.exists() and not target.is_dir():
        raise UsageError(f"{target}: is a file; pass a folder for the checkpoint")
    if target.is_dir():
        _write(target, module, spec)
    else:
        _create(target, module, spec)


def load_checkpoint(
    path: str | PathLike[str], *, trust: bool = False, named: str | None = None
) -> Checkpoint:
    """Builds the network that a checkpoint's spec names, and loads its weights.

    A factory's file that does not exist at its path in the spec is looked for beside the checkpoint's folder;
    the returned spec has the path that was used.

    Args:
        path: The folder, or the ``.safetensors`` file in it.
        trust: Whether to run the factory outside the zoo that the spec names: code of whoever made the
            checkpoint, like a program. Look into ``spec.json`` first.
        named: The one such factory that is run without ``trust``.

    Raises:
        UsageError: A file is missing, the network that the spec names can't be built here, or it is code that
            is not trusted.
        CheckpointError: The spec is damaged or names no network, or the weights are damaged or don't fit.
        UnsupportedArtifact: The spec was written by a later version of cnntk.
    """
    target = Path(path) / WEIGHTS_FILE if Path(path).is_dir() else path
    weights = readable_file(target, "the weights of a checkpoint")
    spec_file = readable_file(weights.with_name(SPEC_FILE), "the spec beside the weights of a checkpoint")
    spec = _read_spec(spec_file)
    if spec.network is None:
        raise CheckpointError(f"{spec_file}: names no network; build it yourself and use load_weights")
    network = _relocated(spec.network, spec_file)
    check_network(network, spec_file, weights_bytes=weights.stat().st_size, trust=trust, named=named)
    module = build(network)
    load_weights(module, weights)
    return Checkpoint(module.eval(), replace(spec, network=network))


def _relocated(network: Network, spec_file: Path) -> Network:
    """Returns ``network`` with the existing path of its factory's file, and of its body's."""
    if network.factory != WITH_NEW_HEAD or not isinstance(network.kwargs.get("body"), str):
        return replace(network, factory=_relocated_factory(network.factory, spec_file))
    body = _relocated(Network(network.kwargs["body"], network.kwargs.get("body_kwargs") or {}), spec_file)
    return replace(network, kwargs={**network.kwargs, "body": body.factory, "body_kwargs": body.kwargs})


def _relocated_factory(reference: str, spec_file: Path) -> str:
    file = file_of(reference)
    if file is None or Path(file).exists():
        return reference
    moved_file = spec_file.resolve().parent.with_name(Path(file).name)
    if not moved_file.exists():
        raise UsageError(
            f"{spec_file}: the file of its network does not exist, neither {file} nor {moved_file}; "
            "put it at one of these paths"
        )
    return str(moved_file) + reference.removeprefix(file)


def _read_spec(file: Path) -> ModelSpec:
    try:
        return ModelSpec.from_json(file.read_bytes(), str(file))
    except ArtifactCorrupt as error:
        raise CheckpointError(str(error)) from error


def _create(target: Path, module: nn.Module, spec: ModelSpec) -> None:
    check_writable(target)
    with temporary_folder(target) as temporary:
        _write(temporary, module, spec)
        os.rename(temporary, target)


def _write(folder: Path, module: nn.Module, spec: ModelSpec) -> None:
    text = spec.to_json(indent=2)  # before the first file changes: a spec that is no JSON fails here
    with atomic_write(folder / WEIGHTS_FILE) as file:
        write_weights(module, file)
    with atomic_write(folder / SPEC_FILE) as file:
        file.write_text(text + "\n", encoding="utf-8")
