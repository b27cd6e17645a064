"""What the user has becomes a `Source`: a torch module, its input and what is known about it."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from cnntk.exporters.source import Source, SourceOptions
from cnntk.models import zoo
from cnntk.models.checkpoint import load_checkpoint, load_weights
from cnntk.runtime.errors import UsageError
from cnntk.runtime.spec import Network, TensorSpec

__all__ = ["open_source", "parse_input"]


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
    if found.module is not None:
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


def _image(shape: tuple[int, int, int]) -> tuple[TensorSpec, ...]:
    return (TensorSpec("input", "float32", ("N", *shape)),)


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
    shape = tuple(int(d) for d in spec.inputs[0].shape[1:])
    if options.input_shape not in (None, shape):
        raise UsageError(f"--input {_form(options.input_shape)}: {text} was trained at {_form(shape)}")
    return Source(
        name=spec.name,
        module=checkpoint.module,
        inputs=checkpoint.spec.inputs,
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
    return Source(name, _image(shape), module, network=network, provenance=provenance)


def _from_factory(text: str, options: SourceOptions) -> Source:
    if options.input_shape is None:
        raise UsageError(f"{text}: say what it takes, like --input 3x224x224")
    network = Network(text, dict(options.kwargs))
    module, provenance = _built(network, text, options)
    name = text.rpartition(":")[2]
    return Source(name, _image(options.input_shape), module, network=network, provenance=provenance)


def _from_module(module: nn.Module, options: SourceOptions) -> Source:
    if options.input_shape is None:
        raise UsageError("a torch module does not say what it takes; give input_shape=(C, H, W)")
    return Source(type(module).__name__.lower(), _image(options.input_shape), module)


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
