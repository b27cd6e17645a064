"""`Source`: the model that is exported, with everything that is known about it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, get_args, get_type_hints

import onnx_ir as ir
import torch
from torch import nn

from cnntk.runtime.artifact.spec import Network, Preprocessing, TensorSpec
from cnntk.runtime.errors import UsageError

__all__ = ["Source", "with_preprocessing"]

_BOOLEANS = {"true": True, "false": False}


@dataclass(frozen=True)
class Source:
    """A model and what is known about it. Exactly one of ``module``, ``program`` and ``graph`` is set.

    Attributes:
        name: Name of the model, for messages and the default file name.
        inputs: Inputs in the order of ``forward``'s arguments, the batch in front, as ``"N"`` or the only
            size that a graph takes; their names are those of the exported graph.
        module: torch network in evaluation mode on the CPU that returns a dict of tensors by output name. It
            shares its weights with the user's module: copy it before changing any in place.
        program: Captured program, as a ``.pt2`` file holds it.
        graph: Somebody's ONNX model, in the form that is exported.
        original_graph: The same model as its file has it, with which ``graph`` is compared; by default
            ``graph`` itself.
        classifier: Whether it is a classifier, where the source says so; None: its outputs decide.
        labels: Names of the classes; empty where they are not known.
        preprocessing: Preprocessing of the first input; None where the source has none.
        network: How to build the module again; None where that is not known.
        provenance: Origin of the model, for the spec.
        notes: Notes for the user.
        source_before_cast: Source before its weights were cast to a coarser type; None where they were not.
    """

    name: str
    inputs: tuple[TensorSpec, ...]
    module: nn.Module | None = None
    program: torch.export.ExportedProgram | None = None
    graph: ir.Model | None = None
    original_graph: ir.Model | None = None
    classifier: bool | None = None
    labels: tuple[str, ...] = ()
    preprocessing: Preprocessing | None = None
    network: Network | None = None
    provenance: dict[str, Any] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    source_before_cast: Source | None = None

    def __post_init__(self) -> None:
        if sum(form is not None for form in (self.module, self.program, self.graph)) != 1:
            raise ValueError(f"Source {self.name!r}: expected exactly one of module, program and graph")


def with_preprocessing(source: Source, fields: Mapping[str, str] | Preprocessing) -> Source:
    """``source`` with these fields of its preprocessing; the others stay as the source has them.

    Args:
        source: Source whose first input is (N, C, height, width), or (N, height, width, C) for ``layout``
            NHWC.
        fields: Fields of `Preprocessing` as text: ``mean`` as ``0.485,0.456,0.406``, ``scale`` as ``1/255``.
            A whole `Preprocessing` is used only where the source has none.

    Raises:
        UsageError: There is no such field, or its value is not valid.
    """
    if isinstance(fields, Preprocessing):
        return source if source.preprocessing else replace(source, preprocessing=fields)
    values = {name: _parse_field(name, text) for name, text in fields.items()}
    try:
        if source.preprocessing is not None:
            preprocessing = replace(source.preprocessing, **values)
        else:
            preprocessing = Preprocessing(**{**_defaults(source, values), **values})
    except ValueError as error:
        raise UsageError(f"--preprocessing: {error}") from error
    return replace(source, preprocessing=preprocessing)


def _defaults(source: Source, values: Mapping[str, Any]) -> dict[str, Any]:
    """Color, size and layout of the input, and a normalization that changes nothing."""
    shape = source.inputs[0].shape if source.inputs else ()
    channels_last = len(shape) == 4 and shape[1] not in (1, 3) and shape[3] in (1, 3)
    layout = values.get("layout", "NHWC" if channels_last else "NCHW")
    channels_first = layout == "NCHW"
    sides = shape[2:] if channels_first else shape[1:3]
    channels = shape[1 if channels_first else -1] if shape else 0
    if len(shape) != 4 or channels not in (1, 3):
        raise UsageError(
            f"--preprocessing: the input has shape {list(shape)}; expected an image with 1 or 3 channels"
        )
    return {
        "color": "gray" if channels == 1 else "rgb",
        "height": sides[0],
        "width": sides[1],
        "mean": (0.0,) * channels,
        "std": (1.0,) * channels,
        "layout": layout,
        **({"scale": 1.0} if source.inputs[0].dtype == "uint8" else {}),
    }


def _parse_field(name: str, text: str) -> Any:
    hints = get_type_hints(Preprocessing)
    if name not in hints:
        raise UsageError(f"--preprocessing {name}: no such field; the fields are {', '.join(hints)}")
    kind, choices = hints[name], get_args(hints[name])
    is_choice = bool(choices) and isinstance(choices[0], str)
    try:
        if kind is bool:
            return _BOOLEANS[text.lower()]
        if kind in (int, float):
            return kind(_number(text))
        if is_choice:
            return choices[choices.index(text)]
        return tuple(choices[0](_number(item)) for item in text.split(","))
    except (ValueError, KeyError, ZeroDivisionError) as error:
        expected = f"one of {', '.join(choices)}" if is_choice else getattr(kind, "__name__", kind)
        raise UsageError(f"--preprocessing {name}={text}: expected {expected}") from error


def _number(text: str) -> float:
    """Like ``0.5`` or ``1/255``."""
    dividend, _, divisor = text.partition("/")
    return float(dividend) / float(divisor or 1)
