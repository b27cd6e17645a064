"""`BatchingEngine`: runs single requests of threads and coroutines in batches."""

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

from cnntk.runtime.batching._batch_assembly import BatchRunner
from cnntk.runtime.batching._queue_policy import BatchQueue, Request
from cnntk.runtime.engine import Engine
from cnntk.runtime.errors import EngineClosed, InferenceTimeout, InputError, QueueFull
from cnntk.runtime.log import log
from cnntk.runtime.session.time_limit import clamp_timeout

__all__ = ["BatchingEngine", "BatchingStats"]

Arrays = dict[str, NDArray[Any]]


@dataclass(frozen=True)
class BatchingStats:
    """Counters of a `BatchingEngine`.

    Attributes:
        requests: Number of requests that ran, or will with a batch that was formed.
        batches: Number of batches formed of them; a request that ran alone is one, too.
    """

    requests: int
    batches: int


@dataclass(frozen=True)
class _Limits:
    """Limits of queue and batches, as `BatchingEngine` documents them."""

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
    """Runs single requests of many threads or coroutines in batches.

    A request is a dict of arrays with a leading batch dimension, like the inputs of `Engine.run`; most often
    one image. Requests with equal sizes in the other dimensions share a batch. A batch starts when
    ``max_batch`` rows wait, or when the oldest request has waited ``max_wait_ms``; after a time in which all
    workers were busy, it starts immediately with the requests that wait.

    A request for which a caller waits, in `run`, `arun` or the future's ``result()``, starts at once if a
    worker is idle, unless others are expected: after a batch, as many are gathered as were in it or came
    while it ran, for ``max_wait_ms`` at most. `run` then needs no worker: the request runs in the caller's
    thread.

    Each request gets the outputs that `Engine.run` would return for it alone, up to rounding, and errors of
    one request do not affect others: invalid inputs are refused on arrival, and requests whose batch fails,
    or whose rows of the outputs are not finite, run again one by one. The rows of the model must be
    independent of each other, which every export of cnntk checks. A fixed batch is filled with copies of the
    last row. If inputs and outputs have no common batch dimension, requests run one by one.

    Args:
        model: `Engine`, or path or bytes of an ``.onnx`` file.
        device: Device as for `Engine`; ignored with an `Engine`.
        threads: Threads as for `Engine`; ignored with an `Engine`.
        max_batch: Number of rows of a batch. A request with more is a batch of its own.
        max_wait_ms: Longest wait of the oldest request for others, in milliseconds.
        max_queue: Number of requests that may wait. Further ones wait in line or are refused.
        workers: Number of threads that assemble and run batches. The default is 1 on the CPU, which a single
            batch fills, and 2 elsewhere, so that one batch is assembled while another runs.

    Attributes:
        engine: Engine that runs the batches.

    Raises:
        ValueError: A limit is out of range.

    Input arrays must not change before their request is done, because they are copied when the batch is
    assembled. Outputs belong to the caller. The object may be used from many threads and event loops at once.
    Unpickling loads the file again. After a fork, the child's queue is empty and open: waiting requests
    belong to the parent. At interpreter exit, waiting requests fail with `EngineClosed`.
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
        self._pool = _WorkerPool(self.engine, self._limits)
        # After garbage collection, waiting requests still run; then the threads end.
        weakref.finalize(self, self._pool.close, drain=True, wait=False).atexit = False

    def run(self, inputs: Mapping[str, NDArray[Any]], *, timeout: float | None = None) -> Arrays:
        """Runs one request and blocks until its outputs are there.

        Args:
            inputs: Array (n, ...) for each input of the model, by name.
            timeout: Limit in seconds, including the wait for a slot in the queue. A request that does not run
                by then is canceled.

        Returns:
            Array (n, ...) for each output of the model, by name.

        Raises:
            InputError: A name, dtype or shape differs from the model's inputs.
            InferenceError: onnxruntime failed on this request.
            NonFiniteOutput: An output of this request contains NaN or infinity.
            InferenceTimeout: The time limit was exceeded.
            EngineClosed: The engine was closed before the request ran.
        """
        result = self._pool.run_if_idle(inputs, timeout)
        if isinstance(result, BaseException):
            raise result
        if result is not None:
            return result
        future = self._pool.put(inputs, wait_in_line=True, urgent=True).future
        try:
            return future.result(None if timeout is None else clamp_timeout(timeout))
        except TimeoutError:
            if not future.cancel() and future.done():
                return future.result()
            raise self._timeout_error(timeout) from None
        except BaseException:  # including Ctrl-C; it is raised again
            future.cancel()
            raise

    async def arun(self, inputs: Mapping[str, NDArray[Any]], *, timeout: float | None = None) -> Arrays:
        """Runs one request like `run`, without blocking the event loop.

        Cancellation of the task removes a request that still waits. While the queue is full, requests wait in
        line, in order of arrival.
        """
        future = self._pool.put(inputs, wait_in_line=True, urgent=True).future
        try:
            async with asyncio.timeout(None if timeout is None else clamp_timeout(timeout)) as limit:
                return await asyncio.wrap_future(future)
        except TimeoutError:
            if limit.expired():
                raise self._timeout_error(timeout) from None
            raise

    def submit(
        self, inputs: Mapping[str, NDArray[Any]], *, block: bool = True, timeout: float | None = None
    ) -> Future[Arrays]:
        """Adds one request to the queue and returns a future.

        Args:
            inputs: Arrays as for `run`.
            block: Whether to wait for a free slot if the queue is full.
            timeout: Limit of that wait in seconds.

        Returns:
            Future of the outputs. ``cancel()`` removes a request that still waits. Callbacks run in a worker
            thread and delay other requests, so they should be short.

        Raises:
            InputError: A name, dtype or shape differs from the model's inputs.
            QueueFull: The queue had no free slot, or none in time.
            EngineClosed: The engine is closed.
        """
        request = self._pool.put(inputs, wait_in_line=block, urgent=False)
        future = request.future
        try:
            admitted = request.admission.acquire(timeout=-1 if timeout is None else clamp_timeout(timeout))
        except BaseException:  # including Ctrl-C; it is raised again
            future.cancel()
            raise
        if not admitted and future.cancel():
            raise QueueFull(
                f"{self.engine.name}: {self._limits.max_queue} requests wait, and no slot became free in "
                f"{timeout} s; send fewer at once, or raise max_queue"
            )
        return future

    def close(self, drain: bool = True) -> None:
        """Refuses further requests, and returns when no request runs any more.

        Args:
            drain: Whether waiting requests run first; else they fail with `EngineClosed`. A running batch is
                finished in either case.
        """
        self._pool.close(drain=drain, wait=True)

    @property
    def stats(self) -> BatchingStats:
        """Numbers of requests and batches so far."""
        return self._pool.stats

    def __enter__(self) -> BatchingEngine:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Closes the engine; waiting requests run first, unless an exception leaves the block."""
        self.close(drain=kind is None)

    def __repr__(self) -> str:
        limits = ", ".join(f"{name}={value}" for name, value in asdict(self._limits).items())
        return f"BatchingEngine({self.engine!r}, {limits})"

    def __reduce__(self) -> tuple[Any, ...]:
        return functools.partial(BatchingEngine, self.engine, **asdict(self._limits)), ()

    def _timeout_error(self, timeout: float | None) -> InferenceTimeout:
        return InferenceTimeout(
            f"{self.engine.name}: no result within {timeout} s; raise timeout, or send fewer requests at once"
        )


