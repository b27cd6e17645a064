"""Folds batch normalization into the linear layer next to it.

At inference BatchNorm is a scale and a shift per channel, with the statistics of training::

    y = gamma * (x - mean) / sqrt(var + eps) + beta  =  s * x + t
    s = gamma / sqrt(var + eps),   t = beta - s * mean

``linear.py`` moves that into a Conv, ConvTranspose, Gemm or MatMul before or after it. It is computed in
float64 and rounded once. (The order of the checks follows onnxscript's ``_fuse_batchnorm.py``.)
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from cnntk.exporters.passes._linear import LINEAR, Affine
from cnntk.exporters.passes.affine import AffineInput, fold
from cnntk.exporters.passes.graph import constant, label, only_user, producer_of
from cnntk.exporters.passes.infra import Rewrites
from cnntk.exporters.passes.origins import Origin, origin_of


class FoldBatchNorm:
    """Moves batch normalization into linear layers."""

    name = "batch norm into linear layers"
    reason = "at inference it is a scale and a shift, which the layer's weights can apply without extra cost"

    def __call__(self, model: ir.Model) -> Rewrites:
        applied: list[str] = []
        skipped: list[str] = []
        for node in [n for n in model.graph if n.op_type == "BatchNormalization" and not n.domain]:
            if node.attributes.get_int("training_mode", 0):
                skipped.append(f"{label(node)}: in training mode, which uses the statistics of the batch")
            elif _read(node) is None:
                skipped.append(f"{label(node)}: its parameters are not constant")
            else:
                lines = len(applied) + len(skipped)
                fold(model, node, _of_channels, applied, skipped)
                if len(applied) + len(skipped) == lines:
                    skipped.append(f"{label(node)}: {_obstacle(node)}")
        return Rewrites(tuple(applied), tuple(skipped))


def _obstacle(node: ir.Node) -> str:
    """Why no layer next to a batch norm can take it over, though its own parameters are constant."""
    layer = producer_of(node.inputs[0], *LINEAR) or only_user(node.outputs[0])
    if layer is None or layer.op_type not in LINEAR:
        return "no linear layer next to it"
    computed = next((v for v in layer.inputs[1:] if v is not None and constant(v) is None), None)
    return f"not into {label(layer)}" + (f": its {computed.name} is not constant" if computed else "")


def _of_channels(node: ir.Node, axis: int, channels: int) -> AffineInput | None:
    affine, source = _read(node), node.inputs[0]
    if affine is None or source is None or affine.scale.size != channels:
        return None
    rows = source.shape is not None and len(source.shape) == 2
    return (source, affine) if axis == 1 or rows else None


def _read(node: ir.Node) -> Affine | None:
    arrays = [constant(v) for v in node.inputs[1:5]]
    parameters = [a.astype(np.float64) for a in arrays if a is not None]
    if len(parameters) != 4:
        return None
    gamma, beta, mean, variance = parameters
    epsilon = node.attributes.get_float("epsilon", 1e-5)
    inputs = tuple(origin_of(v) for v in node.inputs[1:5])
    origin = Origin("batch norm", inputs=inputs, attributes={"epsilon": epsilon})
    with np.errstate(divide="ignore", invalid="ignore"):
        scale = gamma / np.sqrt(variance + epsilon)
        return Affine(scale, beta - scale * mean, origin)
