"""A user's module or factory, or a network of the zoo, and the weights of what is built here."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import nn
from torch.nn.parameter import is_lazy

from cnntk.exporters.options import ExportOptions
from cnntk.exporters.source import Source
from cnntk.exporters.source_kind import weights_missing
from cnntk.exporters.sources._loading import LoadingCalls, observe_loading
from cnntk.exporters.sources.inputs import dtype_of, in_forward_order, input_specs, one_shape
from cnntk.models import zoo
from cnntk.models.factory import fresh_import
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
    network, shape, notes = Network(text, dict(options.kwargs)), options.input_shape or (), set[str]()

    def build() -> nn.Module:
        module = zoo.build(network)
        if give_shapes(module, _zeros(module, input_specs(shape, dtype_of(module)))):
            notes.add(_LAZY_NOTE)
        return module

    if options.weights is None and not options.random:
        built = _with_weights_of_code(build, text, options)
    else:
        built = build_with_weights(build, text, options)
    return Source(
        name=text.rpartition(":")[2],
        inputs=input_specs(shape, dtype_of(built.module)),
        module=built.module,
        network=network,
        provenance=dict(built.provenance),
        notes=(*sorted(notes), *built.notes),
    )


def _zeros(module: nn.Module, inputs: tuple[TensorSpec, ...]) -> list[torch.Tensor]:
    """The arguments of ``forward`` for one image of zeros."""
    return [
        torch.zeros([d if isinstance(d, int) else 1 for d in spec.shape], dtype=getattr(torch, spec.dtype))
        for spec in in_forward_order(module, inputs)
    ]


def _weights(module: nn.Module) -> Iterator[tuple[str, torch.Tensor]]:
    yield from (*module.named_parameters(), *module.named_buffers())


def _with_weights_of_code(build: Callable[[], nn.Module], name: str, options: ExportOptions) -> BuiltNetwork:
    """The network with the weights that its code gives it.

    Raises:
        UsageError: A weight differs between two seeds, so it is random.
    """

    def seeded(seed: int) -> nn.Module:
        return build_with_weights(build, name, replace(options, random=True, seed=seed)).module

    calls = LoadingCalls()
    with observe_loading(calls, options.seed):
        module = seeded(options.seed)
    with observe_loading(calls, options.seed ^ 1), fresh_import(name):
        other = seeded(options.seed ^ 1)
    for (key, value), (_, again) in zip(_weights(module), _weights(other), strict=False):
        if not torch.equal(value.nan_to_num(), again.nan_to_num()):
            raise UsageError(f"{weights_missing(name)}; {key!r} differs between two builds, so it is random")
    how = f"loads them ({calls.text})" if calls.text else "computes them; it loads no file"
    note = f"weights: as {name} made them, equal in two builds; the code {how}"
    return BuiltNetwork(module, {"weights": "as the code made them"}, (note,))


def from_zoo(name: str, options: ExportOptions) -> Source:
    """Builds the zoo network ``name`` at its default input size or the user's."""
    entry = zoo.find(name)
    shape = one_shape(options.input_shape, name) or entry.input_shape
    size = shape[1] if shape[1] == shape[2] else list(shape[1:])
    network = Network(name, {"in_channels": shape[0], "image_size": size, **options.kwargs})
    built = build_with_weights(lambda: zoo.build(network), name, options)
    return Source(
        name,
        input_specs(shape, dtype_of(built.module)),
        built.module,
        classifier=True,
        network=network,
        provenance=dict(built.provenance),
        notes=built.notes,
    )


@dataclass(frozen=True)
class BuiltNetwork:
    """A network with its weights.

    Attributes:
        module: Network.
        provenance: Origin of its weights, for the spec.
        notes: What a user has to know about the weights.
    """

    module: nn.Module
    provenance: Mapping[str, Any] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


def build_with_weights(
    build: Callable[[], nn.Module],
    name: str,
    options: ExportOptions,
    translate: StateTranslation | None = None,
) -> BuiltNetwork:
    """Builds a network with the user's weights, or with seeded random ones where the user wants them.

    ``translate`` gives the weights the network's names where a file has others.
    """
    if options.weights is not None and options.random:
        raise UsageError("--weights and --random exclude each other")
    if options.weights is None and not options.random:
        raise UsageError(weights_missing(name))
    try:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(options.seed)
            module = build()
    except MISFITS as error:
        raise UsageError(f"{name}: can't be built: {with_cause(error)}") from error
    if options.weights is None:
        return BuiltNetwork(module, {"weights": f"random, seed {options.seed}"})
    loaded = load_weights(module, options.weights, translate)
    return BuiltNetwork(module, {"weights": loaded.file}, loaded.notes)