class _WorkerPool:
    """The queue and its workers. They hold no reference to the `BatchingEngine`, so that it can be collected.

    No code that could wait for another lock runs under the pool's lock: the garbage collector may call
    `close` at any time and in any thread, including one that holds the lock.
    """

    def __init__(self, engine: Engine, limits: _Limits) -> None:
        self._runner = BatchRunner(engine)
        self._limits = limits
        self._on_done = functools.partial(_remove_if_canceled, weakref.ref(self))
        self._on_wait = functools.partial(_hurry, weakref.ref(self))
        self._closed = False
        self.reset()
        _worker_pools.add(self)

    def reset(self) -> None:
        """Empties the pool; also in a forked child, which has neither the threads nor the requests."""
        self._requests = self._batches = 0
        rows = self._runner.fixed_batch or self._limits.max_batch
        self._changed = threading.Condition()
        self._queue = BatchQueue(rows, self._limits.max_wait_ms / 1e3, self._limits.max_queue)
        self._workers: list[threading.Thread] = []
        self._idle = 0  # number of workers that wait for a batch
        self._idle_since_s = 0.0
        self._caller: int | None = None  # the thread that runs its own request

    @property
    def stats(self) -> BatchingStats:
        with self._changed:
            return BatchingStats(self._requests, self._batches)

    def run_if_idle(
        self, inputs: Mapping[str, NDArray[Any]], timeout: float | None
    ) -> Arrays | BaseException | None:
        """Runs a request in the caller's thread if nothing runs or waits and no others are expected.

        Returns None if it does not run here.
        """
        with self._changed:
            busy = self._caller is not None or len(self._queue) or self._idle < len(self._workers)
            if busy or self._closed or self._others_expected():
                return None
            self._caller = threading.get_ident()
            self._queue.expected = 1
        result = None
        try:
            result = self._runner.run_alone(inputs, timeout)
        finally:
            with self._changed:
                self._leave()
                if not isinstance(result, InputError):
                    self._requests += 1
                    self._batches += 1
        return result

    def _leave(self) -> None:
        self._caller = None
        if self._closed:
            self._changed.notify_all()

    def _others_expected(self) -> bool:
        """Whether a batch of several requests ended less than ``max_wait_ms`` ago."""
        idle_s = time.monotonic() - self._idle_since_s
        return self._queue.expected > 1 and idle_s < self._limits.max_wait_ms / 1e3

    def put(self, inputs: Mapping[str, NDArray[Any]], *, wait_in_line: bool, urgent: bool) -> Request:
        """Adds a request without blocking; it may wait in line for a slot, its admission lock held."""
        request = self._runner.request(inputs)
        request.urgent = urgent
        if not urgent:
            request.future.on_wait = functools.partial(self._on_wait, request.shape_key)
        request.future.add_done_callback(functools.partial(self._on_done, request.shape_key))
        with self._changed:
            if self._closed:
                raise EngineClosed(
                    f"{self._runner.engine.name}: the BatchingEngine is closed; create another"
                )
            if self._queue.full and not wait_in_line:
                raise QueueFull(
                    f"{self._runner.engine.name}: {self._limits.max_queue} requests wait; send fewer at "
                    "once, wait for a slot with block=True, or raise max_queue"
                )
            if not self._workers:  # the first request of this process
                for number in range(self._limits.workers):
                    name = f"cnntk-batching-{number}"
                    worker = threading.Thread(target=self._work, name=name, daemon=True)
                    worker.start()
                    self._workers.append(worker)
            if self._queue.add(request):
                self._changed.notify()
        return request

    def hurry(self, shape_key: Hashable | None, future: Future[Arrays]) -> None:
        """Makes a request urgent if it still waits."""
        with self._changed:
            self._queue.hurry(shape_key, future)
            self._changed.notify()

    def remove(self, shape_key: Hashable | None, future: Future[Arrays]) -> None:
        """Removes a canceled request if it still waits."""
        with self._changed:
            removed = self._queue.remove(shape_key, future)
            self._changed.notify()  # a request from the line may complete a batch
        if removed:
            future.set_running_or_notify_cancel()  # notifies concurrent.futures.wait

    def close(self, *, drain: bool, wait: bool, limit_s: float | None = None) -> None:
        """Closes like `BatchingEngine.close`; blocks only to ``wait``, and for ``limit_s`` at most."""
        with self._changed:
            self._closed = True
            refused = [] if drain else self._queue.clear()
            self._changed.notify_all()
            workers = list(self._workers)
        for request in refused:
            if request.future.set_running_or_notify_cancel():
                name = self._runner.engine.name
                request.future.set_exception(EngineClosed(f"{name}: was closed before this request ran"))
        for worker in workers:
            if wait and worker is not threading.current_thread():
                worker.join(limit_s)
        if wait:
            with self._changed:
                self._changed.wait_for(lambda: self._caller in (None, threading.get_ident()), limit_s)

    def _work(self) -> None:
        while batch := self._next_batch():
            results = self._runner.run(batch)
            with self._changed:
                self._queue.expect(len(batch))
            for request, result in zip(batch, results, strict=True):
                _set_result(request.future, result)
            del batch, results, request, result  # a waiting worker holds no arrays

    def _next_batch(self) -> list[Request]:
        """Waits for the next batch; returns an empty one when the pool is closed and nothing waits."""
        while True:
            with self._changed:
                requests = self._wait_for_batch()
            if not requests:
                return []
            batch = [request for request in requests if request.future.set_running_or_notify_cancel()]
            with self._changed:
                self._requests += len(batch)
                self._batches += bool(batch)
            if batch:
                return batch

    def _wait_for_batch(self) -> list[Request]:
        while True:
            batch = self._queue.take(math.inf if self._closed else time.monotonic())
            if batch:
                if len(self._queue):
                    self._changed.notify()  # another worker waits for the remaining ones
                return batch
            due = self._queue.due()
            if due is None and self._closed:
                return []
            self._idle += 1
            self._idle_since_s = time.monotonic()
            self._changed.wait(None if due is None else max(due - time.monotonic(), 0))
            self._idle -= 1


