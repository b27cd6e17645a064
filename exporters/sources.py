"""What the user has becomes a `Source`: a torch module, its input and what is known about it."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from cnntk.models import zoo
from cnntk.models.checkpoint import load_checkpoint, load_weights
from cnntk.runtime.errors import UsageError
from cnntk.runtime.spec import Network, Preprocessing

__all__ = ["Source", "SourceOptions", "open_source", "parse_input"]


@dataclass(frozen=True)
class Source:
    """A torch network and what is known about it.

    Attributes:
        name: for people and for the file.
        module: in evaluation mode, on the CPU.
        input_shape: (C, H, W).
        labels: of the classes; empty where they are not known.
        preprocessing: None where the source does not say.
        network: how to build the module again; None where that is not known.
        provenance: where it comes from.
    """

    name: str
    module: nn.Module
    input_shape: tuple[int, int, int]
    labels: tuple[str, ...] = ()
    preprocessing: Preprocessing | None = None
    network: Network | None = None
    provenance: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class SourceOptions:
    """What the user says about a source; None where the source is to say it itself."""

    input_shape: tuple[int, int, int] | None = None
    weights: str | None = None
    kwargs: Mapping[str, Any] = field(default_factory=dict)
    labels: tuple[str, ...] | None = None
    random: bool = False
    seed: int = 0


def open_source(source: str | os.PathLike[str] | nn.Module, options: SourceOptions) -> Source:
    """The network that ``source`` names.

    Args:
        source: a checkpoint's folder or file, a zoo name, ``package.module:factory``,
            ``path/file.py:factory``, or a torch module.
        options: what to take from the user rather than from the source.

    Raises:
        UsageError: there is no such source, or an option is missing or does not fit it.
        CheckpointError: the weights are damaged or belong to another network.
    """
    if isinstance(source, nn.Module):
        found = _from_module(source, options)
    elif _is_checkpoint(text := os.fspath(source)):
        found = _from_checkpoint(text, options)
    elif ":" in text:
        found = _from_factory(text, options)
    else:
        found = _from_zoo(text, options)
    if options.labels is not None:
        found = replace(found, labels=options.labels)
    found.module.eval()
    return found


def parse_input(text: str) -> tuple[int, int, int]:
    """``3x224x224`` to (3, 224, 224).

    Raises:
        UsageError: it has another form.
    """
    parts = text.lower().split("x")
    if len(parts) != 3 or not all(p.isdecimal() and int(p) > 0 for p in parts):
        raise UsageError(f"--input {text!r}: expected channels x height x width, like 3x224x224")
    channels, height, width = map(int, parts)
    return channels, height, width


def _form(shape: Sequence[int] | None) -> str:
    return "x".join(map(str, shape or ()))


def _is_checkpoint(text: str) -> bool:
    path = Path(text)
    return path.is_dir() or path.suffix == ".safetensors"


def _from_checkpoint(text: str, options: SourceOptions) -> Source:
    if options.weights or options.kwargs or options.random:
        raise UsageError(
            f"{text} is a checkpoint with a network and weights of its own: "
            "leave out --weights, --kwargs and --random"
        )
    checkpoint = load_checkpoint(text)
    spec = checkpoint.spec
    shape = tuple(int(d) for d in spec.input.shape[1:])
    if options.input_shape not in (None, shape):
        raise UsageError(f"--input {_form(options.input_shape)}: {text} was trained at {_form(shape)}")
    return Source(
        name=spec.name,
        module=checkpoint.module,
        input_shape=(shape[0], shape[1], shape[2]),
        labels=spec.labels,
        preprocessing=spec.preprocessing,
        network=spec.network,
        provenance=spec.provenance,
    )


def _from_zoo(name: str, options: SourceOptions) -> Source:
    entry = zoo.find(name)
    shape = options.input_shape or entry.input_shape
    size = shape[1] if shape[1] == shape[2] else list(shape[1:])
    network = Network(name, {"in_channels": shape[0], "image_size": size, **options.kwargs})
    module, provenance = _built(network, name, options)
    return Source(name, module, shape, network=network, provenance=provenance)


def _from_factory(text: str, options: SourceOptions) -> Source:
    if options.input_shape is None:
        raise UsageError(f"{text}: say what it takes, like --input 3x224x224")
    network = Network(text, dict(options.kwargs))
    module, provenance = _built(network, text, options)
    name = text.rpartition(":")[2]
    return Source(name, module, options.input_shape, network=network, provenance=provenance)


def _from_module(module: nn.Module, options: SourceOptions) -> Source:
    if options.input_shape is None:
        raise UsageError("a torch module does not say what it takes; give input_shape=(C, H, W)")
    return Source(type(module).__name__.lower(), module, options.input_shape)


def _built(network: Network, name: str, options: SourceOptions) -> tuple[nn.Module, dict[str, Any]]:
    """The network with the user's weights, or with seeded random ones if the user asked for those."""
    if (options.weights is None) == (not options.random):
        raise UsageError(
            f"{name}: give its weights (--weights FILE), or --random for a trial with random ones"
            if options.weights is None
            else "--weights and --random exclude each other"
        )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(options.seed)
        module = zoo.build(network)
    if options.weights is None:
        return module, {"weights": f"random, seed {options.seed}"}
    load_weights(module, options.weights)
    return module, {"weights": Path(options.weights).name}
