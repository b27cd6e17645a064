"""A torch module that a Python user holds."""

from __future__ import annotations

from torch import nn

from cnntk.exporters.source import Source, SourceOptions
from cnntk.exporters.sources.inputs import dtype_of, input_specs
from cnntk.runtime.errors import UsageError

__all__ = ["from_module"]


def from_module(module: nn.Module, options: SourceOptions) -> Source:
    """``module`` with the weights it has.

    Raises:
        UsageError: it is not said what it takes, or an option is for sources that are built here.
    """
    if options.weights or options.kwargs or options.random:
        raise UsageError("a torch module comes with its weights: leave out weights, kwargs and random")
    if options.input_shape is None:
        raise UsageError("a torch module does not say what it takes; give input_shape=(C, H, W)")
    inputs = input_specs(options.input_shape, dtype_of(module))
    notes = ("it was in training mode; the file holds it in evaluation mode",) if module.training else ()
    return Source(type(module).__name__.lower(), inputs, module, notes=notes)
