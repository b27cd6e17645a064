"""`export`: source to artifact, with its checks."""

from __future__ import annotations

import os
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from cnntk.runtime.errors import MissingDependency, ParityError, UsageError

try:
    import onnx_ir  # noqa: F401
    import onnxscript  # noqa: F401
    import safetensors  # noqa: F401
    import torch
    from torch import nn
except ImportError as error:
    raise MissingDependency(
        f"export needs {error.name}, which is not installed; run: pip install 'cnntk[export]'"
    ) from error

from cnntk.exporters._model_inputs import takes_images
from cnntk.exporters._op_support import ensure_runnable
from cnntk.exporters._prepare import Prepared, prepare
from cnntk.exporters._report import ExportReport
from cnntk.exporters.artifact import append_spec, write_hashed
from cnntk.exporters.checks._candidate import Candidate, Check
from cnntk.exporters.checks._inputs import Samples, read_samples
from cnntk.exporters.checks._order import run_checks
from cnntk.exporters.checks.divergence import layer_errors
from cnntk.exporters.checks.reference import reference_outputs
from cnntk.exporters.external_data import check_data_target, staged_artifact
from cnntk.exporters.graph_lint.lint import LintReport, lint_graph
from cnntk.exporters.options import ExportOptions
from cnntk.exporters.passes.order import REPAIRS
from cnntk.exporters.passes.origins import describe_origins
from cnntk.exporters.preprocessing import with_resize_form
from cnntk.exporters.self_test_vectors import make_self_test
from cnntk.exporters.source import Source, with_preprocessing
from cnntk.exporters.sources import open_source
from cnntk.runtime.artifact.self_test import run_self_test
from cnntk.runtime.artifact.spec import ModelSpec, SelfTest
from cnntk.runtime.codec import as_json, brief
from cnntk.runtime.engine import Engine
from cnntk.runtime.files import check_output
from cnntk.runtime.preprocessing.choice import is_image, suggested_preset, unstated


def export(
    source: str | os.PathLike[str] | nn.Module | torch.export.ExportedProgram,
    output: str | os.PathLike[str] | None = None,
    options: ExportOptions | None = None,
    *,
    progress: Callable[[str], None] | None = None,
    **fields: Any,
) -> ExportReport:
    """Exports a model as one ``.onnx`` file that was checked to be the same model; or writes nothing.

    Args:
        source: Folder of a checkpoint, zoo name, ``package.module:NAME``, ``path/file.py:NAME``,
            ``.pt2`` or ``.onnx`` file, ``transformers:NAME``, ``timm:NAME``, ``torchvision.models:NAME``,
            torch module or exported program.
        output: Path of the file; by default the source's name with ``.onnx``, in the current folder; with
            ``-cnntk.onnx`` where that is the source itself.
        options: Options of the export.
        progress: Callback that receives the name of each stage when it starts.
        **fields: Fields of `ExportOptions`, which replace those of ``options``.

    Raises:
        UsageError: An option is not valid for the source, or the file exists already.
        CheckpointError: The weights are damaged or belong to another network.
        CaptureError: torch can't export the network.
        ExportCheckError: Something is random, not finite, or depends on the batch; a shape or an output
            differs; or a cast changes an output by more than rounding.
    """
    started = time.monotonic()
    options = replace(options or ExportOptions(), **fields)
    notify = progress or (lambda stage: None)
    notify("opening the source")
    model = open_source(source, options)
    target = Path(output) if output is not None else _default_output(model.name, source)
    check_output(target, force=options.force)
    if options.external_data:
        check_data_target(target)
    model = ensure_runnable(model, options.dtype)
    if options.preprocessing:
        model = with_preprocessing(model, options.preprocessing)
    if model.preprocessing is not None and takes_images(model, options.preprocess):
        # Where the graph has no resize, the host has Pillow's.
        form = "exact" if options.static_size else options.resize
        model = replace(model, preprocessing=with_resize_form(model.preprocessing, form))
    notify("capturing and simplifying the graph")
    prepared = prepare(model, options, _samples(model, options))
    notify("checking the graph")
    checks = run_checks(prepared.candidate, "static")
    notify("running torch and onnxruntime on test inputs")
    return _write(prepared, checks, target, options, started)


