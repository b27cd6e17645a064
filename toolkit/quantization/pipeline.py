"""`quantize`: a smaller and faster model within an accuracy limit, and never a slower one."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

from cnntk.benchmark.compare import Comparison
from cnntk.benchmark.layers.report import layer_times
from cnntk.benchmark.machine import detect_machine
from cnntk.benchmark.stages import PHOTOGRAPH_SIZES
from cnntk.benchmark.statistics.samples import time_runs
from cnntk.benchmark.workload import Workload
from cnntk.data.calibration import CalibrationSplit, split_images
from cnntk.exporters.options import ExportOptions
from cnntk.quantization.arguments import check_arguments, check_model
from cnntk.quantization.options import Progress, QuantizeOptions
from cnntk.quantization.report import (
    CandidateResult,
    QuantizedLayer,
    QuantizePreview,
    QuantizeReport,
    QuantizeSetup,
)
from cnntk.runtime.artifact.digest import sha256_of
from cnntk.runtime.artifact.spec import METADATA_KEY, ModelSpec
from cnntk.runtime.batch_split import fixed_batch
from cnntk.runtime.codec import as_json
from cnntk.runtime.engine import Engine
from cnntk.runtime.errors import DataError, MissingDependency, UnsupportedArtifact, UsageError
from cnntk.runtime.example_inputs import example_inputs
from cnntk.runtime.files import atomic_write, write_bytes
from cnntk.version import __version__

try:
    import onnx_ir as ir

    from cnntk.data.batches import batches_of
    from cnntk.exporters.completion import complete_artifact
    from cnntk.exporters.external_data import check_data_target
    from cnntk.exporters.float32_graph import to_float32
    from cnntk.quantization.calibration import CalibrationData, calibrate, check_calibration
    from cnntk.quantization.candidates import (
        CandidateEvaluator,
        CompareCalls,
        Equalized,
        LayerInfo,
        MeasurementStore,
        Original,
        layer_infos,
    )
    from cnntk.quantization.config import QuantConfig, default_config
    from cnntk.quantization.equalize import equalize_channels
    from cnntk.quantization.integer_layers import WEIGHTS_AND_SCALES
    from cnntk.quantization.search import SearchResult, initial_config, search
    from cnntk.quantization.write import QuantizedFile, write_quantized
except ImportError as error:
    raise MissingDependency(
        f"quantization needs {error.name}, which is not installed; run: pip install 'cnntk[quantize]'"
    ) from error

__all__ = ["preview_quantize", "quantize"]

_RANKING_IMAGES = 64
"""Number of images on which layers are ranked."""

_SAVE_INTERVAL = 50
"""Number of images after which an unfinished calibration is saved."""

_LAYER_TIMES_S = 2.0

_COMPARE_S, _BUILD_S, _UNOPTIMIZED = 2.5, 1.0, 2.0
"""For estimates: seconds to compare speed and to create a candidate; slowdown without optimizations."""

_OPEN_SIZES = (
    "the file takes images of any size, and resizes them in nodes that tract can't read; for that, quantize "
    "a MODEL that was exported with --static-size"
)


def quantize(
    model: str | os.PathLike[str],
    options: QuantizeOptions | None = None,
    *,
    progress: Progress | None = None,
    compare_calls: CompareCalls | None = None,
    **fields: Any,
) -> QuantizeReport:
    """Quantizes a classifier, layer by layer, as far as measured accuracy and speed allow.

    If nothing that is faster (or smaller, if size is preferred) is within the accuracy limit, no file is
    written, or with ``copy`` a copy of the original, and the report says why.

    Args:
        model: Artifact, or another ``.onnx`` file, which is exported first.
        options: Options; ``fields`` replace some of them.
        progress: Callback that receives the stage, the number of completed items, and the total.
        compare_calls: Function that compares the speed of two calls. Default:
            `cnntk.benchmark.compare.compare_interleaved`.
        **fields: Fields of `QuantizeOptions`, like ``calibration="digits"``.

    Raises:
        UsageError: An option is not valid; the file exists; the model is quantized already.
        UnsupportedArtifact: The model is not a classifier of images.
        DataError: The data can't be read or is not suitable.
        KeyboardInterrupt: Interrupted before any candidate was accepted; later, the best so far is written.
    """
    started = time.monotonic()
    options, notify = _with_fields(options, fields), progress or (lambda *_: None)
    destination = check_arguments(model, options)
    with _open(model, options) as original:
        spec = _classifier_spec(original)
        split = split_images(options.calibration, spec, options.calibration_images, options.evaluation)
        setup = _setup(model, options, split, original)
        store = _store(model, setup)
        calibration = _calibrate(original, spec, split, options, notify)
        warnings = check_calibration(calibration)
        equalized = _equalize(original, spec, split, calibration, notify)
        unlabeled = (replace(image, label=None) for image in islice(split.calibration, _RANKING_IMAGES))
        evaluator = CandidateEvaluator(
            original,
            calibration,
            lambda: batches_of(spec, split.evaluation),
            batches_of(spec, unlabeled),
            equalized=equalized,
            range_method=options.range_method,
            store=store,
            compare_calls=compare_calls,
            on_images=lambda count: notify("comparing outputs", count, len(split.evaluation)),
        )
        config = default_config(original.model, options.target, options.format)
        result = search(evaluator, config, max_drop=options.max_drop, prefer=options.prefer, progress=notify)
        file = _write(evaluator, result.selected, destination, setup)
        report = _report(result, evaluator, setup, file, split.evaluation.note)
        speeds = _photograph_speeds(evaluator, result, notify)
        report = replace(report, warnings=warnings, photograph_speeds=speeds)
        if options.time_layers:
            timed = original.file if file is None else file.path
            report = replace(report, layers=_with_times(report.layers, timed, original))
    return replace(report, seconds=round(time.monotonic() - started, 2))


def preview_quantize(
    model: str | os.PathLike[str], options: QuantizeOptions | None = None, **fields: Any
) -> QuantizePreview:
    """Shows what `quantize` would try and how long it would take; nothing is written.

    Arguments and errors are those of `quantize`.
    """
    options = _with_fields(options, fields)
    destination = check_arguments(model, options)
    with _open(model, options) as original:
        spec = _classifier_spec(original)
        split = split_images(options.calibration, spec, options.calibration_images, options.evaluation)
        layers = layer_infos(original)
        config = default_config(original.model, options.target, options.format)
        config = initial_config(config, layers, options.prefer)
        image_s = _seconds_per_image(original.engine)
        shortest, longest = _estimate(image_s, config, split)
        return QuantizePreview(
            name=spec.name,
            path=str(destination),
            setup=_setup(model, options, split, original),
            layers=tuple(_layer(name, layer, config) for name, layer in layers.items()),
            original_ms=1000 * image_s,
            min_seconds=round(shortest, 1),
            max_seconds=round(longest, 1),
        )


def _with_fields(options: QuantizeOptions | None, fields: dict[str, Any]) -> QuantizeOptions:
    return QuantizeOptions(**fields) if options is None else replace(options, **fields)


@contextmanager
def _open(model: str | os.PathLike[str], options: QuantizeOptions) -> Iterator[Original]:
    """Opens an artifact, or a temporary one of a file that states no preprocessing."""
    with ExitStack() as stack:
        file = Path(model)
        check_model(file, options)
        engine = Engine(file, threads=options.threads)
        if engine.spec is not None and options.input_shape:
            raise UsageError(f"{file}: is an artifact; --input is for other .onnx files only")
        exporting = ExportOptions(options.input_shape, preprocessing=options.preprocessing or None)
        artifact = stack.enter_context(complete_artifact(engine, exporting))
        if artifact != file:
            file, engine = artifact, Engine(artifact, threads=options.threads)
        graph = ir.load(file)
        graph.metadata_props.pop(METADATA_KEY, None)
        spec = engine.spec
        if any(map(_is_quantized, graph.graph)) or (spec and spec.quantization):
            raise UsageError(f"{model}: is quantized already; quantize the float32 model it was created from")
        if any(v.dtype is ir.DataType.FLOAT16 for v in graph.graph.inputs):
            raise UsageError(f"{model}: its input is float16; export it with preprocessing in the graph")
        graph = to_float32(graph)  # kernels of integers take and return float32
        data_bytes = spec.data.size_bytes if spec is not None and spec.data is not None else 0
        yield Original(file, graph, engine, file.stat().st_size + data_bytes)


def _is_quantized(node: ir.Node) -> bool:
    """Whether a node computes in integers, or reads a weight that is stored in integers."""
    weight = node.inputs[0] if node.op_type == "DequantizeLinear" else None
    return node.op_type in WEIGHTS_AND_SCALES or (weight is not None and weight.is_initializer())


def _classifier_spec(original: Original) -> ModelSpec:
    spec = original.engine.spec
    if spec is None or spec.head != "classifier":
        raise UnsupportedArtifact(
            f"{original.file.name}: not a classifier, so that its accuracy can't be measured; export it with "
            "--head classifier"
        )
    if len(spec.inputs) > 1:
        names = ", ".join(each.name for each in spec.inputs)
        raise UnsupportedArtifact(
            f"{original.file.name}: takes several inputs ({names}), so that images alone can't calibrate it"
        )
    return spec


def _setup(
    model: str | os.PathLike[str], options: QuantizeOptions, split: CalibrationSplit, original: Original
) -> QuantizeSetup:
    return QuantizeSetup(
        source=os.fspath(model),
        options=options,
        calibration_images=len(split.calibration),
        evaluation_images=len(split.evaluation),
        labeled=bool(split.evaluation.labels),
        threads=original.engine.threads,
        machine=detect_machine().summary,
    )


def _store(model: str | os.PathLike[str], setup: QuantizeSetup) -> MeasurementStore:
    """Measurements of the same model with the same images on the same machine."""
    options = setup.options
    if options.work_folder is None:
        return MeasurementStore()
    file = Path(options.work_folder) / "measurements.json"
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(f"{file.parent}: folder can't be created: {error.strerror}") from error
    context = {
        "model": sha256_of(Path(model)),
        "calibration": options.calibration,
        "calibration images": setup.calibration_images,
        "evaluation": options.evaluation or options.calibration,
        "evaluation images": setup.evaluation_images,
        "range method": options.range_method,
        "threads": setup.threads,
        "machine": setup.machine,
        "cnntk": __version__,
    }
    return MeasurementStore(file, context)


def _calibrate(
    original: Original,
    spec: ModelSpec,
    split: CalibrationSplit,
    options: QuantizeOptions,
    progress: Progress,
) -> CalibrationData:
    """Calibrates the original; with a work folder, from where an earlier calibration was interrupted."""
    file = None if options.work_folder is None else Path(options.work_folder) / "calibration.json"
    earlier = None
    if file is not None and file.exists():
        earlier = CalibrationData.from_text(file.read_bytes(), str(file))
    total, completed = len(split.calibration), 0 if earlier is None else earlier.images

    def on_image(calibration: CalibrationData) -> None:
        count = calibration.images
        progress("calibrating", count, total)
        if file is not None and (count % _SAVE_INTERVAL == 0 or count == total):
            write_bytes(file, calibration.to_text().encode())

    batches = batches_of(spec, split.calibration.after(completed))
    return calibrate(original.model, batches, resume_from=earlier, on_image=on_image)


def _equalize(
    original: Original,
    spec: ModelSpec,
    split: CalibrationSplit,
    calibration: CalibrationData,
    progress: Progress,
) -> Equalized | None:
    """The original with equalized channels and their calibration; None if channels are similar."""
    model, total = equalize_channels(original.model, calibration), len(split.calibration)
    if model is None:
        return None
    batches, stage = batches_of(spec, split.calibration), "calibrating with equalized channels"
    return Equalized(model, calibrate(model, batches, on_image=lambda c: progress(stage, c.images, total)))


def _write(
    evaluator: CandidateEvaluator, selected: CandidateResult | None, target: Path, setup: QuantizeSetup
) -> QuantizedFile | None:
    original = evaluator.original
    if selected is None:
        return _copy(original, target) if setup.options.copy else None
    options, speed = setup.options, selected.speed
    timing = {"threads": setup.threads, "machine": setup.machine}
    record = {
        "version": 1,
        "cnntk": __version__,
        "calibration": {"data": _without_folder(options.calibration), "images": setup.calibration_images},
        "max_drop": options.max_drop,
        "prefer": options.prefer,
        "accuracy": as_json(selected.accuracy),
        "speed": None if speed is None else {**as_json(speed), **timing},
        "original_size_bytes": original.size_bytes,
    }
    return write_quantized(
        original,
        evaluator.model(selected.config),
        target,
        config=selected.config,
        logit_step=evaluator.logit_step(),
        record=record,
        source=evaluator.source(selected.config),
    )


def _copy(original: Original, target: Path) -> QuantizedFile:
    """Copies the original, and its external data if that is not there yet."""
    spec = original.engine.spec
    if spec is None:
        raise DataError(f"{original.file}: has no spec")
    if spec.data is not None:
        data_file = target.with_name(spec.data.file)
        check_data_target(target)
        if not data_file.exists():
            with atomic_write(data_file) as temporary:
                shutil.copyfile(original.file.with_name(spec.data.file), temporary)
    write_bytes(target, original.file.read_bytes())
    return QuantizedFile(target, original.size_bytes, spec)


def _without_folder(data: str) -> str:
    """DATA without the user's folders, for a file that others read."""
    kind, colon, path = data.partition(":")
    if not colon and data == "digits":
        return data
    name = Path(path if colon else data).name
    return f"{kind}:{name}" if colon else name