def _set_result(future: Future[Arrays], result: Arrays | BaseException) -> None:
    """Completes a future. An error of the caller's callback does not end the worker."""
    try:
        if isinstance(result, BaseException):
            future.set_exception(result)
        else:
            future.set_result(result)
    except BaseException:  # a callback may raise anything
        log.exception("a callback of a request failed")


def _remove_if_canceled(
    pool_ref: weakref.ref[_WorkerPool], shape_key: Hashable | None, future: Future[Arrays]
) -> None:
    pool = pool_ref()
    if pool is not None and future.cancelled():
        pool.remove(shape_key, future)


def _hurry(pool_ref: weakref.ref[_WorkerPool], shape_key: Hashable | None, future: Future[Arrays]) -> None:
    if (pool := pool_ref()) is not None:
        pool.hurry(shape_key, future)


_EXIT_WAIT_S = 5.0
_worker_pools: weakref.WeakSet[_WorkerPool] = weakref.WeakSet()


def _after_fork() -> None:
    for pool in list(_worker_pools):
        pool.reset()


@atexit.register
def _at_exit() -> None:
    """Ends the workers before the interpreter stops their threads in the middle of a run, if that ends."""
    for pool in list(_worker_pools):
        pool.close(drain=False, wait=True, limit_s=_EXIT_WAIT_S)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
