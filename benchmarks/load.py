"""How long a model takes to load: `Engine` against a bare InferenceSession, and from a cache.

    cnntk export vgg11 --random -o vgg11.onnx
    python benchmarks/load.py [MODEL...]      # by default the LeNet that ships with cnntk

The ways in turn, round by round, one thread each; medians. The bars: at most 5 ms over the bare session for
LeNet, at most 3 % for VGG-11. What an engine does more: SHA-256 of the file (of a large one while onnxruntime
loads it), the spec, and the search for weights outside of the file.
"""

from __future__ import annotations

import argparse
import gc
import os
import statistics
import tempfile
import time
from collections.abc import Callable

import onnxruntime

from cnntk.runtime import Engine
from cnntk.runtime.timing import Race
from cnntk.shipped import shipped_model


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("models", nargs="*", default=[str(shipped_model())])
    parser.add_argument("--rounds", type=int, help="by default as many as fit into about a minute")
    arguments = parser.parse_args()
    for model in arguments.models:
        with tempfile.TemporaryDirectory() as cache:
            compare(model, cache, arguments.rounds)


def compare(model: str, cache: str, rounds: int | None) -> None:
    """Prints a line for each way to load ``model``."""
    ways: dict[str, Callable[[], object]] = {
        "bare": lambda: bare(model),
        "engine": lambda: Engine(model, threads=1),
        "engine, cached": lambda: Engine(model, threads=1, cache=cache),
        "engine, cached, shared": lambda: Engine(model, threads=1, cache=cache, share_weights=True),
    }
    for way in ways.values():  # fills the caches, too
        seconds = timed(way)
    rounds = rounds or max(5, min(300, round(15 / seconds)))
    times: dict[str, list[float]] = {name: [] for name in ways}
    for i in range(rounds):
        for name in list(ways)[:: 1 if i % 2 else -1]:
            times[name].append(timed(ways[name]))
    print(f"{model}: {os.path.getsize(model) / 1e6:.1f} MB, {rounds} rounds, load {os.getloadavg()[0]:.1f}")
    for name, values in times.items():
        more = statistics.median(v - b for v, b in zip(values, times["bare"], strict=True))
        found = Race.of([values, times["bare"]])
        print(
            f"  {name:24} {statistics.median(values) * 1e3:8.2f} ms, {more * 1e3:+8.2f} ms over bare, "
            f"{found.ratio:.3f} of it [{found.low:.3f}, {found.high:.3f}]"
        )


def bare(model: str) -> object:
    """What a user would write without cnntk."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])


def timed(load: Callable[[], object]) -> float:
    """Seconds; what was loaded is let go outside of them."""
    gc.collect()
    start = time.perf_counter()
    made = load()
    seconds = time.perf_counter() - start
    del made
    return seconds


if __name__ == "__main__":
    main()
