"""`export`: source to artifact, with proof."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, replace
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
        f"exporting needs {error.name}, which is not installed; run: pip install 'cnntk[export]'"
    ) from error

from cnntk.exporters.artifact import append_spec, write_hashed
from cnntk.exporters.checks.divergence import LayerError, layer_errors
from cnntk.exporters.checks.halves import check_in_float32
from cnntk.exporters.checks.parity import Answers, reference_answers
from cnntk.exporters.checks.pixels import PixelsPart, check_pixels
from cnntk.exporters.checks.precision import check_finite_answers
from cnntk.exporters.checks.prove import Case, Proof, prove
from cnntk.exporters.checks.record import Check
from cnntk.exporters.checks.reference import Reference
from cnntk.exporters.checks.samples import Samples, SamplesLike, take_samples
from cnntk.exporters.checks.whole import whole_of
from cnntk.exporters.described import described
from cnntk.exporters.external_data import weights_beside
from cnntk.exporters.graph_lint.lint import LintReport, lint_graph
from cnntk.exporters.head import HeadOption
from cnntk.exporters.model_inputs import AskedByImages, Face, PreprocessOption, face_of, takes_images
from cnntk.exporters.op_support import runnable
from cnntk.exporters.passes.order import REPAIRS
from cnntk.exporters.prepare import Prepared, prepare
from cnntk.exporters.report import ExportReport
from cnntk.exporters.source import Dtype, InputShape, Source, SourceOptions
from cnntk.exporters.sources import open_source
from cnntk.exporters.sources.precision import EPSILON
from cnntk.exporters.vectors import CASES, FEW_CASES, RESIZED_CASE, self_test_of
from cnntk.runtime.artifact.self_test import run_self_test
from cnntk.runtime.artifact.spec import ModelSpec, Preprocessing, SelfTest
from cnntk.runtime.codec import as_json
from cnntk.runtime.engine import Engine
from cnntk.runtime.files import atomic_write, check_writable

__all__ = ["PreprocessOption", "export"]


def export(
    source: str | os.PathLike[str] | nn.Module | torch.export.ExportedProgram,
    output: str | os.PathLike[str] | None = None,
    *,
    input_shape: InputShape | None = None,
    weights: str | None = None,
    kwargs: Mapping[str, Any] | None = None,
    labels: Sequence[str] | None = None,
    random: bool = False,
    seed: int = 0,
    preprocess: PreprocessOption = "graph",
    image: Mapping[str, str] | Preprocessing | None = None,
    head: HeadOption = "auto",
    dtype: Dtype = "auto",
    samples: SamplesLike | None = None,
    allow_double_softmax: bool = False,
    layer_parity: bool = False,
    external_data: bool = False,
    force: bool = False,
) -> ExportReport:
    """Exports a model as one ``.onnx`` file that was shown to be the same model; or writes nothing.

    Args:
        source: a checkpoint's folder, a zoo name, ``package.module:factory``, ``path/file.py:factory``, a
            ``.pt2`` or ``.onnx`` file, ``transformers:NAME``, a torch module or exported program.
        output: the file; by default the source's name with ``.onnx``, in the current folder.
        input_shape: (C, H, W); by default the source's own.
        weights: ``.safetensors`` or ``.pt`` file, for sources that have none of their own.
        kwargs: arguments of the factory.
        labels: of the classes, in the order of the logits.
        random: take seeded random weights, for trials.
        seed: of the random weights.
        preprocess: where images become the network's input. ``graph``: in the file, which takes uint8
            (N, H, W, C) of any size; ``host``: before it, as its spec says; ``none``: nowhere, and it takes
            arrays only.
        image: fields of `Preprocessing`, as text, where the source does not say them or says them wrong, like
            ``{"mean": "0.5,0.5,0.5", "resize": "shortest"}``; or all of it, for sources that say nothing.
        head: whether it is a classifier.
        dtype: of the weights and inputs; ``auto``: the source's own, but float32 where onnxruntime has no
            kernels for that (bfloat16, and convolutions in float64), which is noted. A classifier answers in
            float32, whatever the type.
        samples: of the user's own, to be tried beside the built-in inputs: a folder of images or an ``.npz``,
            arrays (n, ...) by input, or images. The first 4 are taken, of a large network the first 2.
        allow_double_softmax: take a softmax upon a softmax for what was meant.
        layer_parity: measure each layer's error, too.
        external_data: put weights of 64 KiB and more into a ``.data`` file beside the ``.onnx``, which names
            it. Done in any case where they are over 2 GB, protobuf's limit.
        force: replace an existing file.

    Raises:
        UsageError: an argument does not fit; the file exists already.
        CheckpointError: the weights are damaged or belong to another network.
        CaptureError: torch can't export the network.
        ExportCheckError: something is random, not finite, or depends on the batch; a shape or an answer
            differs, or a cast moved an answer by more than rounding.
    """
    started = time.monotonic()
    options = SourceOptions(
        input_shape, weights, kwargs or {}, tuple(labels) if labels else None, random, seed, dtype
    )
    found = open_source(source, options)
    target = Path(output) if output is not None else Path(f"{found.name}.onnx")
    if target.exists() and not force:
        raise UsageError(f"{target}: exists already; --force replaces it, -o names another file")
    check_writable(target)
    found = runnable(found, dtype, target.parent)
    found = described(found, image) if image else found
    images = takes_images(found, preprocess)
    own = None if samples is None else take_samples(samples, found)
    if images and own is not None and not own.images:
        raise UsageError(
            "samples: the file takes images, so give a folder of images; arrays are for --preprocess host"
        )
    prepared = prepare(
        found,
        head,
        allow_double_softmax=allow_double_softmax,
        samples=own,
        images=images,
        folder=target.parent,
    )
    case = prepared.case
    face = face_of(found, case, preprocess)
    built = lint_graph(case.model)
    # torch answers while the file is written and loaded: neither keeps two cores busy.
    with (
        weights_beside(face.model, target, wanted=external_data) as beside,
        atomic_write(target) as temporary,
        ThreadPoolExecutor(1) as meanwhile,
    ):
        asked = meanwhile.submit(_answers, case)
        tested = meanwhile.submit(_self_test, found, prepared, face)
        written = write_hashed(face.model, temporary, beside)
        engine = Engine(temporary, allow_nonfinite=True)  # what is not finite, the proof judges
        with np.errstate(invalid="ignore"):  # half precision overflows on extremes, which is not judged there
            proof = prove(case, engine.run, asked.result)
        answers = asked.result()
        more = (*_half_checks(found, case, answers), *_pixel_checks(face, case, engine, answers, own))
        proof = replace(proof, checks=(*proof.checks, *more))
        spec = append_spec(temporary, _spec(found, prepared, proof, built, face, tested.result()), written)
        _check_self_test(engine, spec)
    return ExportReport(
        path=str(target),
        name=spec.name,
        size_bytes=target.stat().st_size,
        opset=prepared.case.model.opset_imports[""],
        ir_version=prepared.case.model.ir_version,
        inputs=face.inputs,
        pixels=face.record,
        head=prepared.head.kind,
        head_reason=prepared.head.reason,
        passes=prepared.passes,
        checks=(*prepared.checks, *proof.checks),
        parity=proof.parity,
        layers=prepared.layers,
        ledger=proof.ledger,
        layer_errors=_layer_errors(prepared) if layer_parity else (),
        graph_lint=built,
        self_test=spec.self_test,
        data=spec.data,
        digest=spec.digest,
        notes=(*found.notes, *_notes(spec, preprocess, external_data)),
        seconds=round(time.monotonic() - started, 2),
    )


def _answers(case: Case) -> Answers:
    answers = reference_answers(case.reference, case.trials, case.eps)
    check_finite_answers(answers)
    return answers


def _half_checks(source: Source, case: Case, answers: Answers) -> tuple[Check, ...]:
    """Somebody's graph in float16 has no reference in float64."""
    in_half = case.eps == EPSILON["float16"] and source.graph is None
    return (check_in_float32(case.model, answers),) if in_half else ()


