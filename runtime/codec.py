"""JSON of the frozen dataclasses that cnntk returns and stores.

`as_json` writes it, `decode` reads it strictly.

A dataclass becomes an object of its fields in their order, followed by the properties named in its class
attribute ``JSON_PROPERTIES``. A field declared with ``field(metadata=NOT_IN_JSON)`` is left out.
"""

from __future__ import annotations

import functools
import math
import types
import typing
from collections.abc import Mapping, Sequence, Set
from dataclasses import MISSING, fields, is_dataclass
from os import PathLike, fspath
from typing import Any, Final, Literal

NOT_IN_JSON: Final[Mapping[str, bool]] = types.MappingProxyType({"json": False})
"""Field metadata: `as_json` leaves the field out."""


def as_json(value: Any) -> Any:
    """Returns ``value`` as JSON data: dicts, lists, text, finite numbers, booleans and None.

    Args:
        value: Dataclasses, mappings with text or number keys, sequences, sets (sorted), paths, numpy arrays
            and scalars, and plain values, nested at will. NaN and infinities become None: JSON has none.

    Raises:
        TypeError: A value of another type.
    """
    if value is None or isinstance(value, str | bool | int):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if is_dataclass(value) and not isinstance(value, type):
        names = [f.name for f in fields(value) if f.metadata.get("json", True)]
        names += getattr(value, "JSON_PROPERTIES", ())
        return {name: as_json(getattr(value, name)) for name in names}
    if isinstance(value, Mapping):
        return {str(key): as_json(item) for key, item in value.items()}
    if isinstance(value, Set):
        return [as_json(item) for item in sorted(value)]
    if isinstance(value, Sequence):
        return [as_json(item) for item in value]
    if isinstance(value, PathLike):
        return fspath(value)
    if hasattr(value, "tolist"):  # numpy, which this module does not import
        return as_json(value.tolist())
    raise TypeError(f"{type(value).__name__} has no JSON form")


_PLAIN = frozenset((str, int, bool, float))


def decode(kind: Any, value: Any, path: str) -> Any:
    """Converts JSON data to the annotated type ``kind``: the inverse of `as_json`.

    Args:
        kind: Dataclass, or the annotation of a field: unions, literals, tuples, mappings, plain types.
        value: JSON data from `json.loads`.
        path: Name of the value in messages, like ``spec`` or ``baseline``.

    Raises:
        ValueError: A field is missing, unknown or of the wrong type; the message names it by its path.
    """
    if kind is Any or (type(value) is kind and kind in _PLAIN):
        return value
    origin, args = _origin_and_args(kind)
    if is_dataclass(kind) and isinstance(value, dict):
        return _decode_dataclass(kind, value, path)
    if origin is Literal and value in args:
        return value
    if origin in (typing.Union, types.UnionType):
        return _decode_union(args, value, path)
    if origin in (tuple, Sequence) and isinstance(value, list):
        return _decode_sequence(args, value, path)
    if origin in (dict, Mapping) and isinstance(value, dict):
        return {key: decode(args[1], item, f"{path}.{key}") for key, item in value.items()}
    if kind is float and isinstance(value, int | float) and not isinstance(value, bool):
        return float(value)
    if isinstance(kind, type) and not is_dataclass(kind) and type(value) is kind:
        return value
    raise ValueError(f"{path} is {value!r}, not {getattr(kind, '__name__', kind)}")


def _decode_sequence(args: tuple[Any, ...], value: list[Any], path: str) -> tuple[Any, ...]:
    """``tuple[X, ...]`` or ``Sequence[X]`` of one type, or ``tuple[X, Y]`` item by item."""
    if len(args) == 1 or args[1] is Ellipsis:
        if args[0] in _PLAIN and all(type(item) is args[0] for item in value):
            return tuple(value)
        args = (args[0],) * len(value)
    if len(args) != len(value):
        raise ValueError(f"{path} has {len(value)} items, not {len(args)}")
    return tuple(
        decode(kind, item, f"{path}[{i}]") for i, (kind, item) in enumerate(zip(args, value, strict=True))
    )


def _decode_union(kinds: tuple[Any, ...], value: Any, path: str) -> Any:
    if value is None and type(None) in kinds:
        return None
    errors = []
    for kind in (k for k in kinds if k is not type(None)):
        try:
            return decode(kind, value, path)
        except ValueError as error:
            errors.append(str(error))
    raise ValueError(errors[0])


def _decode_dataclass(kind: Any, value: dict[str, Any], path: str) -> Any:
    hints = _hints(kind)
    by_name = {f.name: f for f in fields(kind) if f.metadata.get("json", True)}
    value = {name: item for name, item in value.items() if name not in getattr(kind, "JSON_PROPERTIES", ())}
    if unknown := sorted(value.keys() - by_name.keys()):
        raise ValueError(f"{path}.{unknown[0]} is not a field that this version knows")
    required = {n for n, f in by_name.items() if f.default is MISSING and f.default_factory is MISSING}
    if missing := sorted(required - value.keys()):
        raise ValueError(f"{path}.{missing[0]} is missing")
    return kind(**{name: decode(hints[name], item, f"{path}.{name}") for name, item in value.items()})


@functools.cache
def _origin_and_args(kind: Any) -> tuple[Any, tuple[Any, ...]]:
    return typing.get_origin(kind), typing.get_args(kind)


@functools.cache
def _hints(kind: Any) -> dict[str, Any]:
    return typing.get_type_hints(kind)
