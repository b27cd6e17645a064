"""`quantize`: a smaller and faster model within a bound of accuracy, and never a slower one."""

from __future__ import annotations

import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from itertools import islice
from pathlib import Path
from statistics import median
from typing import Any

from cnntk.benchmark.layers.report import layer_times
from cnntk.benchmark.machine import detect_machine
from cnntk.data.calibration import CalibrationSplit, split_images
from cnntk.quantization.report import LayerRow, QuantizePreview, QuantizeReport, Setting
from cnntk.runtime.artifact.digest import sha256_of
from cnntk.runtime.artifact.spec import METADATA_KEY, ModelSpec
from cnntk.runtime.codec import as_json
from cnntk.runtime.engine import Engine
from cnntk.runtime.errors import DataError, MissingDependency, UnsupportedArtifact, UsageError
from cnntk.runtime.example_inputs import example_inputs
from cnntk.runtime.files import check_writable, readable_file, write_bytes
from cnntk.version import __version__

try:
    from cnntk.data.batches import Batch, batches_of
    from cnntk.quantization.calibration import Calibration, calibrate
    from cnntk.quantization.candidates import (
        Balanced,
        LayerFacts,
        Original,
        Racing,
        Workbench,
        layer_facts,
    )
    from cnntk.quantization.config import Recipe, Target, plan
    from cnntk.quantization.equalize import equalized
    from cnntk.quantization.findings import find_suspicious
    from cnntk.quantization.quantizer import channels_to_watch, tensors_to_watch
    from cnntk.quantization.result import Goal, Prefer, SearchResult, Step
    from cnntk.quantization.search import first_recipe, search
    from cnntk.quantization.store import Store
    from cnntk.quantization.write import HOLDS_ON, Finished, finish
except ImportError as error:
    raise MissingDependency(
        f"quantizing needs {error.name}, which is not installed; run: pip install 'cnntk[export]'"
    ) from error

__all__ = ["LIMIT", "Progress", "preview_quantize", "quantize"]

LIMIT = 512
"""Images to calibrate with, unless another number is asked for."""

_FEW = 64
"""Images on which layers are ranked."""

_SAVED_EVERY = 50
"""Images of a calibration after which what is known is saved."""

_LAYERS_S = 2.0

_RACE_S, _BUILD_S, _PLAIN = 2.5, 1.0, 2.0
"""For estimates: a race, a build, and how much slower than usual a run without optimizations is."""

_QUANTIZED = frozenset({"QuantizeLinear", "QLinearConv", "QLinearMatMul", "MatMulNBits", "MatMulInteger"})

Progress = Callable[[str, int, int], None]
"""Is told what is done, how much of it, and of how much; 0 where that is not known."""


def quantize(
    model: str | os.PathLike[str],
    calibration: str,
    *,
    output: str | os.PathLike[str] | None = None,
    max_drop: float = 0.5,
    target: Target = "any",
    prefer: Prefer = "speed",
    evaluation: str | None = None,
    limit: int = LIMIT,
    threads: int | None = None,
    image: Mapping[str, str] | None = None,
    work_folder: str | os.PathLike[str] | None = None,
    force: bool = False,
    time_layers: bool = False,
    progress: Progress | None = None,
    racing: Racing | None = None,
) -> QuantizeReport:
    """Quantizes a classifier, layer by layer as far as accuracy and speed allow, each measured.

    Where nothing that is faster (or smaller, where that is preferred) holds the bound, the file that is
    written is the original, as it was, and the report says why.

    Args:
        model: an artifact; or another ``.onnx``, which is exported first.
        calibration: DATA, as `calibration_images` takes it. Ranges come from the images to train on, and
            candidates are judged by those that are held out; of a bare folder, by the other half, without
            labels.
        output: the file; by default the model's name with ``-int8.onnx``, in the current folder.
        max_drop: of top-1 at most, in points; without labels what flips cost by the original's
            probabilities.
        target: ``any``: the same answers on every CPU; ``vnni``: for CPUs with VNNI, a little more precise.
        prefer: ``speed``; or ``size``: the smallest, even where that is slower.
        evaluation: other DATA to judge by.
        limit: images to calibrate with at most.
        threads: with which all are timed; by default as `Engine` takes them for the original.
        image: how an image becomes the input of a foreign ``.onnx``, as `export` takes it.
        work_folder: keeps what was measured, so that a search that was stopped goes on; made if missing.
        force: replace an existing file.
        time_layers: whether each layer of the result is timed, and how far it is from the machine's limit.
        progress: is told how it goes.
        racing: another stop-watch than `cnntk.benchmark.interleaved.race`.

    Raises:
        UsageError: an argument does not fit; the file exists; the model is quantized already.
        UnsupportedArtifact: it is no classifier of images.
        DataError: the data can't be read, or means nothing.
        KeyboardInterrupt: before any candidate held; else the best so far is written.
    """
    started = time.monotonic()
    told = progress or (lambda *_: None)
    goal = _goal(max_drop, prefer)
    destination = _destination(model, output, force)
    with _opened(model, threads, image, destination) as original:
        spec = _classifier(original)
        parts = split_images(calibration, spec, limit, evaluation)
        setting = _setting(model, calibration, parts, goal, target, original)
        store = _store(work_folder, model, setting, parts, evaluation)
        seen = _calibrated(original, spec, parts, _in(work_folder, "calibration.json"), told)
        warnings = find_suspicious(seen)
        balanced = _balanced(original, spec, parts, seen, told)
        bench = _bench(original, spec, (seen, balanced), parts, store, racing, told)
        found = search(bench, plan(original.model, target), goal, progress=told)
        finished = _written(bench, found, destination, setting)
    return QuantizeReport(
        path=str(destination),
        name=spec.name,
        changed=found.chosen is not None,
        reason=found.reason,
        holds_on=HOLDS_ON["any" if found.chosen is None else target],
        setting=setting,
        layers=_timed(_rows(bench, found), destination, original) if time_layers else _rows(bench, found),
        accuracy=found.chosen.accuracy if found.chosen is not None else None,
        race=found.chosen.race if found.chosen is not None else None,
        size_bytes=finished.size_bytes,
        original_size_bytes=original.size_bytes,
        path_steps=found.path,
        warnings=warnings,
        interrupted=found.interrupted,
        digest=finished.spec.digest,
        seconds=round(time.monotonic() - started, 2),
        notes=_notes(found, parts),
    )


