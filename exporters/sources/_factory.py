"""A user's module or factory, or a network of the zoo, and the weights of what is built here."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import nn

from cnntk.exporters.options import ExportOptions
from cnntk.exporters.source import Source
from cnntk.exporters.sources.inputs import dtype_of, input_specs, one_shape
from cnntk.models import zoo
from cnntk.models.user_errors import with_cause
from cnntk.models.weights import StateTranslation, load_weights
from cnntk.runtime.artifact.spec import Network
from cnntk.runtime.errors import UsageError

# What libraries raise on arguments that do not fit.
MISFITS = (ValueError, TypeError, KeyError, AttributeError, RuntimeError, ImportError)


def from_module(module: nn.Module, options: ExportOptions) -> Source:
    """Returns ``module`` with the weights that it has."""
    if options.weights or options.kwargs or options.random:
        raise UsageError("a torch module already has weights: leave out weights, kwargs and random")
    if options.input_shape is None:
        raise UsageError("a torch module does not say its input shape; pass input_shape=(C, H, W)")
    inputs = input_specs(options.input_shape, dtype_of(module))
    notes = ("the module was in training mode; it is exported in evaluation mode",) if module.training else ()
    return Source(type(module).__name__.lower(), inputs, module, notes=notes)


def from_factory(text: str, options: ExportOptions) -> Source:
    """Builds the network of ``package.module:factory`` or ``file.py:factory``; runs the user's code."""
    if options.input_shape is None:
        raise UsageError(f"{text}: the input shape is missing; pass it like --input 3x224x224")
    network = Network(text, dict(options.kwargs))
    module, provenance = build_with_weights(lambda: zoo.build(network), text, options)
    inputs = input_specs(options.input_shape, dtype_of(module))
    return Source(text.rpartition(":")[2], inputs, module, network=network, provenance=provenance)


def from_zoo(name: str, options: ExportOptions) -> Source:
    """Builds the zoo network ``name`` at its default input size or the user's."""
    entry = zoo.find(name)
    shape = one_shape(options.input_shape, name) or entry.input_shape
    size = shape[1] if shape[1] == shape[2] else list(shape[1:])
    network = Network(name, {"in_channels": shape[0], "image_size": size, **options.kwargs})
    module, provenance = build_with_weights(lambda: zoo.build(network), name, options)
    inputs = input_specs(shape, dtype_of(module))
    return Source(name, inputs, module, classifier=True, network=network, provenance=provenance)


def build_with_weights(
    build: Callable[[], nn.Module],
    name: str,
    options: ExportOptions,
    translate: StateTranslation | None = None,
) -> tuple[nn.Module, dict[str, Any]]:
    """Builds a network with the user's weights, or with seeded random ones where the user wants them.

    ``translate`` gives the weights the network's names where a file has others.

    Returns:
        The network, and the provenance of its weights.
    """
    if (options.weights is None) == (not options.random):
        raise UsageError(
            f"{name}: pass its weights (--weights FILE), or --random to try it with random ones"
            if options.weights is None
            else "--weights and --random exclude each other"
        )
    try:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(options.seed)
            module = build()
    except MISFITS as error:
        raise UsageError(f"{name}: can't be built: {with_cause(error)}") from error
    if options.weights is None:
        return module, {"weights": f"random, seed {options.seed}"}
    load_weights(module, options.weights, translate)
    return module, {"weights": Path(options.weights).name}
