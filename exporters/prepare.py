"""From a source to the graph that is to be proven: capture, passes, head."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import onnx_ir as ir

from cnntk.exporters.attributes import widen_attributes
from cnntk.exporters.capture import Captured, capture
from cnntk.exporters.checks.doubles import DoubleReference
from cnntk.exporters.checks.flat import Flattened
from cnntk.exporters.checks.inputs import FEW, KINDS, SAMPLES, Trials, trial_images, trial_inputs
from cnntk.exporters.checks.precision import check_cast
from cnntk.exporters.checks.prove import Case
from cnntk.exporters.checks.record import Check
from cnntk.exporters.checks.reference import GraphReference, ProgramReference, Reference
from cnntk.exporters.checks.samples import Samples, samples_check
from cnntk.exporters.checks.static import check_finite_weights, check_nothing_random
from cnntk.exporters.head import HeadOption, HeadRecord, add_head, body_of
from cnntk.exporters.op_support import unrunnable
from cnntk.exporters.passes.graph import epsilon
from cnntk.exporters.passes.infra import PassRecord
from cnntk.exporters.passes.run import run_passes
from cnntk.exporters.shapes.ledger import ledger
from cnntk.exporters.source import Source
from cnntk.runtime.artifact.spec import Layer
from cnntk.runtime.errors import CaptureError, InferenceError

__all__ = ["Prepared", "prepare"]

_LARGE = 500_000_000
"""Multiply-adds of an image from which a network is tried on `FEW` images rather than 8: float64 is slow."""


@dataclass(frozen=True)
class Prepared:
    """A graph that is to be proven, and how it came to be.

    Attributes:
        case: the graph, its reference and the trials.
        head: what it was taken for.
        passes: what each did.
        checks: what was seen without running it.
        layers: of the graph.
    """

    case: Case
    head: HeadRecord
    passes: tuple[PassRecord, ...]
    checks: tuple[Check, ...]
    layers: tuple[Layer, ...]


def prepare(
    source: Source,
    head: HeadOption,
    *,
    allow_double_softmax: bool = False,
    samples: Samples | None = None,
    images: bool = False,
    folder: Path | None = None,
) -> Prepared:
    """Captures a source, repairs and simplifies its graph, and gives it its head.

    Args:
        source: what was opened.
        head: whether it is a classifier.
        allow_double_softmax: take a softmax upon a softmax for what was meant.
        samples: the user's own, to be tried, too.
        images: whether the file will take images, by ``source.preprocessing``.
        folder: for torch's report on a failure.

    Raises:
        CaptureError: torch can't capture it, or onnxruntime has no kernels for its precision.
        ExportCheckError: something in it is random or not finite, its softmax is wrong, or a cast of its
            weights moved its answers by more than rounding.
    """
    captured = _captured(source, folder)
    if captured.program is not None:
        widen_attributes(captured.model)
    large = sum(layer.multiply_adds for layer in ledger(captured.model)) > _LARGE
    trials = _trials(source, samples, images, large)
    first, others = trials.ordinary[:1], trials.ordinary[1:3]
    tried = [trials.pick(images) for images in ([first] if large else [first, others])]
    try:
        model, passes = run_passes(captured.model, tried)
    except InferenceError as error:
        raise unrunnable(source, captured.model, error) from error
    returned = tuple(v.name or "" for v in captured.model.graph.outputs)
    names = {id(v): v.name for node in model.graph for v in node.outputs}
    record = add_head(model, head, source.classifier, allow_double_softmax=allow_double_softmax)
    bodies = {v.name or "": body_of(v) for v in model.graph.outputs}
    outputs = {output: str(names[id(v)]) for output, v in bodies.items() if id(v) in names}
    flat = frozenset(v.name or "" for v in model.graph.outputs if v.shape != bodies[v.name or ""].shape)
    declined = tuple(d for p in passes for d in p.rewrites.skipped)
    checks = [check_nothing_random(model, declined), check_finite_weights(model)]
    replaced = {k: v for p in passes if p.status == "applied" for k, v in p.rewrites.substitutions.items()}
    meaning = {node: output for output, node in outputs.items()}
    case = Case(
        model=model,
        reference=Flattened.of(_reference(source, captured, outputs, replaced), flat),
        trials=trials,
        eps=max(_precision(model), _coarsest(model.graph.outputs, default=0.0)),
        module=None if replaced else source.module,
        order=_order(returned, meaning, record.softmax),
        large=large,
    )
    if source.source_before_cast is not None and not replaced:
        checks.append(check_cast(source, case.reference, trials, case.order, case.eps))
    if samples is not None:
        checks.append(samples_check(samples, len(trials.kinds) - sum(kind in KINDS for kind in trials.kinds)))
    return Prepared(case, record, passes, tuple(checks), ledger(model))


def _captured(source: Source, folder: Path | None) -> Captured:
    try:
        return capture(source, folder)
    except CaptureError as error:
        if "cast_from" not in source.provenance:
            raise
        before, after = source.provenance["cast_from"], source.provenance["dtype"]
        raise CaptureError(
            f"{error}. It was cast from {before} to {after}: its code must take its types from its weights"
        ) from error


def _trials(source: Source, samples: Samples | None, images: bool, large: bool) -> Trials:
    if images and source.preprocessing is not None:
        taken = () if samples is None else samples.images[: SAMPLES // 2 if large else SAMPLES]
        return trial_images(source.inputs, source.preprocessing, FEW if large else len(KINDS), taken)
    own, count = (SAMPLES // 2, FEW) if large else (SAMPLES, len(KINDS))
    arrays = None if samples is None else {name: array[:own] for name, array in samples.arrays.items()}
    return trial_inputs(source.inputs, source.preprocessing, count, arrays)


def _reference(
    source: Source, captured: Captured, outputs: dict[str, str], replaced: dict[str, str]
) -> Reference:
    """Judges every output of the graph that the captured program has by name."""
    if captured.program is None:
        return GraphReference(captured.model, outputs)
    known = {node.name for node in captured.program.graph_module.graph.nodes}
    judged = {output: node for output, node in outputs.items() if node in known}
    if not judged:
        raise CaptureError(f"{source.name}: none of its outputs can be compared with torch's program")
    kind = DoubleReference if _precision(captured.model) == epsilon(ir.DataType.DOUBLE) else ProgramReference
    return kind(captured.program, judged, replaced)


def _order(returned: tuple[str, ...], meaning: dict[str, str], softmax: str) -> tuple[str, ...]:
    """What the module's outputs are called in the artifact; the one that the head took away is a softmax."""
    missing = [name for name in returned if name not in meaning]
    return tuple(meaning.get(name, softmax if len(missing) == 1 else "") for name in returned)


def _precision(model: ir.Model) -> float:
    """The coarsest step of its weights; of its inputs where it has none; float32's where those are no floats.

    Single numbers are left out: they are operators' attributes, and of any type.
    """
    weights = [v for v in model.graph.initializers.values() if v.shape is not None and len(v.shape)]
    return _coarsest(weights, default=_coarsest(model.graph.inputs, default=epsilon(ir.DataType.FLOAT)))


def _coarsest(values: Iterable[ir.Value], default: float) -> float:
    """The largest step among those that are floats."""
    floats = (v.dtype for v in values if v.dtype is not None and v.dtype.is_floating_point())
    return max(map(epsilon, floats), default=default)
