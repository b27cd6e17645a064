"""From a torch module to a graph: ``torch.export`` and torch's ONNX translation, as an ``onnx_ir`` model."""

from __future__ import annotations

import contextlib
import gc
import inspect
import io
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import onnx_ir as ir
import torch
from torch import nn
from torch.export import Dim, ExportedProgram

from cnntk.exporters._program_checks import check_program
from cnntk.exporters._program_rewrites import restore_weight_names, rewrite_program
from cnntk.exporters._torch_errors import (
    CAPTURE_ERRORS,
    NOT_CAPTURED,
    NOT_TRANSLATED,
    capture_error,
    invalid_input,
)
from cnntk.exporters.passes.origins import label_source_tensors
from cnntk.exporters.source import Source
from cnntk.exporters.sources.console import suppress_output
from cnntk.exporters.sources.inputs import form, parameters_of
from cnntk.exporters.sources.io_names import name_inputs_and_outputs
from cnntk.runtime.artifact.spec import TensorSpec
from cnntk.runtime.errors import CaptureError

__all__ = ["IR_VERSION", "OPSET", "Captured", "capture", "example_inputs"]

OPSET = 18
IR_VERSION = 10
"""Opset and IR version that load in every tested runtime (onnxruntime, its web and node builds, OpenVINO)."""


@dataclass(frozen=True)
class Captured:
    """A graph, and the torch program from which it was translated.

    Attributes:
        model: Graph whose values have the names of the program's nodes; its nodes have torch's notes
            (``pkg.torch.onnx.name_scopes``, ``.stack_trace``), which are not written to the file.
        program: Decomposed program whose inputs and outputs have the graph's names; None for somebody's ONNX.
    """

    model: ir.Model
    program: ExportedProgram | None


def capture(source: Source) -> Captured:
    """Captures a source in evaluation mode as a graph with a dynamic batch.

    Args:
        source: Source; its module or program is not changed.

    Raises:
        CaptureError: torch can't capture the network or translate one of its operators, or the batch is not
            dynamic; the message names the user's line.
    """
    if source.graph is not None:
        label_source_tensors(source.graph)
        return Captured(source.graph, None)
    with suppress_output() as chatter, _without_garbage_collection():
        program = source.program or _export(source, chatter)
        check_program(program, source.name)
        translated = _translate(program, source.name, chatter)
    model, decomposed = translated.model, translated.exported_program
    model.ir_version = IR_VERSION
    label_source_tensors(model)  # by their own names: those of inputs and outputs go before
    name_inputs_and_outputs(model, decomposed, [spec.name for spec in source.inputs])
    return Captured(model, decomposed)


@contextlib.contextmanager
def _without_garbage_collection() -> Iterator[None]:
    """Pauses Python's search for cycles: capture creates objects by the million, few of them garbage, and the
    search took a quarter of its time."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


def example_inputs(inputs: tuple[TensorSpec, ...]) -> tuple[torch.Tensor, ...]:
    """Zeros of each input's type and shape, with a batch of 2, because torch specializes on 1."""
    return tuple(
        torch.zeros([d if isinstance(d, int) else 2 for d in spec.shape], dtype=getattr(torch, spec.dtype))
        for spec in inputs
    )


def _export(source: Source, chatter: io.StringIO) -> ExportedProgram:
    """torch.export's program: traced, or where that fails, from bytecode, which supports more of Python."""
    if source.module is None:
        raise ValueError(f"{source.name}: the source has no module to capture")
    args, kwargs, shapes = _call(source.module, source.inputs)
    failures: list[Exception] = []
    for strict in (False, True):
        try:
            return torch.export.export(source.module, args, kwargs, dynamic_shapes=shapes, strict=strict)
        except CAPTURE_ERRORS as error:
            failures.append(error)
    if (invalid := _error_of_call(source.module, args, kwargs)) is not None:
        shapes = ", ".join(form(spec.shape[1:]) for spec in source.inputs)
        raise capture_error(source.name, [invalid], invalid_input(shapes, source.provenance)) from invalid
    raise capture_error(source.name, failures, NOT_CAPTURED, chatter.getvalue()) from failures[0]


def _error_of_call(
    module: nn.Module, args: tuple[torch.Tensor, ...], kwargs: dict[str, torch.Tensor]
) -> Exception | None:
    """What the module itself raises on the example, where the fault is not with capturing it."""
    try:
        with torch.no_grad():
            module(*args, **kwargs)
    except CAPTURE_ERRORS as error:
        return error
    return None


def _call(
    module: nn.Module, inputs: tuple[TensorSpec, ...]
) -> tuple[tuple[torch.Tensor, ...], dict[str, torch.Tensor], Any]:
    """Arguments for ``forward`` and their dynamic axes: by position, or by name where some are skipped."""
    batch = Dim("batch")
    names = [spec.name for spec in inputs]
    axes = [{axis: batch for axis, d in enumerate(spec.shape) if d == "N"} for spec in inputs]
    examples = example_inputs(inputs)
    parameters = parameters_of(module)
    if len(names) > 1 and parameters and list(parameters[: len(names)]) != names:
        return (), dict(zip(names, examples, strict=True)), dict(zip(names, axes, strict=True))
    kinds = [p.kind for p in inspect.signature(module.forward).parameters.values()]
    if inspect.Parameter.VAR_POSITIONAL in kinds:  # torch wants the axes of *args as one tuple
        named = kinds.index(inspect.Parameter.VAR_POSITIONAL)
        return examples, {}, (*axes[:named], *([tuple(axes[named:])] if axes[named:] else ()))
    return examples, {}, tuple(axes)


def _translate(program: ExportedProgram, name: str, chatter: io.StringIO) -> Any:
    try:
        translated = torch.onnx.export(
            rewrite_program(program), (), dynamo=True, opset_version=OPSET, optimize=False, verbose=False
        )
    except CAPTURE_ERRORS as error:
        raise capture_error(name, [error], NOT_TRANSLATED, chatter.getvalue()) from error
    if translated is None or translated.exported_program is None:
        raise CaptureError(f"{name}: torch.onnx.export returned nothing")
    restore_weight_names(program, translated.exported_program, translated.model)
    return translated