def preview_quantize(
    model: str | os.PathLike[str],
    calibration: str,
    *,
    output: str | os.PathLike[str] | None = None,
    max_drop: float = 0.5,
    target: Target = "any",
    prefer: Prefer = "speed",
    evaluation: str | None = None,
    limit: int = LIMIT,
    threads: int | None = None,
    image: Mapping[str, str] | None = None,
    force: bool = False,
) -> QuantizePreview:
    """What `quantize` would try, and how long it would take; nothing is written.

    Args and errors are those of `quantize`.
    """
    goal = _goal(max_drop, prefer)
    destination = _destination(model, output, force)
    with _opened(model, threads, image, destination) as original:
        spec = _classifier(original)
        parts = split_images(calibration, spec, limit, evaluation)
        recipe = first_recipe(plan(original.model, target), layer_facts(original), goal)
        took = _one_image_s(original.engine)
        least, most = _estimate(took, recipe, parts)
        return QuantizePreview(
            name=spec.name,
            path=str(destination),
            setting=_setting(model, calibration, parts, goal, target, original),
            layers=tuple(_row(n, facts, recipe) for n, facts in layer_facts(original).items()),
            evaluation_images=len(parts.evaluation),
            labeled=bool(parts.evaluation.labels),
            original_ms=1000 * took,
            least_seconds=round(least, 1),
            most_seconds=round(most, 1),
        )


def _goal(max_drop: float, prefer: Prefer) -> Goal:
    try:
        return Goal(max_drop, prefer)
    except ValueError as error:
        raise UsageError(str(error)) from error


def _destination(model: str | os.PathLike[str], output: str | os.PathLike[str] | None, force: bool) -> Path:
    source = readable_file(model, "an ONNX model")
    target = Path(output) if output is not None else Path(f"{source.stem}-int8.onnx")
    if target.exists() and not force:
        raise UsageError(f"{target}: exists already; --force replaces it, -o names another file")
    if target.exists() and target.samefile(source):
        raise UsageError(f"{target}: is the model itself, which stays; -o names another file")
    check_writable(target)
    return target


@contextmanager
def _opened(
    model: str | os.PathLike[str], threads: int | None, image: Mapping[str, str] | None, destination: Path
) -> Iterator[Original]:
    """The artifact; somebody else's file is made one first, in a folder that is gone afterwards."""
    import onnx_ir as ir

    with ExitStack() as stack:
        file = Path(model)
        engine = Engine(file, threads=threads)
        if engine.spec is None:
            folder = stack.enter_context(
                tempfile.TemporaryDirectory(dir=destination.parent, prefix=".cnntk-")
            )
            file = _adopted(file, Path(folder), image)
            engine = Engine(file, threads=threads)
        elif image:
            raise UsageError(
                f"{file}: says how an image becomes its input; --preprocessing is for other .onnx files"
            )
        graph = ir.load(file)
        graph.metadata_props.pop(METADATA_KEY, None)
        _check_float(graph, engine, file)
        spec = engine.spec
        beside = spec.data.size_bytes if spec is not None and spec.data is not None else 0
        yield Original(file, graph, engine, file.stat().st_size + beside)


