"""Which of the waiting requests go together, and when: the policy alone, without threads or clocks."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Hashable, Iterator
from concurrent.futures import Future
from dataclasses import dataclass, field
from itertools import chain
from typing import Any

from numpy.typing import NDArray

__all__ = ["BatchQueue", "Request"]

Arrays = dict[str, NDArray[Any]]


@dataclass(eq=False)
class Request:
    """One request, as it waits.

    Attributes:
        inputs: arrays by name, each (rows, ...).
        rows: how many rows of a batch it takes.
        kind: requests of one kind may share a batch; None goes alone.
        arrived: when, in seconds of a clock that never goes back.
        future: takes the answer.
        gate: locked as long as the request waits outside a full queue.
    """

    inputs: Arrays
    rows: int
    kind: Hashable | None
    arrived: float
    future: Future[Arrays] = field(default_factory=Future)
    gate: threading.Lock = field(default_factory=threading.Lock)


Waiting = OrderedDict[Future[Arrays], Request]


@dataclass
class _Group:
    """Waiting requests of one kind, oldest first."""

    waiting: Waiting = field(default_factory=OrderedDict)
    rows: int = 0

    @property
    def oldest(self) -> float:
        return next(iter(self.waiting.values())).arrived

    def pop(self) -> Request:
        _, request = self.waiting.popitem(last=False)
        self.rows -= request.rows
        return request


class BatchQueue:
    """Gathers requests into batches by size and deadline, from a bounded queue.

    A batch is due when its rows are enough, when its oldest request has waited long enough, or when the queue
    is full. Of several that are due the one with the oldest request goes first, so that none starves. Within
    a kind nobody is overtaken. Who finds the queue full may stand in line: the line moves up in order.

    It has no lock of its own; whoever shares it between threads guards it.

    Args:
        max_rows: of a batch. A request with more goes as a batch of its own.
        max_wait_s: that the oldest request of a batch waits for more to come, in seconds.
        max_queue: how many requests may wait, the line not counted.
    """

    def __init__(self, max_rows: int, max_wait_s: float, max_queue: int) -> None:
        self._max_rows = max_rows
        self._max_wait_s = max_wait_s
        self._max_queue = max_queue
        self._groups: dict[Hashable | None, _Group] = {}
        self._line: Waiting = OrderedDict()
        self._count = 0

    def __len__(self) -> int:
        """How many requests are in the queue."""
        return self._count

    @property
    def full(self) -> bool:
        """Whether the queue takes no more."""
        return self._count >= self._max_queue

    def add(self, request: Request) -> bool:
        """Puts a request into the queue, or at the end of the line with its gate locked.

        Returns:
            Whether that changes when the next batch is due.
        """
        if self.full:
            request.gate.acquire(blocking=False)
            self._line[request.future] = request
            return False
        group = self._groups.setdefault(request.kind, _Group())
        group.waiting[request.future] = request
        group.rows += request.rows
        self._count += 1
        return self._count == 1 or self.full or self._is_complete(request.kind, group)

    def remove(self, kind: Hashable | None, future: Future[Arrays]) -> bool:
        """Takes out the request of ``kind`` that shall not be answered; False if it waits no more."""
        if self._line.pop(future, None) is not None:
            return True
        group = self._groups.get(kind)
        request = group.waiting.pop(future, None) if group else None
        if group is None or request is None:
            return False
        group.rows -= request.rows
        self._settle(kind, 1)
        return True

    def due(self) -> float | None:
        """When the next batch is due, by the clock of `Request.arrived`; None if nothing waits."""
        times = [self._due(kind, group) for kind, group in self._groups.items()]
        return min(times, default=None)

    def take(self, now: float) -> list[Request]:
        """The requests of the batch that is due first, out of the queue; none if none is due."""
        due = [kind for kind, group in self._groups.items() if self._due(kind, group) <= now]
        if not due:
            return []
        kind = min(due, key=lambda kind: self._groups[kind].oldest)
        group = self._groups[kind]
        batch = [group.pop()]
        rows = batch[0].rows
        while kind is not None and group.waiting:
            rows += next(iter(group.waiting.values())).rows
            if rows > self._max_rows:
                break
            batch.append(group.pop())
        self._settle(kind, len(batch))
        return batch

    def clear(self) -> list[Request]:
        """All requests, those in line too, out of the queue."""
        everyone = list(self._everyone())
        for request in self._line.values():
            request.gate.release()
        self._groups.clear()
        self._line.clear()
        self._count = 0
        return everyone

    def _everyone(self) -> Iterator[Request]:
        return chain(*(group.waiting.values() for group in self._groups.values()), self._line.values())

    def _is_complete(self, kind: Hashable | None, group: _Group) -> bool:
        return kind is None or group.rows >= self._max_rows

    def _due(self, kind: Hashable | None, group: _Group) -> float:
        at_once = self.full or self._is_complete(kind, group)
        return group.oldest if at_once else group.oldest + self._max_wait_s

    def _settle(self, kind: Hashable | None, left: int) -> None:
        """Forgets a group without requests, and lets the line move up to the places that were left."""
        if not self._groups[kind].waiting:
            del self._groups[kind]
        self._count -= left
        while self._line and not self.full:
            _, request = self._line.popitem(last=False)
            self.add(request)
            request.gate.release()
