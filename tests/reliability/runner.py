"""Runs many seeded cases in worker processes, and sees those that crash, hang, take too much memory or fail.

A kind of case is a function of a seed, so that every failure can be repeated: ``soak.py KIND --first SEED
--cases 1``. What workers count is in shared memory, which survives them: a case that ends its process is the
one that was begun last.
"""

from __future__ import annotations

import multiprocessing as mp
import os
import resource
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

__all__ = ["Failed", "Failure", "Kind", "Result", "run"]

START_LIMIT_S = 300
"""Longest preparation of a worker."""

_ADDRESS_SPACE_BYTES = 16 << 30  # for the machine's sake; what a case may take is `Kind.rss_mib`
_MOST_FAILURES = 50
_PATIENT = 4
_CONTEXT = mp.get_context("spawn")  # nothing is inherited that a case could depend on
_SLOTS = 5  # seed, its start, slowest case, its seed, peak memory


class Failed(Exception):  # noqa: N818 - a verdict, like pytest's
    """What a case promises does not hold."""


def _no_files(folder: Path) -> None:
    """The cases need none."""


@dataclass(frozen=True)
class Kind:
    """A kind of cases.

    Attributes:
        name: Name on the command line and in the record.
        title: What the cases are, for the record.
        cases: Number of cases of the full record; a function of the folder, where it depends on the files.
        start: Function that gets the folder of ``prepare`` and an empty one, and returns the function of a
            seed; that returns one of ``outcomes``, or raises `Failed` or anything else, a failure too.
        outcomes: What a case can come to, all of them good.
        prepare: Function that writes the files that all workers use to a folder.
        limit_s: Longest time of a case.
        rss_mib: Largest memory of a worker.
        unit: What a case consists of, if of many of them, and how many.
    """

    name: str
    title: str
    cases: int | Callable[[Path], int]
    start: Callable[[Path, Path], Callable[[int], str]]
    outcomes: tuple[str, ...]
    prepare: Callable[[Path], None] = _no_files
    limit_s: float = 5
    rss_mib: int = 1024
    unit: tuple[str, int] = ("cases", 1)


@dataclass(frozen=True)
class Failure:
    """A case that failed; ``later`` is for the record, what became of it after a fix."""

    seed: int
    text: str
    later: str = ""


@dataclass
class Result:
    """What became of the cases of one kind."""

    kind: str
    cases: int = 0
    outcomes: dict[str, int] = field(default_factory=dict)
    failures: list[Failure] = field(default_factory=list)
    slowest_s: float = 0
    slowest_seed: int = -1
    peak_rss_mib: float = 0
    seconds: float = 0
    workers: int = 1


class _Worker:
    """A process that runs every ``step``-th seed below ``end``, and is replaced when it ends before that."""

    def __init__(self, kind: Kind, seeds: range, shared: Path, own: Path, end: Any) -> None:
        self.kind, self._seeds, self._folders, self._end = kind, seeds, (shared, own), end
        self.counts = _CONTEXT.RawArray("q", len(kind.outcomes))
        self.state = _CONTEXT.RawArray("d", _SLOTS)
        self.failures: list[Failure] = []
        self._starts = 0
        self._start()

    def _start(self) -> None:
        self._starts += 1
        self.state[0], self.state[1] = -1, time.monotonic()
        own = self._folders[1] / str(self._starts)
        own.mkdir(parents=True)
        self._reader, writer = _CONTEXT.Pipe(duplex=False)
        files = (self._folders[0], own)
        arguments = (self.kind, self._seeds, self._end, *files, self.counts, self.state, writer)
        self._process: BaseProcess = _CONTEXT.Process(target=_work, args=arguments)
        self._process.start()
        writer.close()

    def poll(self) -> bool:
        """Collects failures and replaces a process that ended or hangs; False when all is done."""
        alive = self._process.is_alive()  # before the pipe is read, so that nothing in it is missed
        while self._reader.poll():
            try:
                self.failures.append(Failure(*self._reader.recv()))
            except EOFError:
                break
        seed, seconds = int(self.state[0]), time.monotonic() - self.state[1]
        limit = self.kind.limit_s if seed >= 0 else START_LIMIT_S
        if alive and seconds <= limit:
            return True
        if not alive and self._process.exitcode == 0:
            return False
        self.stop()
        problem = f"no end after {limit:g} s" if alive else f"ended its process: {_cause(self._process)}"
        self.failures.append(Failure(seed, problem))
        if seed < 0 or len(self.failures) > _MOST_FAILURES:
            return False
        self._seeds = range(seed + self._seeds.step, self._seeds.stop, self._seeds.step)
        if not self._seeds or self._seeds[0] >= self._end.value:
            return False
        self._start()
        return True

    def stop(self) -> None:
        if self._process.is_alive():
            os.killpg(self._process.pid or 0, signal.SIGKILL)  # with the children of the case
        self._process.join()


