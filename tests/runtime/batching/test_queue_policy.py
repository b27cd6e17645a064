import numpy as np
import pytest

from cnntk.runtime.batching._queue_policy import BatchQueue, Request

WAIT_S = 0.5


def request(arrival_s: float, rows: int = 1, shape_key: object = "small") -> Request:
    return Request({"x": np.zeros((rows, 2), np.float32)}, rows, shape_key, arrival_s)


def queue(max_rows: int = 4, max_queue: int = 100) -> BatchQueue:
    return BatchQueue(max_rows, WAIT_S, max_queue)


def test_nothing_is_due_where_nothing_waits() -> None:
    waiting = queue()
    assert waiting.due() is None
    assert waiting.take(1e9) == []
    assert len(waiting) == 0


def test_a_batch_is_due_by_size() -> None:
    waiting = queue()
    requests = [request(10 + i / 100) for i in range(5)]
    assert [waiting.add(r) for r in requests[:4]] == [True, False, False, True]
    assert waiting.due() == 10
    waiting.add(requests[4])
    assert waiting.take(10.04) == requests[:4]
    assert waiting.take(10.04) == []
    assert waiting.due() == requests[4].arrival_s + WAIT_S


def test_a_batch_is_due_by_its_oldest() -> None:
    waiting = queue()
    requests = [request(10), request(10.4)]
    for r in requests:
        waiting.add(r)
    assert waiting.due() == 10 + WAIT_S
    assert waiting.take(10.49) == []
    assert waiting.take(10.5) == requests


def test_urgent_requests_wait_only_for_as_many_as_came_last() -> None:
    waiting = queue()
    first, others = request(10), [request(11), request(11.1)]
    waiting.add(first)
    assert waiting.take(10.1) == []
    waiting.hurry(first.shape_key, first.future)
    assert waiting.take(10.1) == [first]
    for r in others:
        r.urgent = True
        assert waiting.add(r)
    assert waiting.take(11.1) == others
    again = [request(12), request(12.1)]
    for r in again:
        assert waiting.take(12.1) == [], "two came last"
        r.urgent = True
        waiting.add(r)
    assert waiting.take(12.1) == again
    waiting.hurry(first.shape_key, first.future)  # it waits no more
    assert waiting.due() is None


def test_requests_that_came_while_a_batch_ran_wait_for_its_callers() -> None:
    waiting = queue()
    requests = [request(10 + i) for i in range(3)]
    for r in requests:
        r.urgent = True
    waiting.add(requests[0])
    assert waiting.take(10) == requests[:1]
    waiting.add(requests[1])
    waiting.expect(1)
    assert waiting.take(11) == []
    waiting.add(requests[2])
    assert waiting.take(12) == requests[1:]


def test_a_request_in_line_can_become_urgent() -> None:
    waiting = queue(max_queue=1)
    requests = [request(10), request(10)]
    for r in requests:
        waiting.add(r)
    waiting.hurry(requests[1].shape_key, requests[1].future)
    assert waiting.take(10) == requests[:1]
    assert waiting.due() == 10, "the queue is full"
    assert requests[1].urgent


def test_a_full_queue_waits_for_no_more() -> None:
    waiting = queue(max_rows=4, max_queue=2)
    requests = [request(10), request(10.1)]
    assert [waiting.add(r) for r in requests] == [True, True]
    assert waiting.full
    assert waiting.take(10.1) == requests
    assert not waiting.full


def test_shapes_do_not_mix_and_none_starves() -> None:
    waiting = queue(max_rows=2)
    slow = request(10, shape_key="large")
    waiting.add(slow)
    for i in range(6):
        waiting.add(request(10.1 + i / 10))
    assert {r.shape_key for r in waiting.take(10.4)} == {"small"}, "the large one may still wait for another"
    assert waiting.take(10.5) == [slow], "now it is the oldest that is due, complete batches or not"
    assert [r.shape_key for r in waiting.take(10.5)] == ["small", "small"]


def test_requests_without_a_shape_key_go_alone_and_at_once() -> None:
    waiting = queue()
    requests = [request(10 + i, shape_key=None) for i in range(3)]
    assert [waiting.add(r) for r in requests] == [True, True, True]
    assert [waiting.take(12) for _ in range(4)] == [[r] for r in requests] + [[]]


def test_rows_count_and_nobody_is_overtaken() -> None:
    waiting = queue(max_rows=4)
    requests = [request(10, rows) for rows in (2, 9, 1, 3, 1)]
    for r in requests:
        waiting.add(r)
    batches = [[r.rows for r in waiting.take(11)] for _ in range(4)]
    assert batches == [[2], [9], [1, 3], [1]]


def test_the_line_moves_up_in_order() -> None:
    waiting = queue(max_rows=2, max_queue=2)
    requests = [request(10 + i) for i in range(5)]
    for r in requests:
        waiting.add(r)
    assert len(waiting) == 2
    assert [r.admission.locked() for r in requests] == [False, False, True, True, True]
    assert waiting.take(20) == requests[:2]
    assert [r.admission.locked() for r in requests] == [False, False, False, False, True]
    assert waiting.take(20) == requests[2:4]
    assert waiting.take(20) == requests[4:]


def test_removed_requests_free_slots_for_the_line() -> None:
    waiting = queue(max_queue=2)
    requests = [request(10 + i) for i in range(4)]
    for r in requests:
        waiting.add(r)
    in_queue, in_line = requests[0], requests[2]
    assert waiting.remove(in_line.shape_key, in_line.future)
    assert waiting.remove(in_queue.shape_key, in_queue.future)
    assert not waiting.remove(in_queue.shape_key, in_queue.future), "it waits no more"
    assert not waiting.remove("other", requests[1].future)
    assert not requests[3].admission.locked()
    assert len(waiting) == 2
    assert waiting.take(20) == [requests[1], requests[3]]
    assert waiting.due() is None


@pytest.mark.parametrize("max_queue", [2, 100])
def test_clear_gives_back_everyone(max_queue: int) -> None:
    waiting = queue(max_queue=max_queue)
    requests = [request(10, shape_key=key) for key in ("small", "large", "small", None)]
    for r in requests:
        waiting.add(r)
    assert {id(r) for r in waiting.clear()} == {id(r) for r in requests}
    assert not any(r.admission.locked() for r in requests)
    assert len(waiting) == 0
    assert waiting.due() is None
