"""Answers are compared as arrays here; `test_opponents` has the files that give them."""

from __future__ import annotations

import numpy as np
import pytest

from cnntk.benchmark.opponent import ALIKE, Arrays, Opponent, compared, first_line, in_order
from cnntk.runtime.errors import UsageError

OURS = {"logits": np.array([[0.0, 4.0], [2.0, 1.0]])}


def answering(answer: Arrays) -> Opponent:
    return compared(Opponent("other", lambda: answer), OURS)


@pytest.mark.parametrize(
    ("factor", "alike"), [(1.0, True), (1 + 0.9 * ALIKE, True), (1 + 1.1 * ALIKE, False)]
)
def test_alike_up_to_rounding(factor: float, alike: bool) -> None:
    assert answering({"logits": OURS["logits"] * factor}).alike is alike


def test_how_far_apart_and_how_many_agree() -> None:
    found = answering({"logits": np.array([[0.0, 4.0], [1.0, 2.0]])})
    assert (found.apart, found.agree) == (0.25, 0.5)
    assert found.note == "answers differ by 0.25 of the largest; 50% of the inputs have the same best"


@pytest.mark.parametrize("odd", [np.nan, np.inf])
def test_answers_that_are_not_finite_are_not_alike(odd: float) -> None:
    found = answering({"logits": np.array([[0.0, odd], [2.0, 1.0]])})
    assert not found.alike
    assert found.apart == float("inf")
    assert found.to_json()["apart"] is None
    assert answering(OURS).to_json()["apart"] == 0


def test_another_name_is_compared_with_the_nearest_of_its_shape() -> None:
    assert answering({"other": OURS["logits"]}).apart == 0
    assert answering({"other": OURS["logits"][:1]}).apart is None


def test_who_cannot_be_had_is_left_as_it_is() -> None:
    absent = Opponent("other", None, "not installed")
    assert compared(absent, OURS) is absent
    assert not absent.to_json()["runs"]


def test_inputs_by_name_or_by_order() -> None:
    given = {"a": np.zeros(1), "b": np.ones(1)}
    assert list(in_order(given, ["b", "a"], "other")) == ["b", "a"]
    assert in_order(given, ["x", "y"], "other") == {"x": given["a"], "y": given["b"]}
    with pytest.raises(UsageError, match="other: takes 1 inputs, not 2"):
        in_order(given, ["a"], "other")


def test_the_first_line_that_says_something() -> None:
    assert first_line(ValueError("\n  what is wrong \nwhere")) == "what is wrong"
    assert first_line(ValueError()) == "ValueError"
    assert len(first_line(ValueError("x" * 999))) == 200