def run(
    kind: Kind,
    cases: int,
    *,
    first: int = 0,
    workers: int = 1,
    seconds: float = float("inf"),
    folder: Path | None = None,
    progress: Callable[[Result], None] = lambda result: None,
) -> Result:
    """Runs the cases ``first`` to ``first + cases - 1``, or as many of them as begin within ``seconds``.

    A case that took too long is run once more, alone and with more time, as other work may have delayed it.

    Args:
        folder: Folder with the files that ``kind.prepare`` writes, where they are there already.
    """
    started = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="reliability-") as scratch:
        shared = folder or Path(scratch, "shared")
        if folder is None:
            shared.mkdir()
            kind.prepare(shared)
        end = _CONTEXT.RawValue("q", first + cases)
        team = [
            _Worker(kind, range(first + i, first + cases, workers), shared, Path(scratch, str(i)), end)
            for i in range(min(workers, cases))
        ]
        result = Result(kind.name, workers=len(team))
        try:
            _watch(team, end, result, started, seconds, progress)
            for worker in tuple(team):
                for failure in [f for f in worker.failures if f.text.startswith("no end") and f.seed >= 0]:
                    own = Path(scratch, f"again{len(team)}")
                    again = _Worker(
                        replace(kind, limit_s=_PATIENT * kind.limit_s),
                        range(failure.seed, failure.seed + 1),
                        shared,
                        own,
                        _CONTEXT.RawValue("q", failure.seed + 1),
                    )
                    team.append(again)
                    while again.poll():
                        time.sleep(0.05)
                    worker.failures.remove(failure)
            _collect(team, result, started)
        finally:
            for worker in team:
                worker.stop()
    return result


def _watch(
    team: list[_Worker],
    end: Any,
    result: Result,
    started: float,
    seconds: float,
    progress: Callable[[Result], None],
) -> None:
    """Waits for the workers; after ``seconds``, or at Ctrl-C, only until no seed is left out."""
    running, shown = list(team), started
    while running:
        with suppress(KeyboardInterrupt):
            while running and time.monotonic() - started < seconds:
                time.sleep(0.05)
                running = [worker for worker in running if worker.poll()]
                if time.monotonic() - shown > 10:
                    shown = time.monotonic()
                    _collect(team, result, started)
                    progress(result)
        end.value = min(end.value, max(int(worker.state[0]) for worker in team) + 1)
        seconds = float("inf")


def _collect(team: list[_Worker], result: Result, started: float) -> None:
    result.failures = [failure for worker in team for failure in worker.failures]
    names = team[0].kind.outcomes
    result.outcomes = {name: sum(worker.counts[i] for worker in team) for i, name in enumerate(names)}
    result.cases = sum(result.outcomes.values()) + len(result.failures)
    slowest = max(team, key=lambda worker: worker.state[2])
    result.slowest_s, result.slowest_seed = round(slowest.state[2], 3), int(slowest.state[3])
    result.peak_rss_mib = round(max(worker.state[4] for worker in team) / 1024, 1)
    result.seconds = round(time.monotonic() - started, 1)


def _work(
    kind: Kind, seeds: range, end: Any, shared: Path, own: Path, counts: Any, state: Any, failures: Any
) -> None:
    os.setpgid(0, 0)
    resource.setrlimit(resource.RLIMIT_AS, (_ADDRESS_SPACE_BYTES, _ADDRESS_SPACE_BYTES))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    log = os.open(own / "stderr.txt", os.O_WRONLY | os.O_CREAT)
    os.dup2(log, 1)  # libraries write there
    os.dup2(log, 2)
    scratch = own / "scratch"
    scratch.mkdir()
    os.chdir(scratch)
    check = kind.start(shared, scratch)
    index = {name: i for i, name in enumerate(kind.outcomes)}
    over, parent = False, os.getppid()
    for seed in seeds:
        if os.getppid() != parent or seed >= end.value:  # it was killed, or the time is over
            return
        state[1] = time.monotonic()
        state[0] = seed
        try:
            counts[index[check(seed)]] += 1
        except Failed as error:
            failures.send((seed, str(error)))
        except Exception as error:  # anything that is not promised is what the cases look for
            failures.send((seed, _text(error)))
        if (taken := time.monotonic() - state[1]) > state[2]:
            state[2], state[3] = taken, seed
        state[4] = _peak_rss_kib()
        if state[4] > kind.rss_mib * 1024 and not over:
            over = True
            failures.send((seed, f"{state[4] / 1024:.0f} MiB of memory, over {kind.rss_mib}"))
        if os.fstat(log).st_size > 1 << 24:
            os.ftruncate(log, 0)


def _text(error: Exception) -> str:
    """Type and message of an error, and the last lines of code it came through, without folders."""
    frames = traceback.extract_tb(error.__traceback__, limit=-4)
    way = ", ".join(f"{os.path.basename(frame.filename)}:{frame.lineno}" for frame in frames)
    return f"{type(error).__name__}: {error} ({way})"


def _peak_rss_kib() -> int:
    """Of this program; ``getrusage`` counts the one that started it, too."""
    with open("/proc/self/status", "rb") as status:
        return int(status.read().partition(b"VmHWM:")[2].split(None, 1)[0])


def _cause(process: BaseProcess) -> str:
    code = process.exitcode or 0
    return signal.Signals(-code).name if code < 0 else f"exit status {code}"


@contextmanager
def quiet() -> Iterator[None]:
    """Nothing on standard output from the block."""
    with open(os.devnull, "w") as nowhere:
        stdout, sys.stdout = sys.stdout, nowhere
        try:
            yield
        finally:
            sys.stdout = stdout
