"""JSON of the frozen dataclasses that cnntk returns and stores.

`as_json` writes it, `decode` reads it strictly.

A dataclass becomes an object of its fields in their order, followed by the properties named in its class
attribute ``JSON_PROPERTIES``. A field declared with ``field(metadata=NOT_IN_JSON)`` is left out.
"""

from __future__ import annotations

import functools
import math
import reprlib
import sys
import types
import typing
from collections.abc import Callable, Mapping, Sequence, Set
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


def decode(kind: Any, value: Any, path: str) -> Any:
    """Converts JSON data to the annotated type ``kind``: the inverse of `as_json`.

    Args:
        kind: Dataclass or ``TypedDict`` with annotations as text, or an annotation: unions, literals, tuples,
            mappings, plain types. Keys that a ``TypedDict`` lacks stay as they are.
        value: JSON data from `json.loads`.
        path: Name of the value in messages, like ``spec`` or ``baseline``.

    Raises:
        ValueError: A field is missing, unknown or of the wrong type; the message names it by its path.
    """
    try:
        return _decoder(kind)(value)
    except _Mismatch as mismatch:
        raise ValueError(f"{path}{''.join(reversed(mismatch.path))} {mismatch.problem}") from None


def brief(value: Any) -> str:
    """The value for a message: short, on one line, without control characters."""
    return ascii(text) if not (text := reprlib.repr(value)).isprintable() else text


class _Mismatch(Exception):  # noqa: N818 - becomes a ValueError with the whole path
    """A value of another type, and the path to it, innermost step first."""

    def __init__(self, problem: str, *path: str) -> None:
        super().__init__(problem)
        self.problem, self.path = problem, list(path)


Decoder = Callable[[Any], Any]


@functools.cache
def _decoder(kind: Any) -> Decoder:
    """The function that decodes values of one type, put together once: a spec has a thousand values."""
    origin, args = typing.get_origin(kind), typing.get_args(kind)
    if kind is Any:
        return _unchanged
    if is_dataclass(kind):
        return _dataclass_decoder(kind)
    if typing.is_typeddict(kind):
        return _typed_dict_decoder(kind)
    if origin is Literal:
        return functools.partial(_literal, frozenset(args))
    if origin in (typing.Union, types.UnionType):
        return _union_decoder(args)
    if origin in (tuple, Sequence):
        same = len(args) == 1 or args[1] is Ellipsis
        return functools.partial(_items, args[0]) if same else functools.partial(_pair, args)
    if origin in (dict, Mapping):
        return functools.partial(_values, args[1])
    return functools.partial(_plain, kind)


def _unchanged(value: Any) -> Any:
    return value


def _plain(kind: type, value: Any) -> Any:
    if type(value) is kind:
        return value
    if kind is float and type(value) is int:
        return float(value)
    raise _Mismatch(f"is {brief(value)}, not {kind.__name__}")


def _literal(options: frozenset[Any], value: Any) -> Any:
    if type(value) is str and value in options:
        return value
    raise _Mismatch(f"is {brief(value)}, expected one of {', '.join(sorted(options))}")


def _union_decoder(kinds: tuple[Any, ...]) -> Decoder:
    decoders = [_decoder(kind) for kind in kinds if kind is not types.NoneType]
    optional = len(decoders) < len(kinds)

    def decode_union(value: Any) -> Any:
        if value is None and optional:
            return None
        first: _Mismatch | None = None
        for decoder in decoders:
            try:
                return decoder(value)
            except _Mismatch as mismatch:
                first = first or mismatch
        raise first or _Mismatch(f"is {brief(value)}, not null")

    return decode_union


def _items(kind: Any, value: Any) -> tuple[Any, ...]:
    """``tuple[X, ...]`` or ``Sequence[X]``, of one type."""
    if type(value) is not list:
        raise _Mismatch(f"is {brief(value)}, not a list")
    if all(type(item) is kind for item in value):
        return tuple(value)
    decoder, items = _decoder(kind), []
    try:
        for item in value:
            items.append(decoder(item))
    except _Mismatch as mismatch:
        mismatch.path.append(f"[{len(items)}]")
        raise
    return tuple(items)


