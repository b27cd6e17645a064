import math

from cnntk.runtime.sections import (
    amount,
    dims,
    error_text,
    number,
    percent,
    shorten,
    size_text,
    speed_interval,
    speed_text,
)


def test_shapes() -> None:
    assert [dims(s) for s in (["2*N", 3, None], [], None)] == ["2N×3×?", "scalar", "?"]


def test_amounts() -> None:
    assert [amount(n) for n in (0, 999, 61_706, 7.6e9)] == ["0", "999", "61.7 k", "7.6 G"]
    sizes = [size_text(n) for n in (12, 999, 245_100, 1.5e9, 2e13)]
    assert sizes == ["12 B", "999 B", "245.1 kB", "1.5 GB", "20000.0 GB"]


def test_errors() -> None:
    values = (2.44e-7, 0, math.nan, math.inf, None)
    assert [error_text(e) for e in values] == ["2.4e-07", "0", "NaN", "NaN", "NaN"]


def test_the_middle_is_left_out() -> None:
    assert shorten("encoder.layer.11.output", 9) == "enco…tput"
    assert shorten("short", 9) == "short"


def test_small_times_keep_their_digits() -> None:
    values = (0.0472, 0.000831, 0.0000123, 1.5, 12.34, 123.4, 38_703.8, 9.999, 0.0, -0.0472, float("inf"))
    texts = ["0.0472", "0.000831", "0.000012", "1.50", "12.3", "123", "38,704", "10.0", "0", "-0.0472", "inf"]
    assert [number(value) for value in values] == texts


def test_shares() -> None:
    assert [percent(s) for s in (0, 0.004, 0.26, 1.0)] == ["0 %", "0.4 %", "26 %", "100 %"]


def test_a_ratio_names_its_subject_and_direction() -> None:
    assert (
        speed_text(1 / 1.9, "float32", 0.091, 0.047) == "1.90x slower than float32 (0.0910 ms vs 0.0470 ms)"
    )
    assert speed_text(2.1, "OpenVINO") == "2.10x faster than OpenVINO"


def test_an_interval_has_the_direction_of_its_ratio() -> None:
    text = speed_text(1 / 1.3, "float32", 0.091, 0.07, ends=(1 / 1.35, 1 / 1.27))
    assert text == "1.30x slower than float32 (95 % interval 1.27x to 1.35x, 0.0910 ms vs 0.0700 ms)"
    assert (
        speed_text(2.1, "float32", ends=(2, 2.2))
        == "2.10x faster than float32 (95 % interval 2.00x to 2.20x)"
    )
    assert speed_interval(0.98, 0.8, 1.25) == "95 % interval 0.800x to 1.25x"