def _adopted(file: Path, folder: Path, image: Mapping[str, str] | None) -> Path:
    from cnntk.exporters import export

    target = folder / file.name
    export(file, target, image=image)
    return target


def _check_float(graph: Any, engine: Engine, file: Path) -> None:
    spec = engine.spec
    integers = next((n.op_type for n in graph.graph if n.op_type in _QUANTIZED), None)
    if integers is None and (spec is None or spec.quantization is None):
        return
    raise UsageError(f"{file}: is quantized already; quantize the float32 model that it came from")


def _classifier(original: Original) -> ModelSpec:
    spec = original.engine.spec
    if spec is None or spec.head != "classifier":
        raise UnsupportedArtifact(
            f"{original.file.name}: is no classifier, so there is no accuracy to hold; export it with "
            "--head classifier"
        )
    if spec.preprocessing is None:
        raise UnsupportedArtifact(
            f"{original.file.name}: does not say how an image becomes its input, so images can't calibrate "
            "it; say so, like --preprocessing scale=1/255"
        )
    return spec


def _setting(
    model: str | os.PathLike[str],
    calibration: str,
    parts: CalibrationSplit,
    goal: Goal,
    target: Target,
    original: Original,
) -> Setting:
    return Setting(
        source=os.fspath(model),
        calibration=calibration,
        calibration_images=len(parts.calibration),
        max_drop=goal.max_drop,
        target=target,
        prefer=goal.prefer,
        threads=original.engine.threads,
        machine=detect_machine().summary,
    )


def _in(folder: str | os.PathLike[str] | None, name: str) -> Path | None:
    return None if folder is None else Path(folder) / name


def _store(
    folder: str | os.PathLike[str] | None,
    model: str | os.PathLike[str],
    setting: Setting,
    parts: CalibrationSplit,
    evaluation: str | None,
) -> Store:
    """What was measured of the same model with the same images on the same machine."""
    file = _in(folder, "trials.json")
    if file is None:
        return Store()
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(f"{file.parent}: can't be made a folder: {error.strerror}") from error
    context = {
        "model": sha256_of(Path(model)),
        "calibration": setting.calibration,
        "calibration images": setting.calibration_images,
        "evaluation": evaluation or setting.calibration,
        "evaluation images": len(parts.evaluation),
        "threads": setting.threads,
        "machine": setting.machine,
        "cnntk": __version__,
    }
    return Store(file, context)


def _calibrated(
    original: Original, spec: ModelSpec, parts: CalibrationSplit, file: Path | None, progress: Progress
) -> Calibration:
    """The ranges; with a file, from where it was stopped."""
    so_far = None
    if file is not None and file.exists():
        so_far = Calibration.from_json(file.read_bytes(), str(file))
    total, done = len(parts.calibration), 0 if so_far is None else so_far.images

    def seen(found: Calibration) -> None:
        progress("calibrating", found.images, total)
        if file is not None and (found.images % _SAVED_EVERY == 0 or found.images == total):
            write_bytes(file, found.to_json().encode())

    return calibrate(
        original.model,
        batches_of(spec, parts.calibration.after(done)),
        tensors_to_watch(original.model),
        channels=channels_to_watch(original.model),
        so_far=so_far,
        on_image=seen,
    )


def _balanced(
    original: Original, spec: ModelSpec, parts: CalibrationSplit, seen: Calibration, progress: Progress
) -> Balanced | None:
    """The same network with its channels equalized, where they differ much, calibrated anew."""
    model, total = equalized(original.model, seen), len(parts.calibration)
    if model is None:
        return None
    found = calibrate(
        model,
        batches_of(spec, parts.calibration),
        tensors_to_watch(model),
        channels=channels_to_watch(model),
        on_image=lambda c: progress("calibrating, equalized", c.images, total),
    )
    return model, found