def _report(
    result: SearchResult,
    evaluator: CandidateEvaluator,
    setup: QuantizeSetup,
    file: QuantizedFile | None,
    note: str,
) -> QuantizeReport:
    original = evaluator.original
    selected, spec = result.selected, original.engine.spec if file is None else file.spec
    if spec is None:
        raise DataError(f"{original.file}: has no spec")
    record = {} if selected is None else spec.quantization or {}
    notes = [*filter(None, [note]), *map(str, result.refinements)]
    if result.interrupted:
        notes.append("the search was interrupted: this is the best so far, a better one can exist")
    if not setup.labeled:
        notes.append(
            "the images have no labels: the limit applies to the drop to expect from changed predictions by "
            "the original's own probabilities"
        )
    has_open_sizes = any(isinstance(size, str) for size in spec.inputs[0].shape[1:])
    if selected is not None and setup.options.format == "portable" and has_open_sizes:
        notes.append(_OPEN_SIZES)
    return QuantizeReport(
        path=None if file is None else str(file.path),
        name=spec.name,
        changed=selected is not None,
        reason=result.reason,
        portable_to=record.get("portable_to", ""),
        operators=record.get("operators", ""),
        setup=setup,
        layers=_layers(evaluator, result),
        accuracy=selected.accuracy if selected is not None else None,
        speed=selected.speed if selected is not None else None,
        size_bytes=original.size_bytes if file is None else file.size_bytes,
        original_size_bytes=original.size_bytes,
        candidates=result.candidates,
        interrupted=result.interrupted,
        digest="" if file is None else spec.digest,
        source_digest=original.engine.spec.digest if original.engine.spec is not None else "",
        notes=tuple(notes),
    )


