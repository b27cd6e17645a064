"""Commands that are killed at any moment: no file is torn, no row lost, and the next run leaves nothing."""

from __future__ import annotations

import functools
import os
import random
import signal
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from reliability.runner import Failed, Kind
from reliability.writers import WRITERS, Writer, clear, fork, import_for, leftovers, prepare_images

__all__ = ["KILLS", "start"]

_MOST_TRIES = 40
_FIRST_GUESS_S = 0.5


def start(shared: Path, scratch: Path, writers: Sequence[Writer] = WRITERS) -> Callable[[int], str]:
    """Cases of a kill: chance says of what and when."""
    import_for(writers)
    durations: dict[str, float] = {}
    log = scratch / "output.txt"

    def check(seed: int) -> str:
        rng = random.Random(f"kill {seed}")
        deck = [writer for writer in writers for _ in range(writer.share)]
        random.Random(0).shuffle(deck)
        writer = deck[seed % len(deck)]
        clear(scratch / "folder")
        writer.write_old()
        for attempt in range(_MOST_TRIES):
            if _killed(
                writer, shared, log, rng.uniform(0, durations.get(writer.name, _FIRST_GUESS_S)) * 0.9**attempt
            ):
                break
            clear(scratch / "folder")
            writer.write_old()
        else:
            raise Failed(f"{writer.name}: ended before it could be killed, {_MOST_TRIES} times")
        writer.check(False)
        started = time.monotonic()
        status = os.waitstatus_to_exitcode(os.waitpid(fork(lambda: writer.write(shared), log), 0)[1])
        durations[writer.name] = time.monotonic() - started
        if status != 0:
            raise Failed(f"{writer.name}: exit status {status} of the next run: {log.read_text()[-800:]}")
        writer.check(True)
        if rest := leftovers(writer):
            raise Failed(f"{writer.name}: left after the next run: {rest}")
        return writer.name

    return check


def _killed(writer: Writer, shared: Path, log: Path, delay_s: float) -> bool:
    """Whether a run was killed after ``delay_s``; False where it had ended by then."""
    child = fork(lambda: writer.write(shared), log)
    time.sleep(delay_s)
    try:
        os.killpg(child, signal.SIGKILL)
    except ProcessLookupError:  # so early that it is in no group of its own yet, or at its end
        os.kill(child, signal.SIGKILL)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL


def kills_of(writers: Sequence[Writer], cases: int) -> Kind:
    """The kind for some of the writers."""
    return Kind(
        name="kills",
        title="Commands and writers killed (SIGKILL) at a random time, then run again",
        cases=cases,
        start=functools.partial(start, writers=writers),
        outcomes=tuple(writer.name for writer in writers),
        prepare=prepare_images,
        limit_s=300,
        rss_mib=4096,
    )


KILLS = kills_of(WRITERS, 1000)
