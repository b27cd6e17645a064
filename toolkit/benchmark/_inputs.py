"""Inputs that a model is measured with, seeded noise of a batch size, and calls that run the model."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cnntk.exporters.options import INPUT, InputShape
from cnntk.runtime.artifact.spec import TensorSpec
from cnntk.runtime.engine import Engine
from cnntk.runtime.errors import InferenceError, NonFiniteOutput, UsageError
from cnntk.runtime.example_inputs import example_inputs
from cnntk.runtime.session.session_factory import LoadedModel, onnxruntime_errors, tensor_specs

Arrays = dict[str, NDArray[Any]]

SLOW_S = 1.0
"""Seconds from which a run counts as slow: 20 of them take longer than users expect of a few seconds."""


def is_slow(run_s: float) -> bool:
    """Whether a run takes over a second."""
    return run_s > SLOW_S


def min_runs(usual: int, run_s: float, *, slow: int = 3) -> int:
    """Least number of runs to measure, whatever time is left.

    Args:
        usual: Number of runs that the statistics need.
        run_s: Time of a run in seconds.
        slow: Number of runs instead, if a run takes over a second; reports then say that they are few.
    """
    return min(usual, slow) if is_slow(run_s) else usual


def fixed_batch(engine: Engine) -> int | None:
    """The only batch size that a model takes; None if it is dynamic.

    Raises:
        UsageError: The model has no inputs, so no batch either.
    """
    if not engine.inputs:
        raise UsageError(f"{engine.name}: the model has no inputs, so there is nothing to measure")
    first = engine.inputs[0].shape[:1]
    return first[0] if first and isinstance(first[0], int) else None


def choose_batch(engine: Engine, batch: int | None = None) -> int:
    """The batch size where one is needed: ``batch``, else the model's fixed one, else 1."""
    return batch or fixed_batch(engine) or 1


def open_sizes(engine: Engine, shapes: InputShape | None) -> dict[str, int]:
    """Sizes of the open dimensions behind the batch by name, from the shapes that the user states.

    Raises:
        UsageError: There is no such input, or its shape is another.
    """
    specs = {spec.name: spec for spec in engine.inputs}
    sizes: dict[str, int] = {}
    for name, shape in _by_name(shapes, list(specs)).items():
        if name not in specs:
            raise UsageError(f"--input {name}=...: no such input; {engine.name} takes {', '.join(specs)}")
        expected = specs[name].shape[1:]
        for dimension, size in zip(expected, shape, strict=False):
            if isinstance(dimension, str):
                sizes.setdefault(dimension, size)
        if tuple(sizes.get(d, d) if isinstance(d, str) else d for d in expected) != shape:
            stated, declared = ("x".join(map(str, dims)) for dims in (shape, expected))
            raise UsageError(f"--input {stated}: {engine.name}: the input {name!r} is {declared}")
    return sizes


def _by_name(shapes: InputShape | None, names: list[str]) -> dict[str, tuple[int, ...]]:
    """Shapes without the batch by name of the input; one without a name is the only input's."""
    if not isinstance(shapes, Mapping):
        return {} if shapes is None else {names[0] if len(names) == 1 else INPUT: tuple(shapes)}
    if set(shapes) == {INPUT} and len(names) == 1:
        shapes = {names[0]: shapes[INPUT]}
    sizes = {k: v.shape[1:] if isinstance(v, TensorSpec) else v for k, v in shapes.items()}
    return {name: tuple(map(int, shape)) for name, shape in sizes.items()}


def batch_inputs(engine: Engine, batch: int, sizes: Mapping[str, int] | None = None) -> Arrays:
    """Inputs on which the model runs: seeded noise, of the image size that needs no resizing.

    Integer inputs of a file that cnntk did not export may be indices, for which noise is too large: they are
    zeros if the model fails on noise and runs on zeros. The model is run to see that.

    Raises:
        UsageError: The model's batch size is fixed at another one, or another dimension is dynamic.
    """
    arrays = seeded_inputs(engine, batch, sizes)
    if engine.spec is not None:
        return arrays
    return _runnable(arrays, lambda inputs: engine.run(inputs, allow_nonfinite=True), (InferenceError,))


