import asyncio
import gc
import multiprocessing
import operator
import os
import pickle
import subprocess
import sys
import threading
import time
import weakref
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor, wait
from contextlib import contextmanager

import numpy as np
import onnx
import onnx.parser
import pytest

from cnntk.runtime.batching.batching import BatchingEngine, BatchingStats
from cnntk.runtime.engine import Engine
from cnntk.runtime.errors import (
    EngineClosed,
    InferenceError,
    InferenceTimeout,
    InputError,
    NonFiniteOutput,
    QueueFull,
)
from cnntk.shipped import shipped_model

LONG_MS = 60_000.0
"""No test waits for it: a batch goes by size, or not at all."""
PATIENCE_S = 60.0

TABLE = """
<ir_version: 10, opset_import: ["" : 18]>
table (int64[N] index) => (float[N, 2] answer)
<float[1000, 2] rows>
{ answer = Gather <axis = 0> (rows, index) }
"""
LOG = """
<ir_version: 10, opset_import: ["" : 18]>
logs (float[N, W] x) => (float[N, W] y)
{ y = Log (x) }
"""
FIXED = """
<ir_version: 10, opset_import: ["" : 18]>
doubles (float[4, 2] x) => (float[4, 2] y)
{ y = Add (x, x) }
"""
SUM = """
<ir_version: 10, opset_import: ["" : 18]>
sums (float[N, 2] x) => (float[M] y)
{ y = ReduceSum <keepdims = 0> (x) }
"""

Arrays = dict[str, np.ndarray]


def model(text: str) -> bytes:
    return onnx.parser.parse_model(text).SerializeToString()


@pytest.fixture(scope="module")
def table() -> Engine:
    """Answers an index with a row that holds it; an index out of range makes onnxruntime fail."""
    parsed = onnx.parser.parse_model(TABLE)
    rows = np.stack([np.arange(1000), -np.arange(1000)], axis=1).astype(np.float32)
    parsed.graph.initializer.append(onnx.numpy_helper.from_array(rows, "rows"))
    return Engine(parsed.SerializeToString())


@pytest.fixture(scope="module")
def lenet() -> Engine:
    return Engine(shipped_model())


def index(number: int) -> Arrays:
    return {"index": np.array([number])}


def answers_to(number: int, answer: Arrays) -> bool:
    return answer["answer"].tolist() == [[number, -number]]


@contextmanager
def busy(batching: BatchingEngine) -> Iterator[None]:
    """Keeps the only worker of an engine with batches of two in a callback."""
    entered, leave = threading.Event(), threading.Event()

    def hold(_: object) -> None:
        entered.set()
        leave.wait(PATIENCE_S)

    batching.submit(index(0)).add_done_callback(hold)
    batching.submit(index(0))
    assert entered.wait(PATIENCE_S)
    try:
        yield
    finally:
        leave.set()


def pairs(engine: Engine, **limits: int) -> BatchingEngine:
    return BatchingEngine(engine, max_batch=2, max_wait_ms=LONG_MS, workers=1, **limits)


def in_line_of(batching: BatchingEngine) -> int:
    return len(batching._pool._queue._line)


def until(condition: Callable[[], bool]) -> None:
    give_up = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < give_up
        time.sleep(0.001)


def workers() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name.startswith("cnntk-batching")]


@pytest.fixture(autouse=True)
def no_worker_is_left() -> Iterator[None]:
    yield
    assert not workers()


def test_answers_are_those_of_the_engine(lenet: Engine) -> None:
    images = np.random.default_rng(0).integers(0, 256, (7, 28, 28, 1), dtype=np.uint8)
    with BatchingEngine(lenet, max_batch=7, max_wait_ms=LONG_MS) as batching:
        futures = [batching.submit({"image": image[None]}) for image in images]
        results = [future.result(PATIENCE_S) for future in futures]
        assert batching.stats.requests == 7
        assert batching.stats.batches == 1
    for image, answer in zip(images, results, strict=True):
        expected = lenet.run({"image": image[None]})
        assert list(answer) == list(expected)
        for name, value in expected.items():
            np.testing.assert_allclose(answer[name], value, rtol=1e-5, atol=1e-5)
            assert answer[name].dtype == value.dtype


