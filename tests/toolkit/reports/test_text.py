import math

from cnntk.reports.text import amount, bytes_text, count, dims, error, percent, place, short, shorten


def test_shapes() -> None:
    assert [dims(s) for s in (["2*N", 3, None], [], None, "Nx3")] == ["2N×3×?", "scalar", "?", "Nx3"]


def test_amounts() -> None:
    assert [amount(n) for n in (0, 999, 61_706, 7.6e9, None)] == ["0", "999", "61.7 k", "7.6 G", ""]
    assert [bytes_text(n) for n in (12, 245_100, None)] == ["12 B", "245 kB", ""]
    assert [count(n) for n in (61_706, None)] == ["61,706", ""]


def test_errors() -> None:
    assert [error(e) for e in (2.44e-7, 0, math.nan, math.inf, None)] == ["2.4e-07", "0", "NaN", "NaN", "NaN"]


def test_the_middle_is_left_out() -> None:
    assert shorten("encoder.layer.11.output", 9) == "enco…tput"
    assert shorten("short", 9) == "short"


def test_three_digits_that_tell_something() -> None:
    numbers = (0.0, 0.000461, 0.05, 0.9996, 1, 12.34, 123.4, 999.7, 19_083, -0.00138)
    told = ["0.00", "0.000461", "0.0500", "1.00", "1.00", "12.3", "123", "1,000", "19,100", "-0.00138"]
    assert [short(number) for number in numbers] == told


def test_shares() -> None:
    assert [percent(s) for s in (0, 0.0004, 0.004, 0.0994, 0.0996, 0.256, 1, -0.12)] == [
        "0 %", "0.0 %", "0.4 %", "9.9 %", "10 %", "26 %", "100 %", "-12 %",
    ]  # fmt: skip


def test_places_are_short() -> None:
    assert [place(p) for p in (12, 12.0, 12.345, -0.5)] == ["12", "12", "12.3", "-0.5"]
