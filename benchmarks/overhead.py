"""What `Engine.run` and `Classifier` cost over bare onnxruntime, in turn in one process.

python benchmarks/overhead.py [MODEL]
"""

from __future__ import annotations

import sys
from collections.abc import Callable

import numpy as np
import onnxruntime

from cnntk.measuring.comparison import compare
from cnntk.runtime import Classifier, Engine
from cnntk.runtime.preprocess import preprocess
from cnntk.runtime.spec import IMAGE
from cnntk.runtime.trial import example_inputs
from cnntk.shipped import shipped_model

SECONDS = 15.0


def main() -> None:
    model = sys.argv[1] if len(sys.argv) > 1 else str(shipped_model())
    for threads in (1, 2):
        overhead(model, threads)


def overhead(model: str, threads: int) -> None:
    engine = Engine(model, threads=threads)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    inputs = example_inputs(engine.inputs, 1, engine.image_sizes)
    names = [o.name for o in engine.outputs]
    report(f"Engine.run, {threads} threads", lambda: session.run(names, inputs), lambda: engine.run(inputs))
    report(
        f"  control: session.run twice, {threads} threads",
        lambda: session.run(names, inputs),
        lambda: session.run(names, inputs),
    )
    classifier = Classifier(engine)
    spec = engine.spec
    if spec is None or spec.preprocessing is None:
        return
    pixels = np.random.default_rng(0).integers(0, 256, (28, 28, 1), dtype=np.uint8)
    p, name = spec.preprocessing, engine.inputs[0].name
    prepared = (lambda: pixels[None]) if name == IMAGE else (lambda: preprocess([pixels], p))
    report(
        f"Classifier on an array, {threads} threads",
        lambda: session.run(names, {name: prepared()}),
        lambda: classifier(pixels),
    )


def report(title: str, bare: Callable[[], object], ours: Callable[[], object]) -> None:
    found = compare(ours, bare, seconds=SECONDS)
    more = 1e3 * (found.first_ms - found.second_ms)
    print(
        f"{title}: {1e3 * found.first_ms:.2f} us, bare {1e3 * found.second_ms:.2f} us ({more:+.2f}), "
        f"ratio {found.ratio:.3f} [{found.low:.3f}, {found.high:.3f}]"
    )


if __name__ == "__main__":
    main()