def test_a_path_will_do() -> None:
    with BatchingEngine(shipped_model(), threads=1, max_wait_ms=0) as batching:
        assert batching.engine.threads == 1
        assert batching.run({"image": np.zeros((2, 28, 28, 1), np.uint8)})["logits"].shape == (2, 10)


def test_a_deadline_sends_what_is_there(table: Engine) -> None:
    with BatchingEngine(table, max_batch=1000, max_wait_ms=5) as batching:
        assert answers_to(7, batching.run(index(7), timeout=PATIENCE_S))


def test_who_waits_for_an_idle_worker_waits_for_nobody_else(table: Engine) -> None:
    with pairs(table) as batching:
        assert answers_to(1, batching.run(index(1)))
        assert not workers(), "it ran in the caller's thread"
        unawaited = batching.submit(index(2))
        assert not wait([unawaited], 0.02).done
        assert answers_to(2, unawaited.result(PATIENCE_S))
        assert batching.submit(index(3)).exception(PATIENCE_S) is None
        assert answers_to(4, asyncio.run(batching.arun(index(4), timeout=PATIENCE_S)))
        assert answers_to(5, batching.run(index(5), timeout=PATIENCE_S))
        with pytest.raises(InferenceError, match="onnxruntime failed"):
            batching.run(index(5000))
        with pytest.raises(InputError):
            batching.run({})
    assert batching.stats == BatchingStats(requests=6, batches=6)


def test_a_single_caller_after_many_is_alone_again(table: Engine) -> None:
    with BatchingEngine(table, max_batch=3, max_wait_ms=20, workers=1) as batching:
        assert all(f.result(PATIENCE_S) for f in [batching.submit(index(i)) for i in range(3)])
        assert batching.stats.batches == 1
        assert answers_to(1, batching.run(index(1), timeout=PATIENCE_S))
        assert answers_to(2, batching.run(index(2), timeout=PATIENCE_S))
        assert batching._pool._queue.expected == 1


def test_sizes_that_differ_go_apart() -> None:
    with BatchingEngine(model(LOG), max_batch=4, max_wait_ms=5, workers=1) as batching:
        inputs = [{"x": np.full((1 + i % 2, 1 + i % 3), i + 1.0, np.float32)} for i in range(12)]
        futures = [batching.submit(x) for x in inputs]
        for x, future in zip(inputs, futures, strict=True):
            np.testing.assert_allclose(future.result(PATIENCE_S)["y"], np.log(x["x"]), rtol=1e-6)


def test_requests_larger_than_a_batch_and_empty_ones(table: Engine) -> None:
    with pairs(table) as batching:
        many = {"index": np.arange(5)}
        assert batching.run(many, timeout=PATIENCE_S)["answer"][:, 0].tolist() == [0, 1, 2, 3, 4]
        empty = {"index": np.arange(0)}
        assert batching.run(empty, timeout=PATIENCE_S)["answer"].shape == table.run(empty)["answer"].shape


def test_a_fixed_batch_is_filled_up() -> None:
    with BatchingEngine(model(FIXED), max_wait_ms=0) as batching:
        for rows in (1, 3, 4):
            x = np.arange(rows * 2, dtype=np.float32).reshape(rows, 2)
            assert batching.run({"x": x})["y"].tolist() == (x + x).tolist()
        for rows in (0, 5):
            with pytest.raises(InputError, match=r"expected x: float32 \[4, 2\]; got"):
                batching.run({"x": np.zeros((rows, 2), np.float32)})
        for no_array in (3, [[1.0, 2.0]]):
            with pytest.raises(InputError, match="x: make it an array"):
                batching.run({"x": no_array})  # type: ignore[dict-item]


def test_a_fixed_batch_is_shared() -> None:
    with BatchingEngine(model(FIXED), max_wait_ms=LONG_MS) as batching:
        futures = [batching.submit({"x": np.full((2, 2), i, np.float32)}) for i in range(2)]
        assert [future.result(PATIENCE_S)["y"].tolist() for future in futures] == [[[0, 0]] * 2, [[2, 2]] * 2]
        assert batching.stats.batches == 1


def test_models_without_a_batch_run_one_by_one() -> None:
    with BatchingEngine(model(SUM), max_batch=8, max_wait_ms=LONG_MS) as batching:
        futures = [batching.submit({"x": np.full((1, 2), i, np.float32)}) for i in range(8)]
        assert [float(np.sum(future.result(PATIENCE_S)["y"])) for future in futures] == [
            2 * i for i in range(8)
        ]
        assert batching.stats.batches == 8