def seeded_inputs(
    engine: Engine, batch: int, sizes: Mapping[str, int] | None = None, *, zeros: bool = False
) -> Arrays:
    """As `batch_inputs`, without a run: noise, or zeros for all integer inputs."""
    fixed = fixed_batch(engine)
    if fixed is not None and fixed != batch:
        raise UsageError(
            f"{engine.name}: the batch size is fixed at {fixed}, not {batch}; export with a dynamic one"
        )
    all_sizes = {**(engine.image_sizes or {}), **(sizes or {})}
    arrays = _example_inputs(engine.name, engine.inputs, batch, all_sizes)
    return _with_zeros(arrays) if zeros else arrays


def session_inputs(opened: LoadedModel, batch: int, sizes: Mapping[str, int] | None = None) -> Arrays:
    """As `batch_inputs`, for a session without an engine."""
    preprocessing = None if opened.spec is None else opened.spec.preprocessing
    all_sizes = {**({} if preprocessing is None else preprocessing.image_sizes), **(sizes or {})}
    arrays = _example_inputs(opened.name, tensor_specs(opened.session.get_inputs()), batch, all_sizes)
    if opened.spec is not None:
        return arrays
    return _runnable(arrays, lambda inputs: opened.session.run(None, inputs), onnxruntime_errors())


def input_notes(engine: Engine, batch: int, sizes: Mapping[str, int] | None = None) -> Iterator[str]:
    """Remarks about the inputs of a benchmark and the outputs for them; runs the model once.

    Raises:
        UsageError: As `batch_inputs`.
        InferenceError: The model fails on the inputs.
    """
    inputs = batch_inputs(engine, batch, sizes)
    zeros = [name for name, array in inputs.items() if array.dtype.kind in "iu" and not array.any()]
    noise = seeded_inputs(engine, batch, sizes) if zeros else {}
    if any(noise[name].any() for name in zeros):
        yield f"{', '.join(zeros)}: measured with zeros, because the model fails on noise of 0 to 255"
    outputs = engine.run(inputs, allow_nonfinite=True)
    for name, value in outputs.items():
        if value.dtype.kind == "f" and not np.isfinite(value).all():
            yield f"{name}: outputs are not finite; Engine refuses them by default, bench does not"


def engine_call(engine: Engine, inputs: Arrays) -> Callable[[], Arrays]:
    """A run with Engine's check for NaN, as in an app, until an output fails it."""
    allow_nonfinite: bool | None = None

    def run() -> Arrays:
        nonlocal allow_nonfinite
        try:
            return engine.run(inputs, allow_nonfinite=allow_nonfinite)
        except NonFiniteOutput:
            allow_nonfinite = True
            return engine.run(inputs, allow_nonfinite=True)

    return run


def _example_inputs(
    name: str, specs: tuple[TensorSpec, ...], batch: int, sizes: Mapping[str, int] | None
) -> Arrays:
    try:
        return example_inputs(specs, batch, sizes)
    except UsageError as error:
        raise UsageError(f"{name}: {error}") from None


def _runnable(
    noise: Arrays, run: Callable[[Arrays], object], error_types: tuple[type[Exception], ...]
) -> Arrays:
    """Noise, or zeros for integers, whichever runs; noise if neither does, for its error message."""
    if not any(array.any() for array in noise.values() if array.dtype.kind in "iu"):
        return noise
    for arrays in (noise, _with_zeros(noise)):
        try:
            run(arrays)
        except error_types:
            continue
        return arrays
    return noise


def _with_zeros(arrays: Arrays) -> Arrays:
    return {
        name: np.zeros_like(array) if array.dtype.kind in "iu" else array for name, array in arrays.items()
    }
