"""torch module to graph: ``torch.export`` and torch's own ONNX translation, as an ``onnx_ir`` model."""

from __future__ import annotations

import contextlib
import logging
import warnings
from collections.abc import Iterator

import onnx_ir as ir
import torch
from torch import nn

from cnntk.runtime.errors import CaptureError

__all__ = ["IR_VERSION", "OPSET", "capture"]

OPSET = 18
IR_VERSION = 10
"""They load in every runtime that was tried (onnxruntime, its web and node builds, OpenVINO)."""


def capture(module: nn.Module, input_shape: tuple[int, int, int], input_name: str) -> ir.Model:
    """The graph of ``module`` in evaluation mode, for a batch of any size.

    Args:
        module: takes one float32 (N, C, H, W) tensor.
        input_shape: (C, H, W).
        input_name: what the graph's input is to be called.

    Raises:
        CaptureError: torch can't capture the module or translate one of its operators.
    """
    # Batch 2, because torch specialises on 1.
    example = torch.zeros(2, *input_shape)
    batch = torch.export.Dim("N")
    try:
        with _quiet():
            program = torch.onnx.export(
                module,
                (example,),
                dynamo=True,
                dynamic_shapes=({0: batch},),
                input_names=[input_name],
                opset_version=OPSET,
                verbose=False,
            )
    except (torch.onnx.OnnxExporterError, torch._dynamo.exc.UserError, RuntimeError, TypeError) as error:
        raise CaptureError(f"{type(module).__name__}: torch can't export it: {_reason(error)}") from error
    if program is None:
        raise CaptureError(f"{type(module).__name__}: torch exported nothing")
    model: ir.Model = program.model
    model.ir_version = IR_VERSION
    return model


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