def _photograph_speeds(
    evaluator: CandidateEvaluator, result: SearchResult, progress: Progress
) -> dict[str, Comparison]:
    """Speed on typical photographs, which the graph of original and candidate must resize."""
    engine, selected = evaluator.original.engine, result.selected
    fixed = engine.image_sizes is None or isinstance(engine.inputs[0].shape[1], int)
    if selected is None or fixed or result.interrupted:
        return {}
    speeds = {}
    for index, size in enumerate(PHOTOGRAPH_SIZES):
        progress("timing photographs", index, len(PHOTOGRAPH_SIZES))
        speeds[f"{size[1]}x{size[0]}"] = evaluator.speed(selected.config, image_size=size)
    return speeds


def _layers(evaluator: CandidateEvaluator, result: SearchResult) -> tuple[QuantizedLayer, ...]:
    divergences = result.ranking.kl_divergence if result.ranking is not None else {}
    layers = evaluator.layers.items()
    return tuple(_layer(name, layer, result.config, divergences.get(name)) for name, layer in layers)


def _layer(
    name: str, layer: LayerInfo, config: QuantConfig, kl_divergence: float | None = None
) -> QuantizedLayer:
    plan, work = config.layers[name], (layer.parameters, layer.multiply_adds)
    return QuantizedLayer(
        name, layer.title, layer.op, *work, plan.precision, plan.reason, kl_divergence=kl_divergence
    )


