"""`BatchingEngine` against a plain `Engine`: the same clients in a closed loop, in alternating rounds.

cnntk export nin --random -o nin.onnx
python benchmarks/batching.py nin.onnx [--device cuda]

Each client sends one image, waits for its answer, and sends again. The bar on a CPU: 0.97 of the plain
engine's throughput, and 99 of 100 answers within max_wait_ms plus two batches.
"""

from __future__ import annotations

import argparse
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from cnntk.runtime import Engine
from cnntk.runtime.batching import BatchingEngine
from cnntk.runtime.trial import example_inputs

Arrays = dict[str, np.ndarray]
Call = Callable[[Arrays], Any]


@dataclass(frozen=True)
class Round:
    """Requests a second, and what each of them took, in ms."""

    throughput: float
    latencies_ms: np.ndarray


def main() -> None:
    options = arguments()
    plain = Engine(options.model, options.device)
    with BatchingEngine(
        plain, max_batch=options.max_batch, max_wait_ms=options.max_wait_ms, workers=options.workers
    ) as batching:
        images = [example_inputs(plain.inputs, 1, plain.image_sizes) for _ in range(options.clients)]
        full = {
            name: np.concatenate([images[i % len(images)][name] for i in range(options.max_batch)])
            for name in images[0]
        }
        rounds: dict[str, list[Round]] = {"plain": [], "batching": []}
        batch_ms = []
        for number in range(options.rounds + 1):
            calls: list[tuple[str, Call]] = [("plain", plain.run), ("batching", batching.run)]
            for name, call in calls if number % 2 else reversed(calls):
                rounds[name].append(closed_loop(call, images, options.seconds))
            batch_ms.append(took_ms(lambda: plain.run(full)))
        print(f"{plain!r}, {options.clients} clients, {options.max_batch} images a batch at most")
        stats = batching.stats
    report({name: found[1:] for name, found in rounds.items()}, options.max_wait_ms, batch_ms[1:])
    print(f"{stats.requests / stats.batches:.1f} requests a batch")


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--clients", type=int, default=64)
    parser.add_argument("--seconds", type=float, default=6, help="of each round")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--max-batch", type=int, default=64)
    parser.add_argument("--max-wait-ms", type=float, default=2)
    parser.add_argument("--workers", type=int)
    return parser.parse_args()


def closed_loop(call: Call, images: list[Arrays], seconds: float) -> Round:
    """One client for each image; the last ones begun are waited for, and counted."""
    latencies: list[float] = []
    begin = time.perf_counter()

    def client(image: Arrays) -> None:
        while time.perf_counter() - begin < seconds:
            latencies.append(took_ms(lambda: call(image)))

    threads = [threading.Thread(target=client, args=(image,)) for image in images]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return Round(len(latencies) / (time.perf_counter() - begin), np.array(latencies))


def took_ms(call: Callable[[], Any]) -> float:
    start = time.perf_counter()
    call()
    return (time.perf_counter() - start) * 1e3


def report(rounds: dict[str, list[Round]], max_wait_ms: float, batch_ms: list[float]) -> None:
    for name, found in rounds.items():
        p50, p99 = np.percentile(np.concatenate([r.latencies_ms for r in found]), [50, 99])
        rate = np.median([r.throughput for r in found])
        print(f"{name}: {rate:.1f} requests/s, p50 {p50:.1f} ms, p99 {p99:.1f} ms")
    ratios = [
        ours.throughput / base.throughput
        for ours, base in zip(rounds["batching"], rounds["plain"], strict=True)
    ]
    spread = f"{min(ratios):.3f} to {max(ratios):.3f}"
    print(f"throughput, batching to plain: median {np.median(ratios):.3f} of rounds with {spread}")
    batch = float(np.median(batch_ms))
    print(
        f"a full batch alone: {batch:.1f} ms; max_wait_ms and two batches: {max_wait_ms + 2 * batch:.1f} ms"
    )


if __name__ == "__main__":
    main()
