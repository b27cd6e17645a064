import math

from cnntk.reports.text import amount, bytes_text, count, dims, error, shorten


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