def _pixel_checks(
    face: Face, case: Case, engine: Engine, answers: Answers, samples: Samples | None
) -> tuple[Check, ...]:
    """What the graph makes of images, where it takes them; and of the user's own, what the whole answers."""
    if face.images is None or face.record is None:
        return ()
    photographs = {} if samples is None else dict(zip(samples.names, samples.images, strict=True))
    whole = None if case.large and not photographs else whole_of(case, engine.run, answers)
    return (check_pixels(face.model, face.images, face.record, photographs=photographs, whole=whole),)


def _spec(
    source: Source,
    prepared: Prepared,
    proof: Proof,
    built: LintReport,
    face: Face,
    self_test: SelfTest,
) -> ModelSpec:
    return ModelSpec(
        name=source.name,
        labels=_labels(source, prepared),
        inputs=face.inputs,
        preprocessing=face.preprocessing,
        head=prepared.head.kind,
        network=source.network,
        layers=prepared.layers,
        provenance={**source.provenance, "torch": torch.__version__},
        check_results={
            "checks": [asdict(check) for check in (*prepared.checks, *proof.checks)],
            "parity": [p.to_json() for p in proof.parity],
            "graph_lint": as_json(built),
            "repaired": _done(prepared, repairs=True),
            "simplified": _done(prepared, repairs=False),
        },
        self_test=self_test,
    )