def test_answers_belong_to_their_caller(table: Engine) -> None:
    with pairs(table) as batching:
        first, second = (batching.submit(index(i)) for i in (1, 2))
        first.result(PATIENCE_S)["answer"][:] = 99
        assert answers_to(2, second.result(PATIENCE_S))
        assert second.result()["answer"].base is None


@pytest.mark.parametrize(
    "inputs",
    [{}, {"x": np.array([1])}, {"index": np.array([1.0])}, {"index": np.array([[1]])}, {"index": 1}],
    ids=["missing", "name", "dtype", "rank", "no array"],
)
def test_misfits_raise_where_they_are_handed_in(table: Engine, inputs: Arrays) -> None:
    with pairs(table) as batching:
        good = batching.submit(index(1))
        with pytest.raises(InputError, match=r"expected index: int64 \[N\]; got"):
            batching.submit(inputs)
        with pytest.raises(InputError):
            asyncio.run(batching.arun(inputs))
        batching.submit(index(2))
        assert answers_to(1, good.result(PATIENCE_S))


def test_who_makes_onnxruntime_fail_fails_alone(table: Engine) -> None:
    with BatchingEngine(table, max_batch=4, max_wait_ms=LONG_MS) as batching:
        futures = [batching.submit(index(i)) for i in (1, 5000, 3, 4)]
        with pytest.raises(InferenceError, match="onnxruntime failed"):
            futures[1].result(PATIENCE_S)
        for number, future in zip((1, 3, 4), (futures[0], *futures[2:]), strict=True):
            assert answers_to(number, future.result(PATIENCE_S))
        assert batching.stats.batches == 1


def test_who_gets_nan_gets_it_alone() -> None:
    with BatchingEngine(model(LOG), max_batch=3, max_wait_ms=LONG_MS) as batching:
        futures = [batching.submit({"x": np.array([[x]], np.float32)}) for x in (1, -1, 2)]
        with pytest.raises(NonFiniteOutput, match=r"y\[0, 0\] is nan"):
            futures[1].result(PATIENCE_S)
        assert [futures[i].result(PATIENCE_S)["y"].item() for i in (0, 2)] == pytest.approx([0, np.log(2)])


def test_nan_is_an_answer_where_the_engine_says_so() -> None:
    engine = Engine(model(LOG), allow_nonfinite=True)
    with BatchingEngine(engine, max_batch=2, max_wait_ms=LONG_MS) as batching:
        futures = [batching.submit({"x": np.array([[x]], np.float32)}) for x in (1, -1)]
        assert [np.isnan(future.result(PATIENCE_S)["y"].item()) for future in futures] == [False, True]


def test_canceled_requests_free_their_slot(table: Engine) -> None:
    with pairs(table, max_queue=3) as batching:
        with busy(batching):
            futures = [batching.submit(index(i)) for i in (1, 2, 3)]
            with pytest.raises(QueueFull, match="3 requests wait"):
                batching.submit(index(4), block=False)
            assert futures[1].cancel()
            assert wait(futures[1:2], PATIENCE_S).done == {futures[1]}
            last = batching.submit(index(4), block=False)
        for number, future in ((1, futures[0]), (3, futures[2]), (4, last)):
            if number == 4:
                batching.submit(index(5))
            assert answers_to(number, future.result(PATIENCE_S))
        assert not last.cancel(), "it was answered"
    assert batching.stats.requests == 2 + 4


def test_a_full_queue_holds_callers_back(table: Engine) -> None:
    with pairs(table, max_queue=2) as batching, ThreadPoolExecutor(1) as pool:
        with busy(batching):
            waiting = [batching.submit(index(i)) for i in (1, 2)]
            for timeout in (0, 0.02):
                with pytest.raises(
                    QueueFull, match=rf"2 requests wait, and no slot became free in {timeout} s"
                ):
                    batching.submit(index(3), timeout=timeout)
            held_back = pool.submit(batching.submit, index(4))
            until(lambda: in_line_of(batching) == 1)
            assert not held_back.done()
            assert waiting[0].cancel()
            future = held_back.result(PATIENCE_S)
        assert answers_to(4, future.result(PATIENCE_S))
        assert answers_to(2, waiting[1].result(PATIENCE_S))


