"""The queue policy: which waiting requests form a batch, and when. It has no threads and no clock."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable
from concurrent.futures import Future
from dataclasses import dataclass, field
from itertools import chain
from typing import Any

from numpy.typing import NDArray

Arrays = dict[str, NDArray[Any]]


class RequestFuture(Future[Arrays]):
    """Future that calls ``on_wait`` with itself when a caller begins to wait for the outputs."""

    on_wait: Callable[[RequestFuture], None] | None = None

    def result(self, timeout: float | None = None) -> Arrays:
        self._announce()
        return super().result(timeout)

    def exception(self, timeout: float | None = None) -> BaseException | None:
        self._announce()
        return super().exception(timeout)

    def _announce(self) -> None:
        if self.on_wait is not None and not self.done():
            self.on_wait(self)


@dataclass(eq=False)
class Request:
    """A waiting request; its ``admission`` lock is held while it waits in line outside a full queue."""

    inputs: Arrays  # each (rows, ...)
    rows: int
    shape_key: Hashable | None  # equal for requests that may share a batch; None for one that runs alone
    arrival_s: float  # by a monotonic clock
    urgent: bool = False  # whether a caller waits for its outputs
    future: RequestFuture = field(default_factory=RequestFuture)
    admission: threading.Lock = field(default_factory=threading.Lock)


RequestsByFuture = OrderedDict[Future[Arrays], Request]


@dataclass
class _Group:
    """Waiting requests with one shape key, oldest first."""

    requests: RequestsByFuture = field(default_factory=OrderedDict)
    rows: int = 0
    urgent: bool = False

    @property
    def oldest_s(self) -> float:
        return next(iter(self.requests.values())).arrival_s

    def pop(self) -> Request:
        _, request = self.requests.popitem(last=False)
        self.rows -= request.rows
        return request


class BatchQueue:
    """A bounded queue that forms batches of requests by size and deadline; it has no lock of its own.

    A batch is due when it has enough rows, when its oldest request has waited long enough, or when the queue
    is full; one with an urgent request also when as many requests wait as were in the last batch or came
    while it ran, because its callers are likely to return. If several are due, the one with the oldest
    request goes first, so that none starves. Requests with one shape key keep their order. Requests that
    arrive while the queue is full may wait in line for a free slot, in order. The limits are those of
    `BatchingEngine`.

    Attributes:
        expected: Number of requests that are likely to wait soon.
    """

    def __init__(self, max_rows: int, max_wait_s: float, max_queue: int) -> None:
        self._max_rows = max_rows
        self._max_wait_s = max_wait_s
        self._max_queue = max_queue
        self._groups: dict[Hashable | None, _Group] = {}
        self._line: RequestsByFuture = OrderedDict()
        self._count = 0
        self.expected = 1

    def __len__(self) -> int:
        return self._count

    @property
    def full(self) -> bool:
        return self._count >= self._max_queue

    def add(self, request: Request) -> bool:
        """Adds a request to the queue or the line; returns whether the next batch is due at another time."""
        if self.full:
            request.admission.acquire(blocking=False)
            self._line[request.future] = request
            return False
        group = self._groups.setdefault(request.shape_key, _Group())
        group.requests[request.future] = request
        group.rows += request.rows
        group.urgent |= request.urgent
        self._count += 1
        return self._count == 1 or self.full or self._is_complete(request.shape_key, group)

    def hurry(self, shape_key: Hashable | None, future: Future[Arrays]) -> None:
        """Makes a request urgent if it still waits."""
        group = self._groups.get(shape_key)
        if future in self._line:
            self._line[future].urgent = True
        elif group and future in group.requests:
            group.urgent = True

    def remove(self, shape_key: Hashable | None, future: Future[Arrays]) -> bool:
        """Removes a canceled request; returns False if it no longer waits."""
        if self._line.pop(future, None) is not None:
            return True
        group = self._groups.get(shape_key)
        request = group.requests.pop(future, None) if group else None
        if group is None or request is None:
            return False
        group.rows -= request.rows
        self._free_slots(shape_key, 1)
        return True

    def due(self) -> float | None:
        """Returns when the next batch is due, by the clock of `Request.arrival_s`; None if nothing waits."""
        times = [self._due(key, group) for key, group in self._groups.items()]
        return min(times, default=None)

    def take(self, now: float) -> list[Request]:
        """Removes and returns the requests of the batch that is due first; empty if none is due."""
        due = [key for key, group in self._groups.items() if self._due(key, group) <= now]
        if not due:
            return []
        shape_key = min(due, key=lambda key: self._groups[key].oldest_s)
        group = self._groups[shape_key]
        batch = [group.pop()]
        rows = batch[0].rows
        while shape_key is not None and group.requests:
            rows += next(iter(group.requests.values())).rows
            if rows > self._max_rows:
                break
            batch.append(group.pop())
        self._free_slots(shape_key, len(batch))
        self.expected = len(batch)
        return batch

    def expect(self, returning: int) -> None:
        """Expects the callers of a batch that has run, beside the requests that wait."""
        self.expected = returning + self._count

    def clear(self) -> list[Request]:
        """Removes and returns all requests, including those in line."""
        queued = (group.requests.values() for group in self._groups.values())
        requests = list(chain(*queued, self._line.values()))
        for request in self._line.values():
            request.admission.release()
        self._groups.clear()
        self._line.clear()
        self._count = 0
        return requests

    def _is_complete(self, shape_key: Hashable | None, group: _Group) -> bool:
        expected = group.urgent and self._count >= self.expected
        return shape_key is None or expected or group.rows >= self._max_rows

    def _due(self, shape_key: Hashable | None, group: _Group) -> float:
        immediately = self.full or self._is_complete(shape_key, group)
        return group.oldest_s if immediately else group.oldest_s + self._max_wait_s

    def _free_slots(self, shape_key: Hashable | None, count: int) -> None:
        """Removes an empty group, and admits requests in line to the slots that became free."""
        if not self._groups[shape_key].requests:
            del self._groups[shape_key]
        self._count -= count
        while self._line and not self.full:
            _, request = self._line.popitem(last=False)
            self.add(request)
            request.admission.release()
