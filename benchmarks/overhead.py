"""What `Engine.run` and `Classifier` cost over bare onnxruntime, interleaved in one process.

python benchmarks/overhead.py [MODEL]
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable

import numpy as np
import onnxruntime

from cnntk.runtime import Classifier, Engine
from cnntk.runtime.preprocess import preprocess
from cnntk.runtime.spec import IMAGE
from cnntk.runtime.trial import example_inputs
from cnntk.shipped import shipped_model

ROUNDS = 20_000


def main() -> None:
    model = sys.argv[1] if len(sys.argv) > 1 else str(shipped_model())
    for threads in (1, 2):
        compare(model, threads)


def compare(model: str, threads: int) -> None:
    engine = Engine(model, threads=threads)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    inputs = example_inputs(engine.inputs, 1, engine.image_sizes)
    names = [o.name for o in engine.outputs]
    bare, ours = interleave(lambda: session.run(names, inputs), lambda: engine.run(inputs))
    report(f"Engine.run, {threads} threads", bare, ours)
    same, again = interleave(lambda: session.run(names, inputs), lambda: session.run(names, inputs))
    report(f"  control: session.run twice, {threads} threads", same, again)
    classifier = Classifier(engine)
    spec = engine.spec
    if spec is None or spec.preprocessing is None:
        return
    pixels = np.random.default_rng(0).integers(0, 256, (28, 28, 1), dtype=np.uint8)
    p, name = spec.preprocessing, engine.inputs[0].name
    prepared = (lambda: pixels[None]) if name == IMAGE else (lambda: preprocess([pixels], p))
    parts, whole = interleave(lambda: session.run(names, {name: prepared()}), lambda: classifier(pixels))
    report(f"Classifier on an array, {threads} threads", parts, whole)


def interleave(
    first: Callable[[], object], second: Callable[[], object], rounds: int = ROUNDS
) -> tuple[np.ndarray, np.ndarray]:
    """Latencies in µs of both, called in turn, each first in every other round."""
    for _ in range(500):
        first(), second()
    times = np.empty((2, rounds))
    for i in range(rounds):
        order = ((0, first), (1, second)) if i % 2 else ((1, second), (0, first))
        for which, call in order:
            start = time.perf_counter_ns()
            call()
            times[which, i] = time.perf_counter_ns() - start
    return times[0] / 1e3, times[1] / 1e3


def report(title: str, base: np.ndarray, ours: np.ndarray) -> None:
    a, b = np.median(base), np.median(ours)
    print(f"{title}: p50 {b:.2f} µs, bare {a:.2f} µs, ratio {b / a:.3f}, more {b - a:+.2f} µs")


if __name__ == "__main__":
    main()