def test_late_answers_raise_and_are_not_run(table: Engine) -> None:
    with pairs(table, max_queue=2) as batching:
        with busy(batching):
            for _ in range(3):
                with pytest.raises(InferenceTimeout, match=r"no result within 0.01 s"):
                    batching.run(index(1), timeout=0.01)
                with pytest.raises(InferenceTimeout, match=r"no result within 0.01 s"):
                    asyncio.run(batching.arun(index(1), timeout=0.01))
            futures = [batching.submit(index(i), block=False) for i in (2, 3)]
        assert answers_to(3, futures[1].result(PATIENCE_S))
        assert batching.stats.requests == 4


def test_coroutines_are_held_back_and_all_answered(table: Engine) -> None:
    async def main(batching: BatchingEngine) -> list[Arrays]:
        return await asyncio.gather(*(batching.arun(index(i), timeout=PATIENCE_S) for i in range(300)))

    with BatchingEngine(table, max_batch=8, max_queue=4) as batching:
        for number, answer in enumerate(asyncio.run(main(batching))):
            assert answers_to(number, answer)
            assert not answers_to(number + 1, answer)


def test_a_cancelled_task_drops_its_request(table: Engine) -> None:
    async def main(batching: BatchingEngine) -> None:
        tasks = [asyncio.create_task(batching.arun(index(i))) for i in range(3)]
        await asyncio.sleep(0)  # two are in the queue now, the third is in line, and the loop goes on
        assert in_line_of(batching) == 1
        tasks[0].cancel()
        with pytest.raises(asyncio.CancelledError):
            await tasks[0]
        assert in_line_of(batching) == 0
        tasks[1].cancel()
        tasks[2].cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        assert len(batching._pool._queue) == 0

    with pairs(table, max_queue=2) as batching, busy(batching):
        asyncio.run(main(batching))


def test_close_answers_what_waits(table: Engine) -> None:
    batching = pairs(table)
    futures = [batching.submit(index(i)) for i in (1, 2, 3)]
    batching.close()
    assert all(answers_to(i, f.result(0)) for i, f in zip((1, 2, 3), futures, strict=True))
    batching.close()
    for call in (batching.submit, batching.run, lambda inputs: asyncio.run(batching.arun(inputs))):
        with pytest.raises(EngineClosed, match="is closed; create another"):
            call(index(1))


def test_close_without_drain_fails_what_waits(table: Engine) -> None:
    batching = pairs(table, max_queue=2)
    with ThreadPoolExecutor(2) as pool, busy(batching):
        waiting = [batching.submit(index(i)) for i in (1, 2)]
        in_line = pool.submit(batching.submit, index(3))
        until(lambda: in_line_of(batching) == 1)
        closing = pool.submit(batching.close, drain=False)
        waiting.append(in_line.result(PATIENCE_S))
        for future in waiting:
            with pytest.raises(EngineClosed, match="closed before this request ran"):
                future.result(PATIENCE_S)
        assert not closing.done(), "the worker is still busy"
    closing.result(PATIENCE_S)


def test_leaving_the_block_with_an_exception_answers_nobody(table: Engine) -> None:
    batching = pairs(table)
    future = batching.submit(index(1))
    with pytest.raises(InputError), batching:
        batching.submit({})
    with pytest.raises(EngineClosed):
        future.result(PATIENCE_S)


