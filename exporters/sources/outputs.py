"""Outputs of a network, of whatever structure, as tensors by name."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import fields, is_dataclass
from typing import Any

from torch import SymBool, SymFloat, SymInt, Tensor, nn

from cnntk.exporters.passes.graph import unused_name
from cnntk.runtime.errors import CaptureError

__all__ = ["name_outputs", "named_tensors"]

OUTPUT = "output"
"""Name of an output that has no name of its own; further ones are ``output_1`` and so on."""

_NO_TENSORS = (bool, int, float, str, SymBool, SymInt, SymFloat)


def name_outputs(module: nn.Module, only: str | None = None) -> nn.Module:
    """Makes ``module`` return `named_tensors` of its output.

    A forward hook does it, registered after the module's own hooks, which see the original output.

    Args:
        module: Module that is changed in place.
        only: Name of the one output to keep, where there is one of that name.
    """
    module.register_forward_hook(_NameOutputs(only))
    return module


class _NameOutputs:
    def __init__(self, only: str | None) -> None:
        self._only = only

    def __call__(self, module: nn.Module, args: Any, output: Any) -> dict[str, Tensor]:
        parts = _parts(output) or {}
        named = named_tensors({self._only: parts[self._only]} if self._only in parts else output)
        if not named:
            raise CaptureError(
                f"{type(module).__name__} returns {type(output).__name__} without a tensor; "
                "return a tensor, or a tuple, list, dict or dataclass of tensors"
            )
        return named


def named_tensors(output: Any) -> dict[str, Tensor]:
    """Returns the tensors in ``output`` by name.

    Names are the dict's keys or the dataclass's fields, joined by ``_`` where they are nested, and numbered
    where several are equal. Characters that an identifier can't have become ``_``. None, numbers and strings
    are left out.

    Raises:
        CaptureError: The output contains something else.
    """
    named: dict[str, Tensor] = {}
    for name, tensor in _walk(output, ""):
        base = re.sub(r"\W", "_", name, flags=re.ASCII) or OUTPUT
        base = f"_{base}" if base[0].isdigit() else base
        named[unused_name(base, named)] = tensor
    return named


def _walk(value: Any, name: str) -> Iterator[tuple[str, Tensor]]:
    if isinstance(value, Tensor):
        yield name, value
    elif (parts := _parts(value)) is not None:
        for key, part in parts.items():
            yield from _walk(part, f"{name}_{key}" if name else str(key))
    elif isinstance(value, tuple | list):
        for part in value:
            yield from _walk(part, name)
    elif value is not None and not isinstance(value, _NO_TENSORS):
        where = f" as {name!r}" if name else ""
        raise CaptureError(f"the network returns {type(value).__name__}{where}; expected tensors")


def _parts(value: Any) -> dict[Any, Any] | None:
    """Returns the parts of a dict, dataclass, named tuple or object with logits, by name; else None."""
    if isinstance(value, Mapping):
        return dict(value)
    if is_dataclass(value) and not isinstance(value, type):
        return {field.name: getattr(value, field.name) for field in fields(value)}
    if isinstance(value, tuple) and hasattr(value, "_fields"):
        return dict(zip(value._fields, value, strict=True))
    return {"logits": value.logits} if hasattr(value, "logits") else None
