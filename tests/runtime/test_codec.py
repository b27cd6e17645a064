"""`as_json` writes what `decode` reads; what does not fit is refused by its path."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
import pytest

from cnntk.runtime.codec import NOT_IN_JSON, as_json, decode


@dataclass(frozen=True)
class Inner:
    name: str
    kind: Literal["a", "b"] = "a"


@dataclass(frozen=True)
class Outer:
    JSON_PROPERTIES: ClassVar[tuple[str, ...]] = ("total",)
    values: tuple[float, ...]
    inner: Inner | None
    by_name: Mapping[str, Inner]
    pair: tuple[str, int] = ("x", 1)
    hidden: Any = field(default=None, metadata=NOT_IN_JSON)

    @property
    def total(self) -> float:
        return sum(self.values)


OUTER = Outer((1.0, 2.5), Inner("i"), {"k": Inner("j", "b")})


def test_what_is_written_is_read_again() -> None:
    data = json.loads(json.dumps(as_json(OUTER)))
    assert list(data) == ["values", "inner", "by_name", "pair", "total"]
    assert data["total"] == 3.5
    assert decode(Outer, data, "outer") == OUTER


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (float("nan"), None),
        (float("-inf"), None),
        (np.float32(1.5), 1.5),
        (np.array([[1, 2]]), [[1, 2]]),
        (Path("a") / "b", str(Path("a") / "b")),
        ({2, 1}, [1, 2]),
        ({1: True}, {"1": True}),
    ],
)
def test_values_become_json(value: Any, expected: Any) -> None:
    assert as_json(value) == expected


def test_other_types_are_refused() -> None:
    with pytest.raises(TypeError, match="object has no JSON form"):
        as_json({"a": object()})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"values": ["1"]}, r"outer.values\[0\] is '1', not float"),
        ({"inner": {"name": "i", "kind": "c"}}, "outer.inner.kind is 'c', expected one of a, b"),
        ({"inner": {}}, "outer.inner.name is missing"),
        ({"by_name": {"k": {"name": 1}}}, "outer.by_name.k.name is 1, not str"),
        ({"pair": ["x"]}, "outer.pair has 1 items, not 2"),
        ({"more": 1}, "outer.more is not a field that this version knows"),
        ({"hidden": 1}, "outer.hidden is not a field that this version knows"),
    ],
)
def test_what_does_not_fit_is_named_by_its_path(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        decode(Outer, {**as_json(OUTER), **change}, "outer")
