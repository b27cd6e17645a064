"""torch module to graph: ``torch.export`` and torch's own ONNX translation, as an ``onnx_ir`` model."""

from __future__ import annotations

import io
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import onnx_ir as ir
import torch
from torch import fx, nn
from torch.export import Dim, ExportedProgram
from torch.fx.experimental.symbolic_shapes import free_unbacked_symbols

from cnntk.exporters.failure import CAPTURE_FAILURES, capture_error, quoted_place
from cnntk.exporters.source import Source
from cnntk.exporters.sources.console import suppress_output
from cnntk.exporters.sources.inputs import form, parameters_of
from cnntk.exporters.sources.io_names import name_inputs_and_outputs, user_inputs, user_outputs
from cnntk.runtime.artifact.spec import TensorSpec
from cnntk.runtime.errors import CaptureError

__all__ = ["IR_VERSION", "OPSET", "Captured", "capture", "example_inputs"]

OPSET = 18
IR_VERSION = 10
"""They load in every runtime that was tried (onnxruntime, its web and node builds, OpenVINO)."""


@dataclass(frozen=True)
class Captured:
    """A graph, and the torch program that it was translated from.

    Attributes:
        model: each value bears the name of the program's node that it came from; nodes carry torch's notes
            (``pkg.torch.onnx.name_scopes``, ``.stack_trace``) until the file is written.
        program: decomposed; its inputs and outputs bear the names of the graph's. None for somebody's ONNX.
    """

    model: ir.Model
    program: ExportedProgram | None


def capture(source: Source, folder: Path | None = None) -> Captured:
    """The graph of a source in evaluation mode, for a batch of any size.

    Args:
        source: its module or program stays as it is.
        folder: for torch's report on a failure; by default the system's temporary one.

    Raises:
        CaptureError: torch can't capture the network or translate one of its operators, or it does not take a
            batch of any size; the message names the user's line, and the file with torch's report.
    """
    if source.graph is not None:
        return Captured(source.graph, None)
    with suppress_output() as chatter:
        program = source.program or _export(source, chatter, folder)
        _check_outputs(program, source.name)
        translated = _translate(program, source.name, chatter, folder)
    model, decomposed = translated.model, translated.exported_program
    model.ir_version = IR_VERSION
    name_inputs_and_outputs(model, decomposed, [spec.name for spec in source.inputs])
    return Captured(model, decomposed)


def example_inputs(inputs: tuple[TensorSpec, ...]) -> tuple[torch.Tensor, ...]:
    """Zeros of each input's type and shape, as a batch of 2, because torch specializes on 1."""
    return tuple(
        torch.zeros([d if isinstance(d, int) else 2 for d in spec.shape], dtype=getattr(torch, spec.dtype))
        for spec in inputs
    )


def _export(source: Source, chatter: io.StringIO, folder: Path | None) -> ExportedProgram:
    """torch.export's program: traced, or where that fails, read from bytecode, which takes more of Python."""
    if source.module is None:
        raise ValueError(f"{source.name}: holds nothing to capture")
    args, kwargs, shapes = _call(source.module, source.inputs)
    failures: list[Exception] = []
    for strict in (False, True):
        try:
            return torch.export.export(source.module, args, kwargs, dynamic_shapes=shapes, strict=strict)
        except CAPTURE_FAILURES as error:
            failures.append(error)
    raise capture_error(source.name, failures, chatter.getvalue(), folder) from failures[0]


def _call(
    module: nn.Module, inputs: tuple[TensorSpec, ...]
) -> tuple[tuple[torch.Tensor, ...], dict[str, torch.Tensor], Any]:
    """Arguments for ``forward`` and their free axes: by place, or by name where some are skipped."""
    batch = Dim("batch")
    names = [spec.name for spec in inputs]
    axes = [{axis: batch for axis, d in enumerate(spec.shape) if d == "N"} for spec in inputs]
    examples = example_inputs(inputs)
    known = parameters_of(module)
    if len(names) > 1 and known and list(known[: len(names)]) != names:
        return (), dict(zip(names, examples, strict=True)), dict(zip(names, axes, strict=True))
    return examples, {}, tuple(axes)


def _translate(program: ExportedProgram, name: str, chatter: io.StringIO, folder: Path | None) -> Any:
    try:
        translated = torch.onnx.export(
            program, (), dynamo=True, opset_version=OPSET, optimize=False, verbose=False
        )
    except CAPTURE_FAILURES as error:
        raise capture_error(name, [error], chatter.getvalue(), folder) from error
    if translated is None:
        raise CaptureError(f"{name}: torch exported nothing")
    return translated


def _check_outputs(program: ExportedProgram, name: str) -> None:
    """The answer must have a row for each image, however many there are, and a size that is known before."""
    outputs = [node for node in user_outputs(program) if isinstance(node.meta.get("val"), torch.Tensor)]
    for node in outputs:
        if free_unbacked_symbols(node.meta["val"]):
            raise CaptureError(
                f"{_where(name, node)}the size of an output depends on the values in the image; "
                "keep sizes fixed and mask with torch.where instead"
            )
    (first, *_) = user_inputs(program)
    batch = str(first.meta["val"].shape[0])
    if not any(batch in str(node.meta["val"].shape) for node in outputs):
        raise CaptureError(
            f"{_where(name, outputs[0])}the batch is baked in: the answer is "
            f"{form(outputs[0].meta['val'].shape)} for a batch of any size; "
            "write x.shape[0] or -1 in place of numbers, and no index into the batch"
        )


def _where(name: str, node: fx.Node) -> str:
    place = quoted_place(node.meta.get("stack_trace") or "")
    return f"{name}: {place}: " if place else f"{name}: "