def _with_times(
    layers: tuple[QuantizedLayer, ...], file: Path, original: Original
) -> tuple[QuantizedLayer, ...]:
    report = layer_times(Workload(file, threads=original.engine.threads, seconds=_LAYER_TIMES_S))
    times = {row.name: row for row in report.rows}
    return tuple(
        replace(layer, time_ms=row.time_ms, limit=row.limit, limit_fraction=row.limit_fraction)
        if (row := times.get(layer.title)) is not None
        else layer
        for layer in layers
    )


def _seconds_per_image(engine: Engine) -> float:
    """Median time of a few runs for one image, in seconds."""
    inputs = example_inputs(engine.inputs, fixed_batch(engine.inputs) or 1, engine.image_sizes)
    return time_runs(lambda: engine.run(inputs), seconds=1e-3, min_runs=7).median_ms / 1000


def _estimate(image_s: float, config: QuantConfig, split: CalibrationSplit) -> tuple[float, float]:
    """Shortest and longest duration in seconds: one candidate, or a ranking and a bisection."""
    layers = len(config.reduced)
    evaluation = len(split.evaluation) * image_s
    candidate = evaluation + _BUILD_S + _COMPARE_S
    shortest = len(split.calibration) * image_s * _UNOPTIMIZED + evaluation + candidate
    ranking = (2 * layers + 1) * (_BUILD_S + min(_RANKING_IMAGES, len(split.calibration)) * image_s)
    more = max(layers.bit_length(), 1) + min(layers, 8)
    return shortest, shortest + ranking + more * candidate