def _pair(kinds: tuple[Any, ...], value: Any) -> tuple[Any, ...]:
    """``tuple[X, Y]``, item by item."""
    if type(value) is not list:
        raise _Mismatch(f"is {brief(value)}, not a list")
    if len(value) != len(kinds):
        raise _Mismatch(f"has {len(value)} items, not {len(kinds)}")
    return tuple(_items(kind, [item])[0] for kind, item in zip(kinds, value, strict=True))


def _values(kind: Any, value: Any) -> dict[str, Any]:
    if type(value) is not dict:
        raise _Mismatch(f"is {brief(value)}, not an object")
    if kind is Any or all(type(item) is kind for item in value.values()):
        return value
    decoder, key, decoded = _decoder(kind), "", {}
    try:
        for key, item in value.items():
            decoded[key] = decoder(item)
    except _Mismatch as mismatch:
        mismatch.path.append(_step(key))
        raise
    return decoded


def _dataclass_decoder(kind: Any) -> Decoder:
    by_name = {f.name: f for f in fields(kind) if f.metadata.get("json", True)}
    kinds = _annotations(kind, {f.name: f.type for f in by_name.values()})
    required = {n for n, f in by_name.items() if f.default is MISSING and f.default_factory is MISSING}
    ignored = frozenset(getattr(kind, "JSON_PROPERTIES", ()))
    decode_fields = _fields_decoder(kinds, required)

    def decode_dataclass(value: Any) -> Any:
        if type(value) is not dict:
            raise _Mismatch(f"is {brief(value)}, not an object")
        if ignored:
            value = {name: item for name, item in value.items() if name not in ignored}
        decoded = decode_fields(value)
        if len(decoded) < len(value):
            unknown = next(name for name in value if name not in decoded)
            raise _Mismatch("is not a field that this version knows", _step(unknown))
        try:
            return kind(**decoded)
        except ValueError as error:  # what __post_init__ refuses
            raise _Mismatch(f"is not valid: {error}") from error

    return decode_dataclass


def _typed_dict_decoder(kind: Any) -> Decoder:
    decode_fields = _fields_decoder(_annotations(kind, kind.__annotations__), kind.__required_keys__)

    def decode_typed_dict(value: Any) -> Any:
        if type(value) is not dict:
            raise _Mismatch(f"is {brief(value)}, not an object")
        return {**value, **decode_fields(value)}

    return decode_typed_dict


def _fields_decoder(kinds: Mapping[str, Any], required: Set[str]) -> Decoder:
    """Decodes those fields of an object that are known."""
    decoders = {name: (kind, _decoder(kind)) for name, kind in kinds.items()}

    def decode_fields(value: dict[str, Any]) -> dict[str, Any]:
        name, decoded = "", {}
        try:
            for name, (kind, decoder) in decoders.items():
                if name in value:
                    item = value[name]
                    decoded[name] = item if type(item) is kind else decoder(item)
                elif name in required:
                    raise _Mismatch("is missing")
        except _Mismatch as mismatch:
            mismatch.path.append(f".{name}")
            raise
        return decoded

    return decode_fields


def _annotations(kind: type, annotations: Mapping[str, Any]) -> dict[str, Any]:
    """The types that annotations stand for: typing.get_type_hints takes 15 times as long, 3 ms for a spec."""
    texts = {name: getattr(a, "__forward_arg__", a) for name, a in annotations.items()}
    code = "".join(f"{text}," for text in texts.values() if isinstance(text, str))
    types_of_texts = iter(eval(f"({code})", vars(sys.modules[kind.__module__])))
    return {name: next(types_of_texts) if isinstance(text, str) else text for name, text in texts.items()}


def _step(key: str) -> str:
    """A key of an object in a path; whoever wrote the file chose it."""
    return f".{key}" if len(key) < 100 and key.isprintable() else f"[{brief(key)}]"
