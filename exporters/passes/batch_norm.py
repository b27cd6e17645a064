"""BatchNorm into the linear layer next to it.

At inference BatchNorm is a scale and a shift a channel, with the statistics of training::

    y = gamma * (x - mean) / sqrt(var + eps) + beta  =  s * x + t
    s = gamma / sqrt(var + eps),   t = beta - s * mean

`linear.py` moves that into a Conv, ConvTranspose, Gemm or MatMul in front of it, or behind it. It is
computed in float64 and rounded once. (The order of checks is after onnxscript's ``_fuse_batchnorm.py``.)
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from cnntk.exporters.passes.affine import Found, fold
from cnntk.exporters.passes.graph import constant, label
from cnntk.exporters.passes.infra import Rewrites
from cnntk.exporters.passes.linear import Affine

__all__ = ["FoldBatchNorm"]


class FoldBatchNorm:
    """Moves batch normalization into linear layers."""

    name = "batch norm into linear layers"
    reason = "at inference it is a scale and a shift, which the layer's weights can do at no cost"

    def __call__(self, model: ir.Model) -> Rewrites:
        done: list[str] = []
        declined: list[str] = []
        for node in [n for n in model.graph if n.op_type == "BatchNormalization" and not n.domain]:
            if node.attributes.get_int("training_mode", 0):
                declined.append(f"{label(node)}: in training mode: it uses the batch's own statistics")
            elif _read(node) is None:
                declined.append(f"{label(node)}: its parameters are no constants")
            else:
                fold(model, node, _of_channels, done, declined)
        return Rewrites(tuple(done), tuple(declined))


def _of_channels(node: ir.Node, axis: int, channels: int) -> Found | None:
    affine, given = _read(node), node.inputs[0]
    if affine is None or given is None or affine.scale.size != channels:
        return None
    rows = given.shape is not None and len(given.shape) == 2
    return (given, affine) if axis == 1 or rows else None


def _read(node: ir.Node) -> Affine | None:
    arrays = [constant(v) for v in node.inputs[1:5]]
    known = [a.astype(np.float64) for a in arrays if a is not None]
    if len(known) != 4:
        return None
    gamma, beta, mean, variance = known
    with np.errstate(divide="ignore", invalid="ignore"):
        scale = gamma / np.sqrt(variance + node.attributes.get_float("epsilon", 1e-5))
        return Affine(scale, beta - scale * mean)
