"""Who a model is measured against: another file, torch, OpenVINO; on the same inputs and as many threads.

All of them are called in this process, so that calls can be measured in turn.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from typing import Any

from numpy.typing import NDArray

from cnntk.benchmark.opponent import Arrays, Opponent, compared, first_line, in_order
from cnntk.runtime.engine import Engine
from cnntk.runtime.errors import InputError, MissingDependency, UnsupportedArtifact, UsageError

__all__ = ["NOBODY", "opponents"]

NOBODY = "is nobody to measure against; name an .onnx file, torch, torch:SOURCE or openvino"
"""What is said of another name."""


@contextmanager
def opponents(
    name: str,
    engine: Engine,
    inputs: Mapping[str, NDArray[Any]],
    *,
    weights: str | None = None,
    random: bool = False,
) -> Iterator[tuple[Opponent, ...]]:
    """Makes ready whom ``name`` means, to be called until the block ends; then torch has its threads back.

    Args:
        name: an ``.onnx`` file; ``openvino``, which runs the same file; ``torch:SOURCE``, with SOURCE as
            `cnntk.export` takes it, eager and compiled; or ``torch``, where the model's own source is known.
        engine: that is measured; the others run on its device, with its threads.
        inputs: of every call.
        weights: of a SOURCE that has none of its own.
        random: take seeded random weights for such a source.

    Yields:
        One opponent, or two. Each was called once, and its answers were compared: that they differ is no
        error, as another network may be meant.

    Raises:
        UsageError: there is nobody of that name, or it takes other inputs.
        MissingDependency: it needs a package that is not installed.
    """
    with _rivals(name, engine, dict(inputs), weights, random) as found:
        ours = engine.run(inputs, allow_nonfinite=True)
        yield tuple(compared(rival, ours) for rival in found)


def _rivals(
    name: str, engine: Engine, inputs: Arrays, weights: str | None, random: bool
) -> AbstractContextManager[tuple[Opponent, ...]]:
    kind, _, source = name.partition(":")
    if kind == "torch":
        from cnntk.benchmark.torch_opponents import torch_rivals

        return torch_rivals(source, engine, inputs, weights=weights, random=random)
    if weights is not None or random:
        raise UsageError(f"{name}: has weights of its own: weights and random are for torch:SOURCE")
    if name == "openvino":
        return _just(_openvino(engine, inputs))
    if name.endswith(".onnx"):
        return _just(_file(name, engine, inputs))
    raise UsageError(f"{name!r} {NOBODY}")


@contextmanager
def _just(rival: Opponent) -> Iterator[tuple[Opponent, ...]]:
    yield (rival,)


def _file(name: str, engine: Engine, inputs: Arrays) -> Opponent:
    other = Engine(name, engine.device, threads=engine.threads, allow_nonfinite=True)
    given = in_order(inputs, [spec.name for spec in other.inputs], name)
    try:
        other.run(given)  # its check of ranks would refuse what runs: a rank that the file does not tell
    except InputError as error:
        raise UsageError(f"{name}: takes other inputs than {engine.name}: {error}") from error
    return Opponent(name, functools.partial(other.run, given))


def _openvino(engine: Engine, inputs: Arrays) -> Opponent:
    try:
        import openvino
    except ImportError as error:
        raise MissingDependency("openvino is not installed; run: pip install openvino") from error
    if engine.device != "cpu":
        raise UsageError(f"openvino: is measured on the CPU alone, not on {engine.device}")
    settings = {
        "INFERENCE_NUM_THREADS": engine.threads,
        "INFERENCE_PRECISION_HINT": "f32",  # it would take bfloat16 where the CPU has it
        "PERFORMANCE_HINT": "LATENCY",
    }
    try:
        request = openvino.Core().compile_model(engine.name, "CPU", settings).create_infer_request()
    except RuntimeError as error:  # its own exceptions are of this kind
        raise UnsupportedArtifact(f"{engine.name}: openvino can't run it: {first_line(error)}") from error

    def call() -> Arrays:
        found = request.infer(inputs, share_inputs=True)
        return {output.get_any_name(): value for output, value in found.items()}

    return Opponent(f"openvino {openvino.__version__.split('-')[0]}", call, "computes in float32")
