import threading
import time
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace

import pytest

from cnntk.runtime.session import _watchdog as watchdog
from cnntk.runtime.session._watchdog import deadline


def run_options() -> SimpleNamespace:
    return SimpleNamespace(terminate=False)


def wait_for(condition: object, seconds: float = 10.0) -> bool:
    end = time.monotonic() + seconds
    while not condition() and time.monotonic() < end:
        time.sleep(0.005)
    return bool(condition())


def test_only_the_block_that_is_late_is_ended() -> None:
    late, early = run_options(), run_options()
    with deadline(early, 60):
        pass
    with deadline(late, 0.02), deadline(run_options(), 60):
        assert wait_for(lambda: late.terminate)
    assert not early.terminate


def test_an_earlier_deadline_does_not_wait_for_a_later_one() -> None:
    far, near = run_options(), run_options()
    with deadline(far, 60), deadline(near, 0.02):
        assert wait_for(lambda: near.terminate)
    assert not far.terminate


def test_finished_runs_are_released() -> None:
    for _ in range(5000):
        with deadline(run_options(), 3600):
            pass
    assert len(watchdog._watchdog._runs) <= 2 * watchdog._CLEANUP_SIZE


def test_one_thread_watches_all() -> None:
    before = {t.name for t in threading.enumerate()} - {"cnntk-deadlines"}

    def late() -> bool:
        options = run_options()
        with deadline(options, 0.05):
            return wait_for(lambda: options.terminate)

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(lambda _: late(), range(16)))
    assert [t.name for t in threading.enumerate()].count("cnntk-deadlines") == 1
    assert {t.name for t in threading.enumerate()} - before <= {"cnntk-deadlines"}


def test_a_deadline_that_has_passed_ends_the_block_at_once() -> None:
    options = run_options()
    with deadline(options, -1):
        assert wait_for(lambda: options.terminate)


def test_an_error_in_the_block_is_not_swallowed() -> None:
    with pytest.raises(KeyError), deadline(run_options(), 60):
        raise KeyError
