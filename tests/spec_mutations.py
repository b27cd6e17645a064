"""Every field of an artifact's spec with every odd value, sealed as anybody can seal a file.

A digest detects damage and not malice: whoever writes a spec writes the digest that matches it. The bytes are
put together here by hand, without the product's writer.
"""

from __future__ import annotations

import copy
import hashlib
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

__all__ = ["SpecMutation", "sealed", "spec_mutations", "split_spec"]

_DEEP = "a value that is nested 5,000 times"
_DUPLICATE = "a second value of the same name"

ODD_VALUES: tuple[Any, ...] = (
    *(None, True, False, -1, 0, 1, 10**9, 10**30, -(2**63), 1.5, 1e308),
    *(float("nan"), float("inf"), float("-inf")),
    *("", "x", "\0", "a\0b", "../x", "/etc/passwd", "C:\\x", "N", "nan", "1e999", "-1 x"),
    *("\x1b[2J\x1b[1;1H7", "\u202egnp.exe", "\ud800", "=1+1", "x" * 100_000, "1 " * 20_000),
    *([], [[]], [None], [{}], {}, {"": ""}, {"a\0": [1]}, {"name": None}),
    *([0] * 10_000, {str(i): i for i in range(2_000)}),
)
"""Values of wrong types, out of range, too large, or harmful to whoever prints or opens them."""


@dataclass(frozen=True)
class SpecMutation:
    """A changed spec.

    Attributes:
        name: What is changed, like ``preprocessing.width = '-1'``.
        spec: The spec before the change.
        path: Keys and indices that lead to the changed value.
        change: Function that changes it, called with the object or list that holds it, and its key.
    """

    name: str
    spec: dict[str, Any]
    path: tuple[str | int, ...]
    change: Callable[[Any, Any], object]

    @property
    def text(self) -> bytes:
        """JSON of the changed spec, with zeros in place of its digest."""
        changed = copy.deepcopy(self.spec)
        self.change(_at(changed, self.path[:-1]), self.path[-1])
        text = json.dumps({**changed, "digest": "0" * 64})
        text = text.replace(json.dumps(_DEEP), "[" * 5000 + "]" * 5000)
        return text.replace(_DUPLICATE, str(self.path[-1])).encode()


def split_spec(artifact: bytes) -> tuple[bytes, dict[str, Any]]:
    """Returns the bytes before the spec's entry, which ends the file, and the spec without its digest."""
    start = artifact.rindex(b'{"spec"')
    entry = _entry(artifact[start:])
    if not artifact.endswith(entry):
        raise ValueError("the spec does not end the file")
    spec = json.loads(artifact[start:])
    return artifact[: -len(entry)], {key: value for key, value in spec.items() if key != "digest"}


def sealed(prefix: bytes, text: bytes) -> bytes:
    """An artifact with this spec, whose last field is the digest that matches."""
    data = prefix + _entry(text)
    if not text.endswith(b'"digest": "' + b"0" * 64 + b'"}'):
        return data
    return data[:-66] + hashlib.sha256(data).hexdigest().encode() + b'"}'


def spec_mutations(spec: dict[str, Any]) -> Iterator[SpecMutation]:
    """Changes one value of a spec at a time; of long lists the first and the last item stand for all."""
    for path in _paths(spec):
        name = ".".join(map(str, path))
        for value in (*ODD_VALUES, _DEEP):
            yield SpecMutation(f"{name} = {_shown(value)}", spec, path, partial(_put, value))
        yield SpecMutation(f"{name} is missing", spec, path, _remove)
        yield SpecMutation(f"{name} twice", spec, path, _repeat)
        if isinstance(_at(spec, path), dict):
            yield SpecMutation(f"{name} has one more", spec, path, _extend)


def _shown(value: Any) -> str:
    text = ascii(value)
    return text if len(text) < 50 else f"{text[:40]}... ({len(text)} characters)"


def _paths(value: Any, path: tuple[str | int, ...] = ()) -> Iterator[tuple[str | int, ...]]:
    if path:
        yield path
    if isinstance(value, dict):
        for key in list(value)[:30]:
            yield from _paths(value[key], (*path, key))
    elif isinstance(value, list):
        for index in sorted({0, len(value) - 1} & set(range(len(value)))):
            yield from _paths(value[index], (*path, index))


def _at(value: Any, path: tuple[str | int, ...]) -> Any:
    for key in path:
        value = value[key]
    return value


def _put(value: Any, at: Any, key: str | int) -> None:
    at[key] = value


def _remove(at: Any, key: str | int) -> None:
    del at[key]


def _repeat(at: Any, key: str | int) -> None:
    """Adds an equal item to a list, or to an object a second field of the same name."""
    if isinstance(at, list):
        at.append(at[int(key)])
    else:
        at[_DUPLICATE] = at[key]


def _extend(at: Any, key: str | int) -> None:
    at[key]["more"] = 1


def _entry(text: bytes) -> bytes:
    """Metadata entry ``cnntk`` of an ONNX file, by the field numbers of onnx.proto."""
    return _field(14, _field(1, b"cnntk") + _field(2, text))


def _field(number: int, value: bytes) -> bytes:
    return _varint(number << 3 | 2) + _varint(len(value)) + value


def _varint(value: int) -> bytes:
    encoded = bytearray()
    while value > 127:
        encoded.append(value & 127 | 128)
        value >>= 7
    return bytes([*encoded, value])