def test_close_waits_for_a_request_in_the_thread_of_its_caller(
    table: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    with BatchingEngine(table) as batching, ThreadPoolExecutor(2) as pool:
        runner, begun, go_on = batching._pool._runner, threading.Event(), threading.Event()
        run_alone = runner.run_alone

        def held(*args: object) -> object:
            begun.set()
            go_on.wait(PATIENCE_S)
            return run_alone(*args)

        monkeypatch.setattr(runner, "run_alone", held)
        running = pool.submit(batching.run, index(1))
        begun.wait(PATIENCE_S)
        closing = pool.submit(batching.close)
        with pytest.raises(TimeoutError):
            closing.result(0.2)
        go_on.set()
        closing.result(PATIENCE_S)
        assert answers_to(1, running.result(PATIENCE_S))


def test_a_callback_may_close_it(table: Engine) -> None:
    batching = pairs(table)
    first = batching.submit(index(1))
    first.add_done_callback(lambda _: batching.close())
    assert answers_to(2, batching.submit(index(2)).result(PATIENCE_S))
    batching.close()


def test_abandoned_it_answers_and_ends(table: Engine) -> None:
    batching = pairs(table)
    future = batching.submit(index(1))
    (worker,), gone = workers(), weakref.ref(batching)
    del batching
    gc.collect()
    assert gone() is None
    assert answers_to(1, future.result(PATIENCE_S))
    worker.join(PATIENCE_S)


def test_requests_are_released(table: Engine) -> None:
    with pairs(table) as batching:
        arrays = [np.array([i]) for i in range(2)]
        gone = [weakref.ref(array) for array in arrays]
        futures = [batching.submit({"index": array}) for array in arrays]
        del arrays
        assert all(answers_to(i, future.result(PATIENCE_S)) for i, future in enumerate(futures))
        batching.submit(index(3))
        batching.submit(index(4)).result(PATIENCE_S)  # so that the worker is past the first batch
        assert [reference() for reference in gone] == [None, None]


@pytest.mark.parametrize(
    "limits",
    [
        {"max_batch": 0},
        {"max_queue": 0},
        {"workers": 0},
        {"max_wait_ms": -1},
        {"max_wait_ms": float("nan")},
        {"max_wait_ms": float("inf")},
    ],
    ids=str,
)
def test_limits_out_of_range(table: Engine, limits: dict[str, int]) -> None:
    with pytest.raises(ValueError, match=rf"{next(iter(limits))} must be"):
        BatchingEngine(table, **limits)


def test_pickled_it_is_open_and_has_the_same_limits(lenet: Engine) -> None:
    batching = BatchingEngine(lenet, max_batch=3, max_wait_ms=1, max_queue=7, workers=2)
    batching.close()
    with pickle.loads(pickle.dumps(batching)) as again:
        assert repr(again) == repr(batching)
        assert "max_batch=3, max_wait_ms=1, max_queue=7, workers=2" in repr(again)
        assert again.run({"image": np.zeros((1, 28, 28, 1), np.uint8)})["logits"].shape == (1, 10)


def test_in_a_spawned_process(table: Engine) -> None:
    call = operator.methodcaller("run", index(7))
    with BatchingEngine(table) as batching, multiprocessing.get_context("spawn").Pool(1) as pool:
        assert answers_to(7, pool.apply(call, (batching,)))
        pool.close()
        pool.join()


PREPARE = """
import os, time
import numpy as np
from cnntk.runtime.batching.batching import BatchingEngine
from cnntk.shipped import shipped_model

x = {"image": np.full((1, 28, 28, 1), 9, np.uint8)}
"""
FORK = """
batching = BatchingEngine(shipped_model(), threads=2, max_batch=2, max_wait_ms=60_000)
expected = batching.engine.run(x)["logits"]
waiting = batching.submit(x)  # the worker lives, and the queue holds a request: neither is the child's
child = os.fork()
if child == 0:
    futures = [batching.submit(x), batching.submit(x)]
    right = all(np.allclose(f.result(60)["logits"], expected, atol=1e-5) for f in futures)
    right = right and batching.stats.requests == 2 and not waiting.done()
    batching.close()
    os._exit(0 if right else 1)
assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0, "in the child"
assert not waiting.done()
batching.submit(x)
assert np.allclose(waiting.result(60)["logits"], expected, atol=1e-5)
batching.close()
"""
EXIT = """
batching = BatchingEngine(shipped_model(), max_batch=2, max_wait_ms=60_000)
for _ in range(5):
    batching.submit(x).add_done_callback(lambda f: os.write(1, type(f.exception()).__name__.encode() + b" "))
while batching.stats.requests < 4:
    time.sleep(0.001)
"""


def run_script(text: str) -> subprocess.CompletedProcess[str]:
    # Of forks with threads alive Python 3.12 warns; that they work here is what is tried.
    command = [sys.executable, "-W", "error", "-W", "ignore::DeprecationWarning", "-c", PREPARE + text]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_after_a_fork() -> None:
    done = run_script(FORK)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_the_interpreter_exits_with_requests_that_wait() -> None:
    done = run_script(EXIT)
    assert (done.returncode, done.stderr) == (0, "")
    assert Counter(done.stdout.split()) == {"NoneType": 4, "EngineClosed": 1}


class Clients:
    """Threads that send requests, bad ones and cancelled ones among them, and look at every answer."""

    def __init__(self, batching: BatchingEngine, threads: int = 16) -> None:
        self.batching = batching
        self.threads = threads

    def run(self, count: int) -> Counter[str]:
        """What came of ``count`` requests, in words, and how many times."""
        with ThreadPoolExecutor(self.threads) as pool:
            parts = pool.map(self._client, range(self.threads), [count // self.threads] * self.threads)
            return sum(parts, Counter())

    def _client(self, seed: int, count: int) -> Counter[str]:
        rng = np.random.default_rng(seed)
        results: Counter[str] = Counter()
        waiting: list[tuple[int, Future[Arrays]]] = []
        for _ in range(count):
            number, fate = int(rng.integers(1000)), rng.random()
            if fate < 0.005:
                results[self._refused()] += 1
                continue
            if fate < 0.01:
                number += 10_000  # onnxruntime fails in the midst of a batch
            future = self.batching.submit(index(number), timeout=PATIENCE_S)
            if fate > 0.99:
                future.cancel()
            waiting.append((number, future))
            if len(waiting) > 20:
                results[self._look(*waiting.pop(0))] += 1
        results.update(self._look(*one) for one in waiting)
        return results

    def _refused(self) -> str:
        try:
            self.batching.submit({"index": np.array([0.5])})
        except InputError:
            return "bad"
        return "bad, and taken"

    def _look(self, number: int, future: Future[Arrays]) -> str:
        try:
            answer = future.result(PATIENCE_S)
        except CancelledError:
            return "cancelled"
        except TimeoutError:
            return "lost"
        except InferenceError:
            return "bad" if number >= 1000 else "failed for another"
        return "right" if answers_to(number, answer) else "another's"


@pytest.mark.parametrize(
    "count", [5_000, pytest.param(100_000, marks=pytest.mark.slow)], ids=lambda count: f"{count} requests"
)
@pytest.mark.parametrize("limits", [{"workers": 1}, {"workers": 3, "max_queue": 40}], ids=str)
def test_none_is_lost_and_none_gets_anothers_answer(
    table: Engine, count: int, limits: dict[str, int]
) -> None:
    with BatchingEngine(table, max_batch=32, max_wait_ms=1, **limits) as batching:
        results = Clients(batching).run(count)
        stats = batching.stats
    assert results.total() == count // 16 * 16
    assert set(results) <= {"right", "bad", "cancelled"}, results
    assert results["bad"] > count / 200
    assert results["right"] > count * 0.97
    assert stats.batches < stats.requests / 2, "requests went together"


def test_the_clients_notice_answers_of_others(table: Engine) -> None:
    class Swapping(BatchingEngine):
        def submit(self, inputs: Arrays, **options: object) -> Future[Arrays]:
            if inputs["index"].dtype == np.int64 and inputs["index"][0] < 10:
                inputs = {"index": inputs["index"] + 1}
            return super().submit(inputs, **options)  # type: ignore[arg-type]

    with Swapping(table, max_wait_ms=1) as batching:
        results = Clients(batching).run(3_200)
    assert results["another's"] > 0
    assert results["right"] > 3_000


def test_every_image_gets_its_outputs(lenet: Engine) -> None:
    images = np.random.default_rng(0).integers(0, 256, (1_500, 1, 28, 28, 1), dtype=np.uint8)
    expected = lenet.run_many({"image": images[:, 0]})["logits"]
    assert len(np.unique(expected.round(3), axis=0)) == len(images), "answers tell images apart"
    with BatchingEngine(lenet, max_wait_ms=1) as batching, ThreadPoolExecutor(16) as pool:
        answers = pool.map(
            lambda image: batching.run({"image": image}, timeout=PATIENCE_S)["logits"][0], images
        )
        results = np.stack(list(answers))
    np.testing.assert_allclose(results, expected, atol=1e-4)
    assert not np.isclose(np.roll(results, 1, axis=0), expected, atol=1e-4).all(axis=1).any()


def test_a_callback_that_exits_does_not_end_the_worker() -> None:
    with BatchingEngine(shipped_model(), max_wait_ms=0) as batching:
        inputs = {"image": np.zeros((1, 28, 28, 1), np.uint8)}

        def leave(_: object) -> None:
            raise SystemExit(1)

        batching.submit(inputs).add_done_callback(leave)
        assert batching.run(inputs, timeout=float("inf"))["logits"].shape == (1, 10)
