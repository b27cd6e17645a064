"""How images become a network's input, in the user's words: for sources that don't say it."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any, get_args, get_type_hints

from cnntk.exporters.source import Source
from cnntk.runtime.artifact.spec import Preprocessing
from cnntk.runtime.errors import UsageError

__all__ = ["described"]

_WORDS = {"true": True, "false": False}


def described(source: Source, fields: Mapping[str, str] | Preprocessing) -> Source:
    """``source`` with preprocessing of these fields; the others are as it says, or `Preprocessing`'s own.

    Args:
        source: whose first input is (N, C, height, width), or (N, height, width, C) for ``layout`` NHWC.
        fields: of `Preprocessing`, as text: ``mean`` as ``0.485,0.456,0.406``, ``scale`` as ``1/255``;
            or all of it, which is taken where the source says nothing.

    Raises:
        UsageError: there is no such field, or its value does not fit.
    """
    if isinstance(fields, Preprocessing):
        return source if source.preprocessing else dataclasses.replace(source, preprocessing=fields)
    values = {name: _parsed(name, text) for name, text in fields.items()}
    base = source.preprocessing
    try:
        if base is not None:
            made = dataclasses.replace(base, **values)
        else:
            made = Preprocessing(**{**_usual(source, values), **values})
    except ValueError as error:
        raise UsageError(f"--preprocessing: {error}") from error
    return dataclasses.replace(source, preprocessing=made)


def _usual(source: Source, values: Mapping[str, Any]) -> dict[str, Any]:
    """What the input's shape says, and a mean and deviation that do nothing."""
    shape = source.inputs[0].shape if source.inputs else ()
    sides = shape[2:] if values.get("layout", "NCHW") == "NCHW" else shape[1:3]
    channels = shape[1] if values.get("layout", "NCHW") == "NCHW" else shape[-1]
    if len(shape) != 4 or channels not in (1, 3):
        raise UsageError(f"--preprocessing: the input is {list(shape)}, and no image becomes that")
    return {
        "color": "gray" if channels == 1 else "rgb",
        "height": sides[0],
        "width": sides[1],
        "mean": (0.0,) * channels,
        "std": (1.0,) * channels,
    }


def _parsed(name: str, text: str) -> Any:
    hints = get_type_hints(Preprocessing)
    if name not in hints:
        raise UsageError(f"--preprocessing {name}: no such field; the fields are {', '.join(hints)}")
    kind, choices = hints[name], get_args(hints[name])
    try:
        if kind is bool:
            return _WORDS[text.lower()]
        if kind in (int, float):
            return kind(_number(text))
        if choices and isinstance(choices[0], str):
            return choices[choices.index(text)]
        return tuple(choices[0](_number(part)) for part in text.split(","))
    except (ValueError, KeyError, ZeroDivisionError) as error:
        wanted = "one of " + ", ".join(map(str, choices)) if choices and isinstance(choices[0], str) else kind
        told = getattr(wanted, "__name__", wanted)
        raise UsageError(f"--preprocessing {name}={text}: expected {told}") from error


def _number(text: str) -> float:
    """Like ``0.5`` or ``1/255``."""
    above, _, below = text.partition("/")
    return float(above) / float(below or 1)
