from __future__ import annotations

import pytest

from cnntk.benchmark.layers.peaks import Peaks
from cnntk.benchmark.layers.roofline import Bound, bound_of
from cnntk.benchmark.layers.work import Work

PEAKS = Peaks(float32_gmacs=100, int8_gmacs=400, memory_gb_s=20, threads=2, cache_bytes=32_000_000)
BIG, SMALL = 200_000_000, 1_000_000


@pytest.mark.parametrize(
    ("work", "time_ms", "model_bytes", "expected"),
    [
        pytest.param(Work(10**8, "float32", 10**6, 10**6), 2.0, BIG, ("compute", 0.5), id="convolution"),
        pytest.param(Work(10**8, "int8", 10**6, 10**6), 0.5, BIG, ("compute", 0.5), id="in int8"),
        pytest.param(Work(10**7, "float32", 4 * 10**7, 10**4), 4.0, BIG, ("memory", 0.5), id="dense"),
        pytest.param(Work(10**6, "float32", 10**6, 10**4), 0.02, SMALL, ("compute", 0.5), id="weights fit"),
        pytest.param(Work(0, "", 0, 4 * 10**7), 4.0, SMALL, ("memory", 0.5), id="pooling of much"),
        pytest.param(Work(0, "", 0, 10**6), 0.01, BIG, ("in cache", None), id="pooling of little"),
        pytest.param(Work(0, "", 16, 10**6), 0.01, BIG, ("in cache", None), id="axes are no weights"),
        pytest.param(Work(10**6, "float32", 3 * 10**7, 0), 0.5, 4 * 10**7, ("compute", 0.02), id="kept"),
        pytest.param(Work(10**6, "float32", 4 * 10**7, 0), 0.5, BIG, ("memory", 4.0), id="can't be kept"),
        pytest.param(
            Work(0, "", 0, 4 * 10**7), 0.5, SMALL, ("in cache", None), id="pooling of what was kept"
        ),
        pytest.param(Work(0, "", 0, 10**8), 0.5, SMALL, ("memory", 10.0), id="pooling of what can't be"),
        pytest.param(Work(10**8, "float16", 10**6, 10**6), 2.0, BIG, (None, None), id="no such peak"),
        pytest.param(Work(0, "", 0, 0), 0.001, BIG, (None, None), id="nothing"),
    ],
)
def test_what_binds_a_layer(
    work: Work, time_ms: float, model_bytes: int, expected: tuple[str | None, float | None]
) -> None:
    found = bound_of(work, time_ms, model_bytes, PEAKS)
    assert found.limit == expected[0]
    assert found.distance == (expected[1] if expected[1] is None else pytest.approx(expected[1]))


def test_a_layer_that_took_no_time() -> None:
    assert bound_of(Work(10**8, "float32", 1, 1), 0.0, BIG, PEAKS) == Bound("compute", None)


def test_caches_of_unknown_size_hold_nothing() -> None:
    unknown = Peaks(100, 400, 20, 2, None)
    assert bound_of(Work(0, "", 0, 10**6), 0.1, SMALL, unknown) == Bound("memory", pytest.approx(0.5))