def _default_output(name: str, source: object) -> Path:
    """The file beside which a source that is an ``.onnx`` file of this folder stays."""
    path = Path(f"{name}.onnx")
    is_source = (
        isinstance(source, str | os.PathLike) and path.exists() and path.resolve() == Path(source).resolve()
    )
    return path.with_stem(f"{name}-cnntk") if is_source else path


def _samples(source: Source, options: ExportOptions) -> Samples | None:
    if options.samples is None:
        return None
    samples = read_samples(options.samples, source)
    if takes_images(source, options.preprocess) and not samples.images:
        raise UsageError(
            "samples: the file takes images, so expected a folder of images; arrays need --preprocess host"
        )
    return samples


def _write(
    prepared: Prepared, checks: tuple[Check, ...], target: Path, options: ExportOptions, started: float
) -> ExportReport:
    """Writes the file, runs the checks that need it, and appends the spec."""
    candidate, interface = prepared.candidate, prepared.candidate.interface
    lint = lint_graph(candidate.model)
    # torch runs while the file is written and loaded: neither uses two cores.
    with (
        staged_artifact(interface.model, target, required=options.external_data) as (temporary, external),
        ThreadPoolExecutor(1) as background,
    ):
        outputs = background.submit(
            reference_outputs, candidate.reference, candidate.inputs, candidate.eps, candidate.batch_axes
        )
        self_test = background.submit(make_self_test, candidate)
        written = write_hashed(interface.model, temporary, external)
        engine = Engine(temporary, allow_nonfinite=True)  # the checks judge what is not finite
        run = engine.run if candidate.inputs.fixed_batch is None else engine.run_many
        running = replace(candidate, file=temporary, run=run, wait_for_reference=outputs.result)
        needs = ("run", "images") if interface.record is not None else ("run",)
        with np.errstate(invalid="ignore"):  # float16 overflows on extremes, which are not compared there
            checks += run_checks(running, *needs)
        spec = append_spec(temporary, _spec(prepared, checks, lint, self_test.result()), written)
        _check_self_test(engine, spec)
        size_bytes = temporary.stat().st_size
    return ExportReport(
        path=str(target),
        name=spec.name,
        size_bytes=size_bytes,
        opset=interface.model.opset_imports[""],
        ir_version=interface.model.ir_version,
        inputs=interface.inputs,
        preprocessing=interface.record,
        head=prepared.head.kind,
        head_reason=prepared.head.reason,
        passes=prepared.passes,
        checks=checks,
        parity=_rows(checks, "parity"),
        layers=prepared.layers,
        shapes=_rows(checks, "shapes"),
        layer_errors=layer_errors(candidate) if options.layer_errors else (),
        graph_lint=lint,
        self_test=spec.self_test,
        data=spec.data,
        digest=spec.digest,
        notes=(*_unstated(spec, options), *candidate.source.notes, *_notes(spec, options)),
        seconds=round(time.monotonic() - started, 2),
        suggested_preset=suggested_preset(spec.inputs[0]) if _unstated(spec, options) else None,
        samples=os.fspath(options.samples) if isinstance(options.samples, str | os.PathLike) else "",
        source_notes=candidate.source.notes,
    )


def _rows(checks: tuple[Check, ...], name: str) -> tuple[Any, ...]:
    return next((check.rows for check in checks if check.name == name), ())


