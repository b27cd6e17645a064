from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from cnntk.models.reference import output_size, smallest_input
from cnntk.models.reference.shapes import pair

drawn = settings(deadline=None, max_examples=80, derandomize=True)
windows = {
    "kernel": st.integers(1, 5),
    "stride": st.integers(1, 4),
    "padding": st.integers(0, 3),
    "dilation": st.integers(1, 3),
}


def torch_size(size: int, **window: int) -> int:
    conv = torch.nn.Conv1d(1, 1, window.pop("kernel"), **window, device="meta")
    return conv(torch.empty(1, 1, size, device="meta")).shape[-1]


def size_or_none(size: int, **window: int) -> int:
    try:
        return output_size(size, **window)
    except ValueError:
        return 0


def test_the_example_of_the_notes() -> None:
    assert (output_size(8, 3, 3, 0), output_size(8, 5, 4, 1)) == (2, 2)


@drawn
@given(size=st.integers(1, 40), **windows)
def test_output_size_is_torchs(size: int, **window: int) -> None:
    try:
        actual = output_size(size, **window)
    except ValueError:
        with pytest.raises(RuntimeError):
            torch_size(size, **window)
    else:
        assert actual == torch_size(size, **window)


@drawn
@given(size=st.integers(2, 40), padding=st.integers(0, 3))
def test_a_formula_with_the_padding_counted_once_differs(size: int, padding: int) -> None:
    once = (size + padding - 2) // 1 + 1
    assert (once == torch_size(size, kernel=2, stride=1, padding=padding, dilation=1)) == (padding == 0)


@drawn
@given(wanted=st.integers(1, 20), **windows)
def test_smallest_input_is_the_smallest(wanted: int, **window: int) -> None:
    least = smallest_input(wanted, **window)
    assert output_size(least, **window) >= wanted
    assert least == 1 or size_or_none(least - 1, **window) < wanted


def test_the_message_names_every_value() -> None:
    with pytest.raises(ValueError, match="size=4, kernel=3, stride=2, padding=0, dilation=2"):
        output_size(4, 3, 2, 0, 2)


@pytest.mark.parametrize("wrong", [{"kernel": 0}, {"stride": 0}, {"padding": -1}, {"dilation": 0}], ids=str)
@pytest.mark.parametrize("formula", [output_size, smallest_input])
def test_an_argument_out_of_range_is_named(formula: object, wrong: dict[str, int]) -> None:
    ((name, value),) = wrong.items()
    with pytest.raises(ValueError, match=f"{name}={value} must be at least"):
        formula(8, **{"kernel": 2, **wrong})  # type: ignore[operator]


@pytest.mark.parametrize("size", [0, -1])
def test_no_size_no_pixel(size: int) -> None:
    with pytest.raises(ValueError, match=f"size={size}"):
        output_size(size, 1, padding=5)
    with pytest.raises(ValueError, match=f"size={size}"):
        smallest_input(size, 1)


def test_pair() -> None:
    assert (pair(3), pair((3, 5)), pair([3, 5])) == ((3, 3), (3, 5), (3, 5))
    with pytest.raises(ValueError, match="height, width"):
        pair((1, 2, 3))
