"""Long use of one Engine, in threads and processes too: outputs stay equal to the bit, memory small."""

from __future__ import annotations

import multiprocessing as mp
import os
import resource
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from reliability.runner import Failed, Kind
from reliability.writers import small_artifact

from cnntk.runtime import Engine
from cnntk.shipped import shipped_model

__all__ = ["FORKS", "RUNS", "SESSIONS", "SPAWNS", "THREADS"]

_OK = "equal outputs"
_RUNS = 10_000
_THREADS, _THREAD_RUNS = 32, 1_000
_GROWTH_MIB = 8
_INPUTS = {"image": np.random.default_rng(0).integers(0, 256, (1, 28, 28, 1), dtype=np.uint8)}
_SMALL_INPUTS = {"x": np.random.default_rng(0).random((1, 256), dtype=np.float32)}


class _Memory:
    """Resident memory, compared with that after the first cases."""

    def __init__(self, warm_up: int) -> None:
        self._left, self._base = warm_up, 0.0

    def check(self) -> None:
        mib = int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize() / 2**20
        if self._left > 0:
            self._left, self._base = self._left - 1, mib
        elif mib - self._base > _GROWTH_MIB:
            raise Failed(f"memory grew by {mib - self._base:.1f} MiB, from {self._base:.1f}")


def _outputs(engine: Engine, inputs: dict[str, Any]) -> bytes:
    return b"".join(value.tobytes() for value in engine.run(inputs).values())


def start_runs(shared: Path, scratch: Path) -> Callable[[int], str]:
    engine, memory = Engine(shipped_model()), _Memory(2)
    expected = _outputs(engine, _INPUTS)

    def check(seed: int) -> str:
        for run in range(_RUNS):
            if _outputs(engine, _INPUTS) != expected:
                raise Failed(f"run {run}: other outputs")
        memory.check()
        return _OK

    return check


def start_threads(shared: Path, scratch: Path) -> Callable[[int], str]:
    small_artifact(0, scratch / "small.onnx", data_file=False)
    engine, memory = Engine(scratch / "small.onnx"), _Memory(2)
    expected = _outputs(engine, _SMALL_INPUTS)

    def check(seed: int) -> str:
        wrong: list[int] = []
        right = [0] * _THREADS

        def work(number: int) -> None:
            for _ in range(_THREAD_RUNS):
                if _outputs(engine, _SMALL_INPUTS) != expected:
                    wrong.append(number)
                right[number] += 1

        threads = [threading.Thread(target=work, args=(i,)) for i in range(_THREADS)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        if wrong or right != [_THREAD_RUNS] * _THREADS:
            raise Failed(f"{len(wrong)} runs gave other outputs; {sum(right)} ended")
        memory.check()
        return _OK

    return check


def start_forks(shared: Path, scratch: Path) -> Callable[[int], str]:
    """Cases of a child made by fork while another thread runs the model, which the child then runs, too."""
    engine = Engine(shipped_model())
    expected = _outputs(engine, _INPUTS)

    def check(seed: int) -> str:
        ended = threading.Event()
        thread = threading.Thread(
            target=lambda: [_outputs(engine, _INPUTS) for _ in iter(ended.is_set, True)]
        )
        thread.start()
        child = os.fork()
        if child == 0:
            right = all(_outputs(engine, _INPUTS) == expected for _ in range(20))
            os._exit(0 if right else 1)
        status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        ended.set()
        thread.join()
        if status or _outputs(engine, _INPUTS) != expected:
            raise Failed(f"the child ended with status {status}")
        return _OK

    return check


def start_spawns(shared: Path, scratch: Path) -> Callable[[int], str]:
    """Cases of a new process, which gets the Engine pickled."""
    engine = Engine(shipped_model())
    expected = _outputs(engine, _INPUTS)
    context = mp.get_context("spawn")

    def check(seed: int) -> str:
        child = context.Process(target=_compare, args=(engine, expected))
        child.start()
        child.join()
        if child.exitcode:
            raise Failed(f"the child ended with status {child.exitcode}")
        return _OK

    return check


def _compare(engine: Engine, expected: bytes) -> None:
    raise SystemExit(any(_outputs(engine, _INPUTS) != expected for _ in range(20)))


def start_sessions(shared: Path, scratch: Path) -> Callable[[int], str]:
    memory = _Memory(100)
    expected = _outputs(Engine(shipped_model()), _INPUTS)

    def check(seed: int) -> str:
        if _outputs(Engine(shipped_model()), _INPUTS) != expected:
            raise Failed("other outputs")
        memory.check()
        return _OK

    return check


RUNS = Kind(
    "runs",
    f"Runs of one Engine with the shipped LeNet, whose memory may grow by {_GROWTH_MIB} MiB",
    10_000_000 // _RUNS,
    start_runs,
    (_OK,),
    limit_s=120,
    unit=("runs", _RUNS),
)
THREADS = Kind(
    "threads",
    f"Runs of one Engine by {_THREADS} threads, whose memory may grow by {_GROWTH_MIB} MiB",
    1000,
    start_threads,
    (_OK,),
    limit_s=300,
    unit=("runs", _THREADS * _THREAD_RUNS),
)
FORKS = Kind(
    "forks",
    "Children made by fork while a thread runs the Engine; 20 runs each",
    100,
    start_forks,
    (_OK,),
    limit_s=60,
)
SPAWNS = Kind(
    "spawns", "New processes that get the Engine pickled; 20 runs each", 100, start_spawns, (_OK,), limit_s=60
)
SESSIONS = Kind(
    "sessions",
    f"Engines created, run and dropped, one after another; memory may grow by {_GROWTH_MIB} MiB",
    1000,
    start_sessions,
    (_OK,),
)
