"""A `Record` behaves like a frozen dataclass."""

import copy
import pickle
from dataclasses import FrozenInstanceError, asdict, dataclass, field, fields, is_dataclass, replace
from typing import Any

import pytest

from cnntk.runtime.record import Record


class Point(Record):
    """A point."""

    x: int
    y: int = 0
    tags: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.x < 0:
            raise ValueError("x")


class Other(Record):
    """Another class with the same fields."""

    x: int
    y: int = 0
    tags: dict[str, Any] = field(default_factory=dict)


class Pair(Record):
    """Two values."""

    first: Any
    second: Any = None


@dataclass(frozen=True)
class Reference:
    first: Any
    second: Any = None


def test_it_is_a_dataclass() -> None:
    point = Point(1, tags={"a": 2})
    assert is_dataclass(point)
    assert [each.name for each in fields(point)] == ["x", "y", "tags"]
    assert asdict(point) == {"x": 1, "y": 0, "tags": {"a": 2}}
    assert replace(point, y=3) == Point(1, 3, {"a": 2})
    assert Point(1).tags is not Point(1).tags
    with pytest.raises(TypeError, match="missing 1 required positional argument: 'x'"):
        Point()  # type: ignore[call-arg]
    with pytest.raises(ValueError, match="x"):
        replace(point, x=-1)


@pytest.mark.parametrize("name", ["x", "z"])
def test_it_does_not_change(name: str) -> None:
    point = Point(1)
    with pytest.raises(FrozenInstanceError, match=f"cannot assign to field '{name}'"):
        setattr(point, name, 2)
    with pytest.raises(FrozenInstanceError, match=f"cannot delete field '{name}'"):
        delattr(point, name)
    assert point == Point(1)


def test_it_equals_only_its_class_with_equal_values() -> None:
    assert Point(1) == Point(1, 0, {}) != Point(2)
    assert Point(1) != Other(1)
    assert Point(1) != (1, 0, {})
    assert len({Pair(1, "a"), Pair(1, "a"), Pair(2, "a")}) == 2
    with pytest.raises(TypeError, match="unhashable type: 'dict'"):
        hash(Point(1))


def test_it_shows_its_fields() -> None:
    loop: list[Any] = []
    pair, reference = Pair(1, loop), Reference(1, loop)
    loop.append(pair)
    assert repr(pair) == "Pair(first=1, second=[...])"
    loop[0] = 2
    assert repr(pair) == repr(reference).replace("Reference", "Pair")


@pytest.mark.parametrize("copied", [copy.copy, copy.deepcopy, lambda x: pickle.loads(pickle.dumps(x))])
def test_copies_are_equal_and_frozen(copied: Any) -> None:
    point = copied(Point(1, 2, {"a": [3]}))
    assert point == Point(1, 2, {"a": [3]})
    with pytest.raises(FrozenInstanceError):
        point.x = 2