def _labels(source: Source, prepared: Prepared) -> tuple[str, ...]:
    """The source's labels, which must be as many as the logits; their numbers where it has none."""
    if prepared.head.kind != "classifier":
        return ()
    shape = prepared.case.model.graph.outputs[0].shape
    classes = int(shape[1]) if shape is not None and isinstance(shape[1], int) else 0
    if source.labels and len(source.labels) != classes:
        raise UsageError(
            f"{len(source.labels)} labels, but {source.name} has {classes} logits; one label each"
        )
    return source.labels or tuple(map(str, range(classes)))


def _done(prepared: Prepared, *, repairs: bool) -> list[str]:
    """What the passes did: those that mended something, or those that made it cheaper."""
    applied = [p for p in prepared.passes if p.status == "applied" and (p.name in REPAIRS) is repairs]
    return [line for p in applied for line in p.rewrites.applied]


def _self_test(source: Source, prepared: Prepared, face: Face) -> SelfTest:
    """Answers stand in it with nine digits, so no device is held to more than float32's step."""
    case, p = prepared.case, face.images
    cases = FEW_CASES if case.large else CASES
    sizes: dict[str, int] = {}
    reference: Reference | AskedByImages = case.reference
    nudged = None
    if p is not None and face.record is not None:
        sizes = p.image_sizes
        reference = AskedByImages(case.reference, PixelsPart(face.model, p, face.record), source.inputs[0])
        nudged, cases = reference.nudged, (*cases, RESIZED_CASE)
    return self_test_of(
        reference.exact,
        reference.single,
        face.inputs,
        cases=cases,
        sizes=sizes,
        nudged=nudged,
        probabilities="logits" in case.reference.outputs and "probabilities" not in case.reference.outputs,
        eps=max(case.eps, EPSILON["float32"]),
    )


def _check_self_test(engine: Engine, spec: ModelSpec) -> None:
    """What every device will be asked must hold here, where it was made."""
    for check in run_self_test(engine.run, spec, spec.name).worst:
        if not check.holds:
            raise ParityError(
                f"{check.output}: the finished file fails its self-test, {check.case}, by {check.error:.3g} "
                f"where {check.bound:.3g} is allowed. Nothing was written"
            )


def _layer_errors(prepared: Prepared) -> tuple[LayerError, ...]:
    case = prepared.case
    return layer_errors(case.model, case.reference, case.trials.batch(1))


def _notes(spec: ModelSpec, preprocess: PreprocessOption, external_data: bool) -> tuple[str, ...]:
    notes = []
    if external_data and spec.data is None:
        notes.append("no weight is as large as 64 KiB, so all of them are in the file")
    if spec.preprocessing is None and preprocess != "none":
        notes.append("the source does not say how images become its input, so the file takes arrays only")
    if (
        spec.labels
        and spec.labels == tuple(map(str, range(len(spec.labels))))
        and "data" not in spec.provenance
    ):
        notes.append("no labels were given: classes are called by their numbers (--labels FILE names them)")
    return tuple(notes)
