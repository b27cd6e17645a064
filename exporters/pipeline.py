"""`export`: source to artifact, with proof."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import onnx_ir as ir
import torch
from torch import nn

from cnntk.exporters.artifact import append_spec, write_graph
from cnntk.exporters.capture import IR_VERSION, OPSET, capture
from cnntk.exporters.head import HeadOption, add_head
from cnntk.exporters.ledger import ledger
from cnntk.exporters.parity import Parity, check_parity, reference_answers, trial_inputs
from cnntk.exporters.report import ExportReport
from cnntk.exporters.source import Source, SourceOptions
from cnntk.exporters.sources import open_source
from cnntk.runtime.engine import Engine
from cnntk.runtime.errors import UsageError
from cnntk.runtime.files import check_writable, staged
from cnntk.runtime.spec import Head, ModelSpec, TensorSpec

__all__ = ["PreprocessOption", "export"]

PreprocessOption = Literal["host", "none"]

_LARGE = 2_000_000_000
"""Multiply-adds of an image from which a network is compared on 5 images rather than 8: float64 is slow."""


def export(
    source: str | os.PathLike[str] | nn.Module,
    output: str | os.PathLike[str] | None = None,
    *,
    input_shape: tuple[int, int, int] | None = None,
    weights: str | None = None,
    kwargs: Mapping[str, Any] | None = None,
    labels: Sequence[str] | None = None,
    random: bool = False,
    seed: int = 0,
    preprocess: PreprocessOption = "host",
    head: HeadOption = "auto",
    force: bool = False,
) -> ExportReport:
    """Exports a torch network as one ``.onnx`` file that was compared with it; or writes nothing.

    Args:
        source: a checkpoint's folder, a zoo name, ``package.module:factory``, ``path/file.py:factory``, or a
            torch module.
        output: the file; by default the source's name with ``.onnx``, in the current folder.
        input_shape: (C, H, W); by default the source's own.
        weights: ``.safetensors`` or ``.pt`` file, for sources that have none of their own.
        kwargs: arguments of the factory.
        labels: of the classes, in the order of the logits.
        random: take seeded random weights, for trials.
        seed: of the random weights.
        preprocess: ``host``: the spec says how images become the input; ``none``: arrays only.
        head: whether it is a classifier.
        force: replace an existing file.

    Raises:
        UsageError: an argument does not fit; the file exists already.
        CheckpointError: the weights are damaged or belong to another network.
        CaptureError: torch can't export the network.
        ParityError: the exported model answers something else.
    """
    started = time.monotonic()
    options = SourceOptions(
        input_shape, weights, kwargs or {}, tuple(labels) if labels else None, random, seed
    )
    found = open_source(source, options)
    target = Path(output) if output is not None else Path(f"{found.name}.onnx")
    if target.exists() and not force:
        raise UsageError(f"{target}: exists already; --force replaces it, -o names another file")
    check_writable(target)
    graph = _graph(found, head)
    with staged(target) as temporary:
        write_graph(graph.model, temporary)
        parity = _prove(found, sum(layer.multiply_adds for layer in graph.spec.layers), temporary)
        spec = _spec(found, graph, parity, preprocess)
        append_spec(temporary, spec)
    return ExportReport(
        path=str(target),
        name=spec.name,
        size_bytes=target.stat().st_size,
        parameters=sum(layer.parameters for layer in spec.layers),
        multiply_adds=sum(layer.multiply_adds for layer in spec.layers),
        opset=OPSET,
        ir_version=IR_VERSION,
        head=graph.head,
        head_reason=graph.head_reason,
        parity=parity,
        notes=_notes(spec, preprocess),
        seconds=round(time.monotonic() - started, 2),
    )


@dataclass(frozen=True)
class _Graph:
    model: ir.Model
    head: Head
    head_reason: str
    spec: ModelSpec


def _graph(source: Source, option: HeadOption) -> _Graph:
    model = capture(source.module, source.input_shape, _INPUT)
    head, reason = add_head(model, option)
    spec = ModelSpec(
        name=source.name,
        labels=_labels(source, model) if head == "classifier" else (),
        inputs=source.inputs,
        head=head,
        network=source.network,
        layers=ledger(model),
        provenance={**source.provenance, "torch": torch.__version__},
    )
    return _Graph(model, head, reason, spec)


def _labels(source: Source, model: ir.Model) -> tuple[str, ...]:
    """The source's labels, which must be as many as the logits; their numbers where it has none."""
    shape = model.graph.outputs[0].shape
    classes = int(shape[1]) if shape is not None and isinstance(shape[1], int) else 0
    if source.labels and len(source.labels) != classes:
        raise UsageError(
            f"{len(source.labels)} labels, but {source.name} has {classes} logits; one label each"
        )
    return source.labels or tuple(map(str, range(classes)))


def _prove(source: Source, multiply_adds: int, file: Path) -> tuple[Parity, ...]:
    count = 8 if multiply_adds < _LARGE else 5
    answers = reference_answers(source.module, trial_inputs(source.input_shape, source.preprocessing, count))
    return check_parity(Engine(file), answers)


def _spec(
    source: Source, graph: _Graph, parity: tuple[Parity, ...], preprocess: PreprocessOption
) -> ModelSpec:
    preprocessing = source.preprocessing if preprocess == "host" else None
    return replace(graph.spec, preprocessing=preprocessing, proof={"parity": [p.to_json() for p in parity]})


def _notes(spec: ModelSpec, preprocess: PreprocessOption) -> tuple[str, ...]:
    notes = []
    if spec.preprocessing is None and preprocess == "host":
        notes.append("the source does not say how images become its input, so the file takes arrays only")
    if (
        spec.labels
        and spec.labels == tuple(map(str, range(len(spec.labels))))
        and "data" not in spec.provenance
    ):
        notes.append("no labels were given: classes are called by their numbers (--labels FILE names them)")
    return tuple(notes)
