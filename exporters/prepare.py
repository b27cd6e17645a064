"""From a source to the graph that is to be proven: capture, passes, head."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx_ir as ir

from cnntk.exporters.capture import Captured, capture
from cnntk.exporters.head import HeadOption, HeadRecord, add_head
from cnntk.exporters.passes.infra import PassRecord
from cnntk.exporters.passes.run import run_passes
from cnntk.exporters.proof.inputs import KINDS, Trials, trial_inputs
from cnntk.exporters.proof.prove import Case
from cnntk.exporters.proof.record import Check
from cnntk.exporters.proof.reference import GraphReference, ProgramReference, Reference
from cnntk.exporters.proof.static import check_finite_weights, check_nothing_random
from cnntk.exporters.shapes.ledger import ledger
from cnntk.exporters.source import Source
from cnntk.runtime.errors import CaptureError
from cnntk.runtime.spec import Layer

__all__ = ["Prepared", "prepare"]

_LARGE = 500_000_000
"""Multiply-adds of an image from which a network is tried on 3 images rather than 8: float64 is slow."""


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
    source: Source, head: HeadOption, *, allow_double_softmax: bool = False, folder: Path | None = None
) -> Prepared:
    """Captures a source, repairs and simplifies its graph, and gives it its head.

    Raises:
        CaptureError: torch can't capture it.
        ProofError: something in it is random or not finite, or its softmax is wrong.
    """
    captured = capture(source, folder)
    trials = _trials(source, captured.model)
    large = len(trials.kinds) < len(KINDS)
    tried = [trials.batch(1)] if large else [trials.batch(1), trials.batch(2, start=2)]
    model, passes = run_passes(captured.model, tried)
    returned = tuple(v.name or "" for v in captured.model.graph.outputs)
    names = {id(v): v.name for node in model.graph for v in node.outputs}
    record = add_head(model, head, source.classifier, allow_double_softmax=allow_double_softmax)
    outputs = {v.name or "": str(names[id(v)]) for v in model.graph.outputs if id(v) in names}
    declined = tuple(d for p in passes for d in p.rewrites.declined)
    checks = (check_nothing_random(model, declined), check_finite_weights(model))
    replaced = {k: v for p in passes if p.status == "applied" for k, v in p.rewrites.replaced.items()}
    meaning = {node: output for output, node in outputs.items()}
    case = Case(
        model=model,
        reference=_reference(source, captured, outputs, replaced),
        trials=trials,
        eps=_eps(source),
        module=None if replaced else source.module,
        order=tuple(meaning.get(name, "") for name in returned),
        large=large,
    )
    return Prepared(case, record, passes, checks, ledger(model))


def _trials(source: Source, model: ir.Model) -> Trials:
    multiply_adds = sum(layer.multiply_adds for layer in ledger(model))
    count = 3 if multiply_adds > _LARGE else len(KINDS)
    return trial_inputs(source.inputs, source.preprocessing, count)


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
    return ProgramReference(captured.program, judged, replaced)


def _eps(source: Source) -> float:
    """The coarsest precision among the inputs; float32 where none is a float."""
    kinds = {spec.dtype for spec in source.inputs}
    if "bfloat16" in kinds:
        return 2.0**-7
    return float(np.finfo(np.float16 if "float16" in kinds else np.float32).eps)
