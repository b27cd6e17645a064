"""The inputs of a network: from the user's text to a `TensorSpec` for each."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence

from torch import nn

from cnntk.exporters.options import INPUT, ExportOptions, InputShape
from cnntk.runtime.artifact.spec import TensorSpec
from cnntk.runtime.errors import UsageError

__all__ = [
    "dtype_of",
    "form",
    "in_forward_order",
    "input_specs",
    "one_shape",
    "parameters_of",
    "refuse_build_options",
]


def input_specs(shape: InputShape, dtype: str) -> tuple[TensorSpec, ...]:
    """Returns a spec of each input, with the batch as first dimension.

    Args:
        shape: Shape or shapes from the user.
        dtype: Type of the inputs for which the user states none.
    """
    if not isinstance(shape, Mapping):
        return (TensorSpec(INPUT, dtype, ("N", *shape)),)
    return tuple(
        value if isinstance(value, TensorSpec) else TensorSpec(name, dtype, ("N", *value))
        for name, value in shape.items()
    )


def one_shape(shape: InputShape | None, source: str) -> tuple[int, ...] | None:
    """Returns the shape of the only input, for sources that take one.

    Raises:
        UsageError: There are several inputs, or one with another type or name.
    """
    if isinstance(shape, Mapping):
        raise UsageError(
            f"{source} takes one input: write --input as channels x height x width, like 3x224x224"
        )
    return shape


def refuse_build_options(text: str, options: ExportOptions) -> None:
    """Raises UsageError where options are set that only apply to networks built here; ``text`` says why."""
    if options.weights or options.kwargs or options.random:
        raise UsageError(f"{text}: leave out --weights, --kwargs and --random")


def form(shape: Sequence[int | str]) -> str:
    """Formats (3, 224, 224) as ``3x224x224``."""
    return "x".join(map(str, shape))


def dtype_of(module: nn.Module) -> str:
    """Returns the type of the module's first floating-point weight; float32 where it has none."""
    for tensor in (*module.parameters(), *module.buffers()):
        if tensor.is_floating_point():
            return str(tensor.dtype).removeprefix("torch.")
    return "float32"


def parameters_of(module: nn.Module) -> tuple[str, ...]:
    """Returns the argument names of ``forward``; empty where it takes ``*args``."""
    parameters = inspect.signature(module.forward).parameters.values()
    if any(p.kind is p.VAR_POSITIONAL for p in parameters):
        return ()
    return tuple(p.name for p in parameters if p.kind is not p.VAR_KEYWORD)


def in_forward_order(module: nn.Module, inputs: tuple[TensorSpec, ...]) -> tuple[TensorSpec, ...]:
    """Sorts several inputs by the order of ``forward``'s arguments.

    Raises:
        UsageError: An input has a name that is not an argument.
    """
    arguments = parameters_of(module)
    if len(inputs) < 2 or not arguments:
        return inputs
    for spec in inputs:
        if spec.name not in arguments:
            kind = type(module).__name__
            raise UsageError(
                f"--input {spec.name}=...: no such argument; {kind} takes {', '.join(arguments)}"
            )
    return tuple(sorted(inputs, key=lambda spec: arguments.index(spec.name)))