def _spec(prepared: Prepared, checks: tuple[Check, ...], lint: LintReport, self_test: SelfTest) -> ModelSpec:
    candidate = prepared.candidate
    source, interface = candidate.source, candidate.interface
    return ModelSpec(
        name=source.name,
        labels=_labels(prepared),
        inputs=interface.inputs,
        preprocessing=interface.preprocessing,
        head=prepared.head.kind,
        network=source.network,
        layers=prepared.layers,
        provenance={**source.provenance, **_original_outputs(candidate), "torch": torch.__version__},
        check_results={
            "checks": as_json(checks),
            "parity": as_json(_rows(checks, "parity")),
            **({"tolerance": candidate.tolerance} if candidate.tolerance else {}),
            "graph_lint": as_json(lint),
            "repaired": _rewrites(prepared, repairs=True),
            "simplified": _rewrites(prepared, repairs=False),
            "weight_origins": describe_origins(interface.model),
        },
        self_test=self_test,
    )


def _original_outputs(candidate: Candidate) -> dict[str, Any]:
    """For a foreign file, the names that its outputs have there, by which `verify` compares both files."""
    graph = candidate.source.original_graph
    if graph is None:
        return {}
    names = [str(v.name) for v in graph.graph.outputs]
    outputs = {name: value for name, value in candidate.reference.outputs.items() if value in names}
    if "Softmax" in candidate.output_names:  # removed by the head, which computes it in float32
        outputs["probabilities"] = names[candidate.output_names.index("Softmax")]
    return {"outputs": outputs}


def _labels(prepared: Prepared) -> tuple[str, ...]:
    """The source's labels, which must be as many as the logits; numbers where it has none."""
    if prepared.head.kind != "classifier":
        return ()
    source, shape = prepared.candidate.source, prepared.candidate.model.graph.outputs[0].shape
    classes = int(shape[1]) if shape is not None and isinstance(shape[1], int) else 0
    if source.labels and len(source.labels) != classes:
        raise UsageError(
            f"labels: {len(source.labels)} labels, but {source.name} has {classes} logits; expected one each"
        )
    for label in source.labels:
        if "\0" in label or label.encode(errors="ignore").decode() != label:
            raise UsageError(f"labels: {brief(label)} has the character NUL, or is not valid Unicode text")
    return source.labels or tuple(map(str, range(classes)))


def _rewrites(prepared: Prepared, *, repairs: bool) -> list[str]:
    """The rewrites of passes that repair, or of those that simplify."""
    applied = [p for p in prepared.passes if p.status == "applied" and (p.name in REPAIRS) is repairs]
    return [line for p in applied for line in p.rewrites.applied]


def _check_self_test(engine: Engine, spec: ModelSpec) -> None:
    """The finished file passes the test that every device will run."""
    for check in run_self_test(engine.run, spec, spec.name).worst:
        if not check.holds:
            raise ParityError(
                f"{check.output}: the finished file fails its self-test on {check.case}: error "
                f"{check.error:.3g} (limit {check.bound:.3g}). Nothing was written"
            )


def _unstated(spec: ModelSpec, options: ExportOptions) -> tuple[str, ...]:
    """The question how images become the input, where the source does not say it."""
    if spec.preprocessing is not None or options.preprocess == "none" or not is_image(spec.inputs[0]):
        return ()
    return (f"the file takes arrays only: the source {unstated(spec.inputs[0])}",)


def _notes(spec: ModelSpec, options: ExportOptions) -> tuple[str, ...]:
    numbers = tuple(map(str, range(len(spec.labels))))
    conditions = {
        "no weight is as large as 64 KiB, so all of them are in the file": (
            options.external_data and spec.data is None
        ),
        "no labels: classes are named by their numbers (--labels FILE names them)": (
            bool(spec.labels) and spec.labels == numbers and "data" not in spec.provenance
        ),
    }
    notes = [note for note, applies in conditions.items() if applies]
    if repeated := [label for label, count in Counter(spec.labels).items() if count > 1]:
        shown = ", ".join(map(brief, repeated[:3])) + (", ..." if len(repeated) > 3 else "")
        notes.append(
            f"{len(repeated)} of the labels name several classes ({shown}): predictions of these can't be "
            "told apart"
        )
    return tuple(notes)