def _bench(
    original: Original,
    spec: ModelSpec,
    seen: tuple[Calibration, Balanced | None],
    parts: CalibrationSplit,
    store: Store,
    racing: Racing | None,
    progress: Progress,
) -> Workbench:
    total = len(parts.evaluation)

    def few() -> Iterable[Batch]:
        unlabeled = (replace(image, label=None) for image in islice(parts.calibration, _FEW))
        return batches_of(spec, unlabeled)

    return Workbench(
        original,
        seen[0],
        lambda: batches_of(spec, parts.evaluation),
        few(),
        balanced=seen[1],
        store=store,
        racing=racing,
        on_images=lambda done: progress("comparing answers", done, total),
    )


def _written(bench: Workbench, found: SearchResult, target: Path, setting: Setting) -> Finished:
    original = bench.original
    step = found.chosen
    if step is None:
        return _copied(original, target)
    return finish(
        original,
        bench.model(step.recipe),
        target,
        recipe=step.recipe,
        step=bench.logit_step(),
        record=_record(step, setting, original),
    )


def _copied(original: Original, target: Path) -> Finished:
    """The original under the new name; with its data beside it, which it names."""
    spec = original.engine.spec
    if spec is None:
        raise DataError(f"{original.file}: holds no spec")
    if spec.data is not None:
        beside = target.with_name(spec.data.file)
        if not beside.exists():
            shutil.copyfile(original.file.with_name(spec.data.file), beside)
    write_bytes(target, original.file.read_bytes())
    return Finished(target, original.size_bytes, spec)


def _record(step: Step, setting: Setting, original: Original) -> dict[str, Any]:
    return {
        "version": 1,
        "cnntk": __version__,
        "calibration": {"data": _without_folder(setting.calibration), "images": setting.calibration_images},
        "max_drop": setting.max_drop,
        "prefer": setting.prefer,
        "accuracy": step.accuracy and step.accuracy.to_json(),
        "speed": step.race and {**as_json(step.race), "threads": setting.threads, "machine": setting.machine},
        "original_size_bytes": original.size_bytes,
    }


def _without_folder(data: str) -> str:
    """DATA as it may stand in a file that others read: no path of the user's machine."""
    kind, colon, place = data.partition(":")
    if not colon and data == "digits":
        return data
    name = Path(place if colon else data).name
    return f"{kind}:{name}" if colon else name


def _rows(bench: Workbench, found: SearchResult) -> tuple[LayerRow, ...]:
    costs = found.ranking.costs if found.ranking is not None else {}
    return tuple(_row(name, facts, found.recipe, costs.get(name)) for name, facts in bench.facts.items())


def _timed(rows: tuple[LayerRow, ...], file: Path, original: Original) -> tuple[LayerRow, ...]:
    found = layer_times(file, threads=original.engine.threads, seconds=_LAYERS_S)
    times = {row.name: row for row in found.rows}
    return tuple(
        replace(row, time_ms=t.time_ms, limit=t.limit, distance=t.limit_fraction)
        if (t := times.get(row.title)) is not None
        else row
        for row in rows
    )


def _row(name: str, facts: LayerFacts, recipe: Recipe, cost: float | None = None) -> LayerRow:
    layer = recipe.layers[name]
    return LayerRow(
        node=name,
        title=facts.title,
        op=facts.op,
        parameters=facts.parameters,
        multiply_adds=facts.multiply_adds,
        kind=layer.kind,
        reason=layer.reason,
        cost=cost,
    )


def _notes(found: SearchResult, parts: CalibrationSplit) -> tuple[str, ...]:
    notes = [str(refinement) for refinement in found.refinements]
    if found.interrupted:
        notes.append("the search was interrupted: this is the best so far, and there may be a better one")
    if not parts.evaluation.labels:
        notes.append(
            "the images have no labels, so the bound is held against what flips cost by the original's own "
            "probabilities"
        )
    return tuple(notes)


def _one_image_s(engine: Engine) -> float:
    """Seconds for one image, the median of a few."""
    inputs, times = example_inputs(engine.inputs, 1, engine.image_sizes), []
    for _ in range(7):
        start = time.perf_counter()
        engine.run(inputs)
        times.append(time.perf_counter() - start)
    return median(times)


def _estimate(image_s: float, recipe: Recipe, parts: CalibrationSplit) -> tuple[float, float]:
    """Seconds at least and at most: one candidate; or all layers ranked, and a bisection over them."""
    layers = sum(layer.kind != "float32" for layer in recipe.layers.values())
    judged = len(parts.evaluation) * image_s
    candidate = judged + _BUILD_S + _RACE_S
    least = len(parts.calibration) * image_s * _PLAIN + judged + candidate
    ranking = (2 * layers + 1) * (_BUILD_S + min(_FEW, len(parts.calibration)) * image_s)
    more = max(layers.bit_length(), 1) + min(layers, 8)
    return least, least + ranking + more * candidate
