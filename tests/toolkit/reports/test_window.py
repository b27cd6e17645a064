import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from made_up_traces import lognormal

from cnntk.reports.window import window_of


def test_what_is_far_off_is_cut_and_told() -> None:
    values = lognormal(1000)
    values[[3, 500]] = 5.0, 7.0
    window = window_of(values)
    assert window.beyond == 2
    assert window.high < 2.5
    assert not window.log
    assert window.told.startswith("2 runs beyond")
    assert window.told.endswith("up to 7.00 ms")


def test_nothing_is_cut_of_quiet_runs() -> None:
    values = lognormal(1000)
    window = window_of(values)
    assert window.beyond == 0
    assert window.told == ""
    assert window.low < values.min() < values.max() < window.high


def test_two_speeds_that_are_far_apart_are_both_seen() -> None:
    window = window_of(np.array([0.05] * 90 + [4.0] * 10))
    assert window.log
    assert window.beyond == 0
    assert window.low < 0.05 < 4.0 < window.high


@given(st.lists(st.floats(0, 1e9, allow_subnormal=False), min_size=1, max_size=30))
def test_any_runs_have_a_window(values: list[float]) -> None:
    window = window_of(np.array(values))
    assert 0 <= window.low < window.high
    assert not window.log or window.low > 0
