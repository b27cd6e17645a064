"""Tables, words and rounds of the benchmarks."""

from types import ModuleType

import pytest


@pytest.mark.parametrize(
    ("ms", "text"),
    [(0.0783, "78.3 µs"), (0.9999, "1,000 µs"), (12, "12.0 ms"), (999, "999 ms"), (3210, "3.21 s")],
)
def test_durations_have_a_unit_that_fits(common: ModuleType, ms: float, text: str) -> None:
    assert common.duration(ms) == text


def test_a_row_stands_for_the_second(common: ModuleType) -> None:
    result = common.paired([2.0] * 8, [1.0] * 8)
    assert common.row("ours", "theirs", result) == (
        "ours", "1.00 ms", "theirs", "2.00 ms", "2.000 [2.000, 2.000]", "faster",
    )  # fmt: skip


def test_the_slower_one_is_called_so(common: ModuleType) -> None:
    assert common.row("ours", "theirs", common.paired([1.0] * 8, [2.0] * 8))[-1] == "slower"


def test_few_rounds_have_no_word(common: ModuleType) -> None:
    assert common.row("ours", "theirs", common.paired([2.0] * 5, [1.0] * 5))[-1] == "too few rounds"


def test_every_other_round_goes_in_the_other_order(common: ModuleType) -> None:
    order: list[str] = []
    result = common.in_turn({name: lambda name=name: order.append(name) or len(order) for name in "ab"}, 2)
    assert order == ["a", "b", "b", "a"]
    assert result == {"a": [1, 4], "b": [2, 3]}


def test_a_table_is_markdown_with_numbers_on_the_right(common: ModuleType) -> None:
    assert common.table_lines([("lenet", "3 MB", "+2 MB")], ("network", "size", "more")) == [
        "| network | size | more |",
        "| --- | --: | --: |",
        "| lenet | 3 MB | +2 MB |",
    ]
