"""`bench`: measures the latency of a model, and whatever else its options ask for."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from cnntk.benchmark._inputs import batch_inputs, choose_batch, input_notes, open_sizes
from cnntk.benchmark.arguments import check_arguments, is_torch_source
from cnntk.benchmark.baseline import Baseline
from cnntk.benchmark.cold_start import measure_cold_start
from cnntk.benchmark.compare import compare_interleaved
from cnntk.benchmark.cuda.report import CudaTimes, cuda_times
from cnntk.benchmark.latency import measure_case, measure_latency
from cnntk.benchmark.layers.report import layer_times
from cnntk.benchmark.machine import detect_machine
from cnntk.benchmark.memory import measure_memory
from cnntk.benchmark.options import BenchOptions
from cnntk.benchmark.regression import BaselineCheck
from cnntk.benchmark.result import BenchResult, ComparisonResult
from cnntk.benchmark.stages import (
    ImageFile,
    check_images,
    classifier_of,
    expand_images,
    measure_stages,
)
from cnntk.benchmark.sweep import Sweep, measure_sweep
from cnntk.benchmark.targets import open_targets
from cnntk.benchmark.workload import Workload
from cnntk.runtime.artifact.digest import sha256_of
from cnntk.runtime.engine import Engine
from cnntk.runtime.errors import MissingDependency, UsageError
from cnntk.runtime.session.session_factory import check_threads

__all__ = ["MEASUREMENTS", "Measurement", "Progress", "bench"]

Progress = Callable[[str], None]
"""Called with the name of each measurement before it starts."""


@dataclass(frozen=True)
class _Context:
    """What the measurements of one benchmark share; they may add to its notes.

    The workload has the engine's device and threads, so that ``auto`` is resolved once.
    """

    engine: Engine
    workload: Workload
    batch: int
    images: tuple[ImageFile, ...]
    options: BenchOptions
    progress: Progress
    notes: list[str] = field(default_factory=list)


def _against(context: _Context) -> tuple[ComparisonResult, ...]:
    options, engine = context.options, context.engine
    inputs = batch_inputs(engine, context.batch, context.workload.sizes)

    def run_model() -> object:
        # Engine's check for NaN takes 5 % of a run of LeNet, and other runtimes have none.
        return engine.run(inputs, allow_nonfinite=True)

    results = []
    for name in options.against:
        context.progress(f"against {name}")
        weights, random = (options.weights, options.random) if is_torch_source(name) else (None, False)
        with open_targets(
            name, engine, inputs, weights=weights, random=random, trust=options.trust
        ) as targets:
            for target in targets:
                comparison = None
                if target.call is not None:
                    comparison = compare_interleaved(target.call, run_model, seconds=2 * options.seconds)
                results.append(ComparisonResult(target, comparison))
    return tuple(results)


def _cuda(context: _Context) -> CudaTimes | None:
    """None if the packages that read the GPU are not installed: a note says what to install."""
    try:
        return cuda_times(context.workload)
    except MissingDependency as error:
        context.notes.append(str(error))
        return None


def _sweep(context: _Context) -> Sweep:
    options = context.options
    workload = replace(context.workload, seconds=2 * options.seconds)
    return measure_sweep(workload, batches=options.all_batches, threads=options.all_threads)


@dataclass(frozen=True)
class Measurement:
    """One part of a benchmark.

    Attributes:
        field: Field of `BenchResult` that the measured value is stored in.
        title: Name that the user sees while it is measured; empty if the function reports its own.
        measure: Function that measures it.
        requested: Whether the options, or the device, ask for it.
    """

    field: str
    title: str
    measure: Callable[[_Context], Any]
    requested: Callable[[_Context], bool] = lambda context: True


MEASUREMENTS = (
    Measurement("against", "", _against),
    Measurement("latency", "latency", lambda c: measure_latency(c.workload)),
    Measurement("cuda", "the GPU", _cuda, lambda c: c.engine.device.startswith("cuda")),
    Measurement(
        "cold_start",
        "cold start",
        lambda c: measure_cold_start(c.workload, batches=c.options.all_batches, processes=2),
        lambda c: c.options.cold_start,
    ),
    Measurement("memory", "memory", lambda c: measure_memory(c.workload), lambda c: c.options.cold_start),
    Measurement("layers", "layers", lambda c: layer_times(c.workload), lambda c: c.options.layers),
    Measurement("sweep", "batches and threads", _sweep, lambda c: c.options.is_sweep),
    Measurement(
        "stages",
        "end to end",
        lambda c: measure_stages(c.workload, c.images, c.options.preprocessing),
        lambda c: c.options.is_end_to_end,
    ),
    Measurement(
        "cases",
        "latency in several processes",
        lambda c: {"latency": measure_case(c.workload, sessions=c.options.sessions)},
        lambda c: c.options.needs_sessions,
    ),
)
"""Measurements of a benchmark, in their order. The targets come first, because loading them can fail."""


def bench(
    model: str | os.PathLike[str],
    options: BenchOptions | None = None,
    *,
    progress: Progress | None = None,
    **fields: Any,
) -> BenchResult:
    """Measures a model.

    Args:
        model: Path of an ``.onnx`` file.
        options: Options of the benchmark.
        progress: Called with the name of each measurement before it starts.
        fields: Fields of `BenchOptions` to set, in ``options`` or in the default ones.

    Raises:
        UsageError: An option is not possible for the model, or a baseline can't be compared with.
        MissingDependency: A requested measurement needs a package that is not installed.
        CnntkError: The model can't be loaded or run on the device.
    """
    options = replace(options or BenchOptions(), **fields)
    for count in options.all_threads:
        check_threads(count)
    check_arguments(options)
    check = BaselineCheck.open(options)
    images = expand_images(options.images)
    engine = Engine(model, options.device, threads=next(iter(options.all_threads), None))
    if options.all_threads and engine.device != "cpu":
        raise UsageError(f"threads: apply to the CPU only; leave them out on device {engine.device!r}")
    batch = choose_batch(engine, next(iter(options.all_batches), None))
    check.check_settings({"device": engine.device, "threads": engine.threads, "batch": batch})
    if options.is_end_to_end:
        check_images(classifier_of(engine, options.preprocessing), images)
    sizes = open_sizes(engine, options.input_shape)
    workload = Workload(engine.name, engine.device, engine.threads, batch, options.seconds, sizes)
    context = _Context(engine, workload, batch, images, options, progress or (lambda name: None))
    context.notes.extend(input_notes(engine, batch, sizes))
    values: dict[str, Any] = {}
    for measurement in MEASUREMENTS:
        if measurement.requested(context):
            if measurement.title:
                context.progress(measurement.title)
            values[measurement.field] = measurement.measure(context)
    machine = detect_machine(engine.device)
    comparison, saved = None, None
    if options.needs_sessions:
        baseline = Baseline.create(machine, values["cases"])
        comparison = check.compare(baseline, engine.name, context.progress)
        saved = check.save(baseline, comparison, context.notes)
    return BenchResult(
        **_model_file(engine),
        **values,
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        machine=machine,
        baseline=comparison,
        saved=saved,
        notes=tuple(context.notes),
    )


def _model_file(engine: Engine) -> dict[str, Any]:
    spec, file = engine.spec, Path(engine.name)
    external_bytes = spec.data.size_bytes if spec is not None and spec.data else 0
    sha256 = sha256_of(file)
    digests = [sha256] if spec is None else [spec.digest, str(spec.provenance.get("quantized_from", ""))]
    return {
        "model": engine.name,
        "name": spec.name if spec is not None else file.stem,
        "sha256": sha256,
        "digests": tuple(filter(None, digests)),
        "size_bytes": file.stat().st_size + external_bytes,
    }
