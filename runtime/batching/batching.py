"""`BatchingEngine`: single requests in, from threads and asyncio alike; the model runs them in batches."""

from __future__ import annotations

import asyncio
import atexit
import functools
import math
import os
import threading
import time
import weakref
from collections.abc import Hashable, Mapping
from concurrent.futures import Future
from dataclasses import asdict, dataclass
from types import TracebackType
from typing import Any

from numpy.typing import NDArray

from cnntk.runtime.batching.batch_assembly import BatchRunner
from cnntk.runtime.batching.queue_policy import BatchQueue, Request
from cnntk.runtime.engine import Engine
from cnntk.runtime.errors import EngineClosed, InferenceTimeout, QueueFull
from cnntk.runtime.log import log
from cnntk.runtime.session.watchdog import clamp_timeout

__all__ = ["BatchingEngine", "BatchingStats"]

Arrays = dict[str, NDArray[Any]]


@dataclass(frozen=True)
class BatchingStats:
    """What a `BatchingEngine` has done so far.

    Attributes:
        requests: that left the queue for a batch.
        batches: that were made of them.
    """

    requests: int
    batches: int


@dataclass(frozen=True)
class _Limits:
    """How requests are gathered; the fields are arguments of `BatchingEngine`."""

    max_batch: int
    max_wait_ms: float
    max_queue: int
    workers: int

    def __post_init__(self) -> None:
        for name in ("max_batch", "max_queue", "workers"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")
        if not 0 <= self.max_wait_ms <= 1e3 * threading.TIMEOUT_MAX:
            raise ValueError(f"max_wait_ms must be 0 or more, and finite, got {self.max_wait_ms}")


class BatchingEngine:
    """Answers single requests of many threads or coroutines, and runs the model on batches of them.

    A request is what `Engine.run` takes, most often one image: a dict of arrays with a leading batch
    dimension. Requests whose other sizes are equal go together. A batch is sent when ``max_batch`` rows wait,
    or when the oldest request has waited ``max_wait_ms``; if all workers were busy for longer, at once with
    what is there.

    Each request is answered as `Engine.run` would answer it alone, up to rounding, and is alone in its
    failure: inputs that do not fit are refused where they are handed in; requests whose batch fails, or whose
    own rows of the answer are not finite, run again one by one. It takes a model whose rows do not depend on
    each other, as every export by cnntk has shown. Where the batch is fixed, copies of the last row fill it.
    Where inputs and outputs have no batch dimension in common, requests run one by one.

    Args:
        model: an `Engine`, or path or bytes of an ``.onnx`` file.
        device: as `Engine` takes it; not used with an `Engine`.
        threads: as `Engine` takes it; not used with an `Engine`.
        max_batch: rows of a batch. A request with more is a batch of its own.
        max_wait_ms: that the oldest request waits for others.
        max_queue: how many requests may wait. Further ones are held back, or refused.
        workers: threads that make batches and run them. By default one on the CPU, which a single batch
            fills, and two elsewhere, so that one batch is prepared while another runs.

    Attributes:
        engine: that runs the batches.

    Raises:
        ValueError: a limit is out of its range.

    Input arrays must not change until their request is answered: they are copied when its batch is made.
    Answers belong to the caller. The object may be used from many threads and event loops at once. Pickled,
    it loads its file again. After a fork the child's is open and empty: what waits is the parent's. When the
    interpreter exits, requests that still wait fail with `EngineClosed`.
    """

    def __init__(
        self,
        model: str | os.PathLike[str] | bytes | Engine,
        device: str = "cpu",
        *,
        threads: int | None = None,
        max_batch: int = 64,
        max_wait_ms: float = 2.0,
        max_queue: int = 1024,
        workers: int | None = None,
    ) -> None:
        _Limits(max_batch, max_wait_ms, max_queue, 1 if workers is None else workers)
        self.engine = model if isinstance(model, Engine) else Engine(model, device, threads=threads)
        if workers is None:
            workers = 1 if self.engine.device == "cpu" else 2
        self._limits = _Limits(max_batch, max_wait_ms, max_queue, workers)
        self._crew = _Crew(self.engine, self._limits)
        # An abandoned object answers what waits; its threads end then.
        weakref.finalize(self, self._crew.close, drain=True, wait=False).atexit = False

    def run(self, inputs: Mapping[str, NDArray[Any]], *, timeout: float | None = None) -> Arrays:
        """Answers one request; blocks until then.

        Args:
            inputs: an array (n, ...) for each of the model's inputs.
            timeout: in seconds, the wait for a place in the queue included. A request that has not begun to
                run by then never will.

        Returns:
            An array (n, ...) for each of the model's outputs, by name.

        Raises:
            InputError: a name, dtype or shape does not fit.
            InferenceError: onnxruntime failed on this request.
            NonFiniteOutput: this request's answer holds NaN or infinity.
            InferenceTimeout: there was no answer in time.
            EngineClosed: it is closed, or was closed before the answer.
        """
        future = self._crew.put(inputs, line_up=True).future
        try:
            return future.result(None if timeout is None else clamp_timeout(timeout))
        except TimeoutError:
            if not future.cancel() and future.done():
                return future.result()
            raise self._late(timeout) from None
        except BaseException:
            future.cancel()
            raise

    async def arun(self, inputs: Mapping[str, NDArray[Any]], *, timeout: float | None = None) -> Arrays:
        """As `run`, for asyncio: it never blocks the event loop.

        When its task is cancelled, a request that still waits is dropped. While the queue is full, coroutines
        stand in line; they are answered in the order in which they came.
        """
        future = self._crew.put(inputs, line_up=True).future
        try:
            async with asyncio.timeout(None if timeout is None else clamp_timeout(timeout)) as limit:
                return await asyncio.wrap_future(future)
        except TimeoutError:
            if limit.expired():
                raise self._late(timeout) from None
            raise

    def submit(
        self, inputs: Mapping[str, NDArray[Any]], *, block: bool = True, timeout: float | None = None
    ) -> Future[Arrays]:
        """Hands in one request and returns at once, or as soon as the queue has a place.

        Args:
            inputs: as for `run`.
            block: whether to wait for a place when the queue is full.
            timeout: for a place, in seconds.

        Returns:
            A future of what `run` returns or raises. ``cancel()`` drops a request that still waits, and frees
            its place. Its callbacks run in a worker and hold up other requests: they should be short.

        Raises:
            InputError: a name, dtype or shape does not fit.
            QueueFull: there was no place, or none in time.
            EngineClosed: it is closed.
        """
        request = self._crew.put(inputs, line_up=block)
        future = request.future
        try:
            admitted = request.gate.acquire(timeout=-1 if timeout is None else clamp_timeout(timeout))
        except BaseException:
            future.cancel()
            raise
        if not admitted and future.cancel():
            raise QueueFull(
                f"{self.engine.name}: {self._limits.max_queue} requests wait, and none left in {timeout} s; "
                "send fewer at once, or raise max_queue"
            )
        return future

    def close(self, drain: bool = True) -> None:
        """Takes no more requests, and returns when the workers have ended.

        Args:
            drain: whether requests that wait are answered first; else they fail with `EngineClosed`. A batch
                that runs is finished in either case.
        """
        self._crew.close(drain=drain, wait=True)

    @property
    def stats(self) -> BatchingStats:
        """What it has done so far."""
        return self._crew.stats

    def __enter__(self) -> BatchingEngine:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Closes it; what waits is answered, unless an exception leaves the block."""
        self.close(drain=kind is None)

    def __repr__(self) -> str:
        limits = ", ".join(f"{name}={value}" for name, value in asdict(self._limits).items())
        return f"BatchingEngine({self.engine!r}, {limits})"

    def __reduce__(self) -> tuple[Any, ...]:
        return _reopen, (self.engine, self._limits)

    def _late(self, timeout: float | None) -> InferenceTimeout:
        return InferenceTimeout(
            f"{self.engine.name}: no answer within {timeout} s; allow more, or send fewer requests at once"
        )


def _reopen(engine: Engine, limits: _Limits) -> BatchingEngine:
    return BatchingEngine(engine, **asdict(limits))


class _Crew:
    """The queue and its workers. They hold no reference to the `BatchingEngine`, so that it can be abandoned.

    Nothing that could wait for another lock is done under this one: `close` may come from the garbage
    collector, at any time and in any thread, also in one that holds the lock.
    """

    def __init__(self, engine: Engine, limits: _Limits) -> None:
        self._runner = BatchRunner(engine)
        self._limits = limits
        self._dropped = functools.partial(_drop, weakref.ref(self))
        self._closed = False
        self._begin()
        _crews.add(self)

    def _begin(self) -> None:
        self._requests = self._batches = 0
        rows = self._runner.fixed_batch or self._limits.max_batch
        self._changed = threading.Condition()
        self._gathering = BatchQueue(rows, self._limits.max_wait_ms / 1e3, self._limits.max_queue)
        self._workers: list[threading.Thread] = []

    @property
    def stats(self) -> BatchingStats:
        with self._changed:
            return BatchingStats(self._requests, self._batches)

    def put(self, inputs: Mapping[str, NDArray[Any]], *, line_up: bool) -> Request:
        """Takes a request in; never blocks.

        Args:
            inputs: of the request.
            line_up: whether it may stand in line when the queue is full: its gate is locked as long.
        """
        request = self._runner.request(inputs)
        request.future.add_done_callback(functools.partial(self._dropped, request.kind))
        with self._changed:
            if self._closed:
                raise EngineClosed(f"{self._runner.engine.name}: the BatchingEngine is closed; make another")
            if self._gathering.full and not line_up:
                raise QueueFull(
                    f"{self._runner.engine.name}: {self._limits.max_queue} requests wait; send fewer at "
                    "once, wait for a place with block=True, or raise max_queue"
                )
            self._start()
            if self._gathering.add(request):
                self._changed.notify()
        return request

    def drop(self, kind: Hashable | None, future: Future[Arrays]) -> None:
        """Forgets a request of ``kind`` that was cancelled, if it still waits."""
        with self._changed:
            waited = self._gathering.remove(kind, future)
            self._changed.notify()  # who stood in line may make a batch complete
        if waited:
            future.set_running_or_notify_cancel()  # tells concurrent.futures.wait

    def close(self, *, drain: bool, wait: bool) -> None:
        """As `BatchingEngine.close`; without ``wait`` it never blocks."""
        with self._changed:
            self._closed = True
            left = [] if drain else self._gathering.clear()
            self._changed.notify_all()
            workers = list(self._workers)
        for request in left:
            if _is_wanted(request):
                name = self._runner.engine.name
                request.future.set_exception(EngineClosed(f"{name}: was closed before this request was run"))
        for worker in workers:
            if wait and worker is not threading.current_thread():
                worker.join()

    def forget_parent(self) -> None:
        """In a child made by fork: neither the threads are here, nor do the requests belong to it."""
        self._begin()

    def _start(self) -> None:
        """Starts the workers with the first request, and in a child made by fork with its own first."""
        if self._workers:
            return
        for number in range(self._limits.workers):
            worker = threading.Thread(target=self._work, name=f"cnntk-batching-{number}", daemon=True)
            worker.start()
            self._workers.append(worker)

    def _work(self) -> None:
        while batch := self._next():
            for request, answer in zip(batch, self._runner.answers(batch), strict=True):
                _answer(request.future, answer)
            del batch, request, answer  # while this worker waits, it holds nobody's arrays

    def _next(self) -> list[Request]:
        """The requests of the next batch; none when it is closed and nothing waits."""
        while True:
            with self._changed:
                found = self._wait_for_batch()
            if not found:
                return []
            batch = [request for request in found if _is_wanted(request)]
            with self._changed:
                self._requests += len(batch)
                self._batches += bool(batch)
            if batch:
                return batch

    def _wait_for_batch(self) -> list[Request]:
        while True:
            batch = self._gathering.take(math.inf if self._closed else time.monotonic())
            if batch:
                if len(self._gathering):
                    self._changed.notify()  # the next worker watches over the others
                return batch
            due = self._gathering.due()
            if due is None and self._closed:
                return []
            self._changed.wait(None if due is None else max(due - time.monotonic(), 0))


def _answer(future: Future[Arrays], answer: Arrays | BaseException) -> None:
    """Whatever a callback of the caller's raises, the worker goes on for the others."""
    try:
        if isinstance(answer, BaseException):
            future.set_exception(answer)
        else:
            future.set_result(answer)
    except BaseException:
        log.exception("a callback of a request failed")


def _is_wanted(request: Request) -> bool:
    """Marks a request as running, which no longer can be cancelled; False if it was."""
    return request.future.set_running_or_notify_cancel()


def _drop(crew: weakref.ref[_Crew], kind: Hashable | None, future: Future[Arrays]) -> None:
    found = crew()
    if found is not None and future.cancelled():
        found.drop(kind, future)


_crews: weakref.WeakSet[_Crew] = weakref.WeakSet()


def _after_fork() -> None:
    for crew in list(_crews):
        crew.forget_parent()


def _at_exit() -> None:
    """Ends the workers while they still can: the interpreter stops threads in the midst of onnxruntime."""
    for crew in list(_crews):
        crew.close(drain=False, wait=True)


atexit.register(_at_exit)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
