"""Inputs of the batches that are asked for, where the model takes them, and runs on them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cnntk.runtime.artifact.spec import TensorSpec
from cnntk.runtime.engine import Engine
from cnntk.runtime.errors import InferenceError, NonFiniteOutput, UsageError
from cnntk.runtime.example_inputs import example_inputs
from cnntk.runtime.session.session_factory import LoadedModel, onnxruntime_errors, tensor_specs

__all__ = [
    "batch_inputs",
    "chosen_batch",
    "fixed_batch",
    "plain_inputs",
    "run_notes",
    "runs_on",
    "session_inputs",
]

Arrays = dict[str, NDArray[Any]]


def fixed_batch(engine: Engine) -> int | None:
    """The only batch that a model takes; None where it is free.

    Raises:
        UsageError: the model has no inputs, so no batch either.
    """
    if not engine.inputs:
        raise UsageError(f"{engine.name}: has no inputs, so it always answers the same; nothing to measure")
    first = engine.inputs[0].shape[:1]
    return first[0] if first and isinstance(first[0], int) else None


def chosen_batch(engine: Engine, asked: Sequence[int] = ()) -> int:
    """Images a run, where one number is needed: the first that was asked for, the fixed one, or 1."""
    return asked[0] if asked else fixed_batch(engine) or 1


def batch_inputs(engine: Engine, batch: int) -> Arrays:
    """Seeded noise for each input, at the size at which there is nothing to resize.

    Integers of a file that cnntk did not make may be indices, for which noise is too large: they are zeros
    where the model does not run on noise, but on zeros. It is run to see that.

    Raises:
        UsageError: the model's batch is fixed at another, or a further size is open.
    """
    noise = plain_inputs(engine, batch)
    if engine.spec is not None:
        return noise
    return _that_run(noise, lambda arrays: engine.run(arrays, allow_nonfinite=True), (InferenceError,))


def plain_inputs(engine: Engine, batch: int, *, zeros: bool = False) -> Arrays:
    """Likewise, without a run: noise, or zeros for all integers.

    Raises:
        UsageError: as `batch_inputs`.
    """
    fixed = fixed_batch(engine)
    if fixed is not None and fixed != batch:
        raise UsageError(
            f"{engine.name}: its batch is fixed at {fixed}, not {batch}; export it with a free one"
        )
    noise = _noise(engine.name, engine.inputs, batch, engine.image_sizes)
    return _zeroed(noise) if zeros else noise


def session_inputs(opened: LoadedModel, batch: int) -> Arrays:
    """As `batch_inputs`, for a session without an engine around it.

    Raises:
        UsageError: as `batch_inputs`.
    """
    preprocessing = None if opened.spec is None else opened.spec.preprocessing
    sizes = None if preprocessing is None else preprocessing.image_sizes
    noise = _noise(opened.name, tensor_specs(opened.session.get_inputs()), batch, sizes)
    if opened.spec is not None:
        return noise
    return _that_run(noise, lambda arrays: opened.session.run(None, arrays), onnxruntime_errors())


def run_notes(engine: Engine, batch: int) -> Iterator[str]:
    """What to know of the inputs that are made for a model, and of its answers; it is run once.

    Raises:
        UsageError: as `batch_inputs`.
        InferenceError: it does not run on them.
    """
    inputs = batch_inputs(engine, batch)
    zeros = [name for name, array in inputs.items() if array.dtype.kind in "iu" and not array.any()]
    noise = plain_inputs(engine, batch) if zeros else {}
    if any(noise[name].any() for name in zeros):
        yield f"{', '.join(zeros)}: zeros were sent, as the model does not run on noise of 0 to 255"
    answers = engine.run(inputs, allow_nonfinite=True)
    for name, value in answers.items():
        if value.dtype.kind == "f" and not np.isfinite(value).all():
            yield f"{name}: its answers are not finite, which Engine refuses; they were let through"


def runs_on(engine: Engine, inputs: Arrays) -> Callable[[], Arrays]:
    """A run as apps make it; once an answer is not finite, such answers are let through."""
    let_through: bool | None = None

    def run() -> Arrays:
        nonlocal let_through
        try:
            return engine.run(inputs, allow_nonfinite=let_through)
        except NonFiniteOutput:
            let_through = True
            return engine.run(inputs, allow_nonfinite=True)

    return run


def _noise(name: str, specs: tuple[TensorSpec, ...], batch: int, sizes: Mapping[str, int] | None) -> Arrays:
    try:
        return example_inputs(specs, batch, sizes)
    except UsageError as error:
        raise UsageError(f"{name}: {error}") from None


def _that_run(noise: Arrays, run: Callable[[Arrays], object], kinds: tuple[type[Exception], ...]) -> Arrays:
    """Noise, or zeros for its integers, whichever runs; noise where neither does, whose error tells."""
    if not any(map(np.any, _integers(noise))):
        return noise
    for arrays in (noise, _zeroed(noise)):
        try:
            run(arrays)
        except kinds:
            continue
        return arrays
    return noise


def _zeroed(noise: Arrays) -> Arrays:
    return {
        name: np.zeros_like(array) if array.dtype.kind in "iu" else array for name, array in noise.items()
    }


def _integers(arrays: Arrays) -> list[NDArray[Any]]:
    return [array for array in arrays.values() if array.dtype.kind in "iu"]
