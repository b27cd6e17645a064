import pytest

from cnntk.exporters.shapes._dims import (
    at_batch,
    fold_runs,
    product,
    quotient,
    same,
    shape_text,
    with_batch_symbol,
)


def test_products_keep_one_symbol() -> None:
    assert product(("N", 8, 8)) == "64*N"
    assert product((2, 3)) == 6
    assert product(()) == 1
    assert product(("N", "H")) is None
    assert product(("N", None)) is None


def test_quotients() -> None:
    assert quotient("64*N", 8) == "8*N"
    assert quotient("64*N", "4*N") == 16
    assert quotient("N", 2) is None
    assert quotient(6, "N") is None


@pytest.mark.parametrize(
    ("one", "other", "verdict"),
    [(3, 3, True), (3, 4, False), ("N", "N", True), ("N", 2, False), ("N", "2*N", False), ("N", "H", None),
     (3, None, None), ("H", "H", True)],
)  # fmt: skip
def test_what_is_the_same(one: object, other: object, verdict: bool | None) -> None:
    assert same(one, other) is verdict


def test_a_batch_put_in() -> None:
    assert [at_batch(d, 3) for d in ("N", "4*N", 7, "H", None)] == [3, 12, 7, None, None]


def test_runs_fold_to_the_batch() -> None:
    assert fold_runs({1: 5, 2: 5, 8: 5}) == 5
    assert fold_runs({1: 4, 2: 8, 8: 32}) == "4*N"
    assert fold_runs({1: 4, 2: 9}) == "4|9"


def test_the_batch_gets_its_name() -> None:
    assert with_batch_symbol(("2*s77", 3, "s7", None), frozenset({"s77"})) == ("2*N", 3, "s7", None)


def test_text() -> None:
    assert [shape_text(s) for s in (("2*N", 3, None), (), None)] == ["2Nx3x?", "scalar", "?"]
