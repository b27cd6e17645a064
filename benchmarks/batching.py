"""`BatchingEngine` against a plain `Engine`: the same clients in a closed loop, in alternating rounds.

python benchmarks/batching.py [MODEL.onnx] [--device cuda]      # by default NiN with random weights

Each client sends one image, waits for its answer, and sends again. The bar on a CPU: 0.97 of the plain
engine's throughput, and 99 of 100 answers within max_wait_ms plus two batches.
"""

from __future__ import annotations

import argparse
import functools
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from common import duration, in_turn, options, paired, print_table, row

from cnntk.benchmark.statistics.intervals import percentiles
from cnntk.runtime import Engine
from cnntk.runtime.batching.batching import BatchingEngine
from cnntk.runtime.example_inputs import example_inputs

Arrays = dict[str, np.ndarray]
Call = Callable[[Arrays], Any]


@dataclass(frozen=True)
class Round:
    """Time by requests, and what each of them took, in ms."""

    each_ms: float
    latencies_ms: list[float]


def main() -> None:
    parsed = arguments()
    with tempfile.TemporaryDirectory() as folder:
        plain = Engine(parsed.model or exported(folder), parsed.device)
    with BatchingEngine(
        plain, max_batch=parsed.max_batch, max_wait_ms=parsed.max_wait_ms, workers=parsed.workers
    ) as batching:
        images = [example_inputs(plain.inputs, 1, plain.image_sizes) for _ in range(parsed.clients)]
        full = example_inputs(plain.inputs, parsed.max_batch, plain.image_sizes)
        calls = {
            "Engine": functools.partial(closed_loop, plain.run, images, parsed.seconds),
            "BatchingEngine": functools.partial(closed_loop, batching.run, images, parsed.seconds),
            "a full batch": functools.partial(closed_loop, plain.run, [full], parsed.seconds / 4),
        }
        in_turn(calls, 1)
        report(parsed, in_turn(calls, parsed.rounds))
        stats = batching.stats
    print(f"{stats.requests / stats.batches:.1f} requests a batch.")


def arguments() -> argparse.Namespace:
    parser = options(__doc__)
    parser.add_argument("model", nargs="?")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--clients", type=int, default=64)
    parser.add_argument("--seconds", type=float, default=6, help="of each round")
    parser.add_argument("--rounds", type=int, default=8)
    parser.add_argument("--max-batch", type=int, default=64)
    parser.add_argument("--max-wait-ms", type=float, default=2)
    parser.add_argument("--workers", type=int)
    parsed = parser.parse_args()
    if parsed.quick:
        parsed.seconds, parsed.rounds = 0.2, 1
    return parsed


def exported(folder: str) -> Path:
    from cnntk.exporters import export

    export("nin", target := Path(folder) / "nin.onnx", random=True)
    return target


def closed_loop(call: Call, images: Sequence[Arrays], seconds: float) -> Round:
    """One client for each image; the last ones begun are waited for, and counted."""
    latencies_ms: list[float] = []
    begin = time.perf_counter()

    def client(image: Arrays) -> None:
        while (start := time.perf_counter()) - begin < seconds:
            call(image)
            latencies_ms.append(1e3 * (time.perf_counter() - start))

    threads = [threading.Thread(target=client, args=(image,)) for image in images]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return Round(1e3 * (time.perf_counter() - begin) / len(latencies_ms), latencies_ms)


def report(parsed: argparse.Namespace, rounds: dict[str, list[Round]]) -> None:
    each_ms = {name: [r.each_ms for r in answers] for name, answers in rounds.items()}
    print(
        f"{parsed.clients} clients that each send one image and wait, {parsed.rounds} rounds of "
        f"{parsed.seconds:g} s in turn; the time is a request's share of the clock.\n"
    )
    answers = paired(each_ms["Engine"], each_ms["BatchingEngine"])
    print_table([row(f"{Path(parsed.model or 'nin').stem}, BatchingEngine", "Engine", answers)])
    print("What a client waits for:\n")
    print_table((latency(name, rounds[name]) for name in ("Engine", "BatchingEngine")), WAITS)
    batch = float(np.median(each_ms["a full batch"]))
    print(
        f"A full batch of {parsed.max_batch} alone takes {duration(batch)}, two and max_wait_ms "
        f"{duration(2 * batch + parsed.max_wait_ms)}."
    )


WAITS = ("engine", "requests/s", "p50 [95 % interval]", "p99 [95 % interval]")


def latency(name: str, rounds: list[Round]) -> tuple[str, ...]:
    answers = percentiles([ms for r in rounds for ms in r.latencies_ms], (50, 99))
    columns = (
        "too few requests" if e is None else f"{duration(e.value)} [{duration(e.low)}, {duration(e.high)}]"
        for e in answers.values()
    )
    return name, f"{1e3 / np.median([r.each_ms for r in rounds]):.1f}", *columns


if __name__ == "__main__":
    main()
