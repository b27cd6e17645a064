"""torch module to graph: ``torch.export`` and torch's own ONNX translation, as an ``onnx_ir`` model."""

from __future__ import annotations

import contextlib
import logging
import warnings
from collections.abc import Iterator
from dataclasses import dataclass

import onnx_ir as ir
import torch

from cnntk.exporters.source import Source
from cnntk.runtime.errors import CaptureError
from cnntk.runtime.spec import TensorSpec

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
        program: decomposed; None for somebody's ONNX model.
    """

    model: ir.Model
    program: torch.export.ExportedProgram | None


def capture(source: Source) -> Captured:
    """The graph of a source in evaluation mode, for a batch of any size.

    Raises:
        CaptureError: torch can't capture the network or translate one of its operators.
    """
    if source.graph is not None:
        return Captured(source.graph, None)
    examples = example_inputs(source.inputs)
    try:
        with _quiet():
            program = source.program or _program(source, examples)
            exported = torch.onnx.export(
                program,
                examples,
                dynamo=True,
                input_names=[spec.name for spec in source.inputs],
                opset_version=OPSET,
                optimize=False,
                verbose=False,
            )
    except (torch.onnx.OnnxExporterError, torch._dynamo.exc.UserError, RuntimeError, TypeError) as error:
        raise CaptureError(f"{source.name}: torch can't export it: {_reason(error)}") from error
    if exported is None:
        raise CaptureError(f"{source.name}: torch exported nothing")
    model: ir.Model = exported.model
    model.ir_version = IR_VERSION
    return Captured(model, exported.exported_program)


def example_inputs(inputs: tuple[TensorSpec, ...]) -> tuple[torch.Tensor, ...]:
    """Zeros of each input's type and shape, as a batch of 2, because torch specialises on 1."""
    return tuple(
        torch.zeros([d if isinstance(d, int) else 2 for d in spec.shape], dtype=getattr(torch, spec.dtype))
        for spec in inputs
    )


def _program(source: Source, examples: tuple[torch.Tensor, ...]) -> torch.export.ExportedProgram:
    batch = torch.export.Dim("N")
    shapes = tuple({i: batch for i, d in enumerate(spec.shape) if d == "N"} for spec in source.inputs)
    if source.module is None:
        raise CaptureError(f"{source.name}: holds nothing to capture")
    return torch.export.export(source.module, examples, dynamic_shapes=shapes)


def _reason(error: BaseException) -> str:
    """The innermost cause, on one line: torch wraps what went wrong in pages of advice."""
    while error.__cause__ is not None:
        error = error.__cause__
    return " ".join(str(error).split())[:400]


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """torch warns of its own deprecations and of a missing torchvision, neither of which users can act on."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)
