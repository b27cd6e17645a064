import gc
import subprocess
import sys
import threading
import weakref
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from cnntk.runtime.errors import InferenceTimeout
from cnntk.runtime.session.time_limit import TimedCalls


def workers() -> int:
    return [t.name for t in threading.enumerate()].count("cnntk-timed")


def never() -> None:
    raise AssertionError("was canceled")


def test_a_function_in_time_is_not_canceled() -> None:
    calls = TimedCalls()
    assert [calls.call(lambda i=i: i, 60, "a call", never) for i in range(100)] == list(range(100))
    with pytest.raises(KeyError, match="of the function"):
        calls.call(lambda: {}["of the function"], 60, "a call", never)


@pytest.mark.parametrize("seconds", [0.02, 0])
def test_a_function_that_ends_when_canceled_returns(seconds: float) -> None:
    canceled = threading.Event()
    assert TimedCalls().call(lambda: canceled.wait(60), seconds, "a call", canceled.set)
    assert canceled.is_set()


def test_one_that_goes_on_is_left_and_others_are_refused_until_it_ends() -> None:
    calls, end, ended = TimedCalls(), threading.Event(), threading.Event()

    def stubborn() -> None:
        end.wait(60)
        ended.set()

    with pytest.raises(InferenceTimeout, match=r"^a call exceeded its limit of 0\.01 s, and goes on"):
        calls.call(stubborn, 0.01, "a call", lambda: None)
    with pytest.raises(InferenceTimeout, match=r"^a call is refused: one that exceeded its time limit"):
        calls.call(never, 60, "a call", never)
    assert TimedCalls().call(lambda: 1, 60, "a call", never) == 1
    end.set()
    assert ended.wait(60)
    while calls._overrun.results.empty():
        pass
    assert calls.call(lambda: 2, 60, "a call", never) == 2
    assert calls._overrun is None, "its result is not held"


def test_threads_are_used_again_and_hold_nothing() -> None:
    calls, before = TimedCalls(), workers()
    for _ in range(50):
        array = np.zeros(3)
        calls.call(lambda array=array: array, 60, "a call", never)
    reference = weakref.ref(array)
    del array
    calls.call(lambda: None, 60, "a call", never)
    gc.collect()
    assert reference() is None
    assert workers() <= before + 1
    barrier = threading.Barrier(8)
    with ThreadPoolExecutor(8) as pool:
        assert len(list(pool.map(lambda _: calls.call(barrier.wait, 60, "a call", never), range(8)))) == 8


def test_ctrl_c_does_not_wait_for_the_function() -> None:
    code = """
import os, signal, threading, time
from cnntk.runtime.session.time_limit import TimedCalls
threading.Timer(0.2, os.kill, [os.getpid(), signal.SIGINT]).start()
canceled = []
try:
    TimedCalls().call(lambda: time.sleep(60), 3600, "a call", lambda: canceled.append(True))
except KeyboardInterrupt:
    print(canceled)
"""
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=50, check=True)
    assert run.stdout == "[True]\n"
