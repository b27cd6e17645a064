"""What `Engine.run` and `Classifier` cost over bare onnxruntime, in turn in one process.

python benchmarks/overhead.py [MODEL]      # by default the LeNet that ships with cnntk
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import onnxruntime
from common import options, print_table, row

from cnntk.benchmark.compare import compare_interleaved
from cnntk.runtime import Classifier, Engine
from cnntk.runtime.artifact.spec import IMAGE_INPUT
from cnntk.runtime.example_inputs import example_inputs
from cnntk.runtime.preprocessing.preprocess import preprocess
from cnntk.shipped import shipped_model

Call = Callable[[], object]


def main() -> None:
    parser = options(__doc__)
    parser.add_argument("model", nargs="?", default=str(shipped_model()))
    args = parser.parse_args()
    seconds = 0.5 if args.quick else 15.0
    print("One image, on the same session settings; `session.run` compared with itself is the control.\n")
    print_table(
        row(
            f"{Path(args.model).stem}, {what}, {threads} thread{'s' * (threads > 1)}",
            "session.run",
            compare_interleaved(*calls, seconds=seconds),
        )
        for threads in (1, 2)
        for what, calls in pairs(args.model, threads)
    )


def pairs(model: str, threads: int) -> Iterator[tuple[str, tuple[Call, Call]]]:
    """Each with bare onnxruntime first."""
    engine = Engine(model, threads=threads)
    settings = onnxruntime.SessionOptions()
    settings.intra_op_num_threads = threads
    session = onnxruntime.InferenceSession(model, settings, providers=["CPUExecutionProvider"])
    inputs = example_inputs(engine.inputs, 1, engine.image_sizes)
    names = [o.name for o in engine.outputs]

    def bare() -> object:
        return session.run(names, inputs)

    yield "Engine.run", (bare, lambda: engine.run(inputs))
    yield "session.run", (bare, lambda: session.run(names, inputs))
    if engine.spec is None or (p := engine.spec.preprocessing) is None:
        return
    classifier, name = Classifier(engine), engine.inputs[0].name
    pixels = np.random.default_rng(0).integers(0, 256, (p.height, p.width, p.channels), dtype=np.uint8)
    prepared = (lambda: pixels[None]) if name == IMAGE_INPUT else (lambda: preprocess([pixels], p))
    yield "Classifier, an array", (lambda: session.run(names, {name: prepared()}), lambda: classifier(pixels))


if __name__ == "__main__":
    main()
