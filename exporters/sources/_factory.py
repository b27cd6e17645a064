"""A user's module or factory, or a network of the zoo, and the weights of what is built here."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.nn.parameter import is_lazy

from cnntk.exporters.options import ExportOptions
from cnntk.exporters.source import Source
from cnntk.exporters.sources.inputs import dtype_of, in_forward_order, input_specs, one_shape
from cnntk.models import zoo
from cnntk.models.lazy_layers import give_shapes
from cnntk.models.user_errors import with_cause
from cnntk.models.weights import StateTranslation, load_weights
from cnntk.runtime.artifact.spec import Network, TensorSpec
from cnntk.runtime.errors import UsageError

# What libraries raise on arguments that do not fit.
MISFITS = (ValueError, TypeError, KeyError, AttributeError, RuntimeError, ImportError)


_LAZY_NOTE = "lazy layers took their shapes from one run on zeros of the input's shape"


def from_module(module: nn.Module, options: ExportOptions) -> Source:
    """Returns ``module`` with the weights that it has."""
    if options.weights or options.kwargs or options.random:
        raise UsageError("a torch module already has weights: leave out weights, kwargs and random")
    if options.input_shape is None:
        raise UsageError("a torch module does not say its input shape; pass input_shape=(C, H, W)")
    inputs = input_specs(options.input_shape, dtype_of(module))
    notes = ("the module was in training mode; it is exported in evaluation mode",) if module.training else ()
    if any(map(is_lazy, (*module.parameters(), *module.buffers()))):
        module, notes = copy.deepcopy(module), (*notes, _LAZY_NOTE)
        give_shapes(module, _zeros(module, inputs))
    return Source(type(module).__name__.lower(), inputs, module, notes=notes)


def from_factory(text: str, options: ExportOptions) -> Source:
    """Builds or takes the network of ``package.module:NAME`` or ``file.py:NAME``; runs the user's code.

    Without ``weights`` and ``random``, it is built with two seeds, and taken with the weights that it has
    where these are equal: then the code loads them.
    """
    if options.input_shape is None:
        raise UsageError(f"{text}: the input shape is missing; pass it like --input 3x224x224")
    network, shape, notes = Network(text, dict(options.kwargs)), options.input_shape, set[str]()

    def build() -> nn.Module:
        module = zoo.build(network)
        if give_shapes(module, _zeros(module, input_specs(shape, dtype_of(module)))):
            notes.add(_LAZY_NOTE)
        return module

    if options.weights is None and not options.random:
        module, provenance = _with_weights_of_code(build, text, options)
        notes.add(f"weights: as {text} made them, equal in two builds")
    else:
        module, provenance = build_with_weights(build, text, options)
    return Source(
        name=text.rpartition(":")[2],
        inputs=input_specs(shape, dtype_of(module)),
        module=module,
        network=network,
        provenance=provenance,
        notes=tuple(sorted(notes)),
    )


def _zeros(module: nn.Module, inputs: tuple[TensorSpec, ...]) -> list[torch.Tensor]:
    """The arguments of ``forward`` for one image of zeros."""
    return [
        torch.zeros([d if isinstance(d, int) else 1 for d in spec.shape], dtype=getattr(torch, spec.dtype))
        for spec in in_forward_order(module, inputs)
    ]


def _weights(module: nn.Module) -> Iterator[tuple[str, torch.Tensor]]:
    yield from (*module.named_parameters(), *module.named_buffers())


def _with_weights_of_code(
    build: Callable[[], nn.Module], name: str, options: ExportOptions
) -> tuple[nn.Module, dict[str, Any]]:
    """The network with the weights that its code gives it.

    Raises:
        UsageError: A weight differs between two seeds, so it is random.
    """
    module, other = (
        build_with_weights(build, name, replace(options, random=True, seed=seed))[0]
        for seed in (options.seed, options.seed ^ 1)
    )
    pairs = zip(_weights(module), _weights(other), strict=False)
    for (key, value), (_, again) in pairs:
        if not torch.equal(value.nan_to_num(), again.nan_to_num()):
            raise UsageError(
                f"{name}: pass its weights (--weights FILE), or --random to try it with random ones: "
                f"{key!r} differs between two builds, so it is random"
            )
    return module, {"weights": "as the code made them"}


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
