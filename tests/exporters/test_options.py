from typing import Any

import pytest

from cnntk.exporters.options import parse_input
from cnntk.runtime.artifact.spec import TensorSpec
from cnntk.runtime.errors import UsageError


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("3x224x224", (3, 224, 224)),
        ("1x8x9:float16", {"input": TensorSpec("input", "float16", ("N", 1, 8, 9))}),
        ("image=3x8x8", {"image": (3, 8, 8)}),
        ("image=3x8x8, age=1", {"image": (3, 8, 8), "age": (1,)}),
        ("ids=77:int64,x=2x2", {"ids": TensorSpec("ids", "int64", ("N", 77)), "x": (2, 2)}),
    ],
)
def test_words_for_inputs(text: str, expected: Any) -> None:
    assert parse_input(text) == expected


@pytest.mark.parametrize(
    "text",
    ["224", "3x224", "3xAx4", "0x8x8", "", "3x8x8,1x8x8", "a=3x8x8,a=1", "a=", "a=3x-1", "1x2x3x4"],
)
def test_other_words_are_refused(text: str) -> None:
    with pytest.raises(UsageError, match="expected channels x height x width, like 3x224x224, or several"):
        parse_input(text)


def test_a_type_that_does_not_exist_is_refused() -> None:
    with pytest.raises(UsageError, match="unknown type 'float31'; choose one of float16,"):
        parse_input("ids=77:float31")


def test_names_of_inputs_are_as_other_tools_write_them() -> None:
    assert parse_input("input.1=3x8x8,a b/ü=1") == {"input.1": (3, 8, 8), "a b/ü": (1,)}
