"""ONNX operators by what they do to a shape."""

from __future__ import annotations

__all__ = ["BROADCASTING", "REDUCTIONS", "SAME_SHAPE"]

_SAME_SHAPE = """
    Abs Acos Asin Atan BatchNormalization Cast CastLike Ceil Celu Clip Cos CumSum DequantizeLinear Dropout Elu
    Erf Exp Floor Gelu GroupNormalization HardSigmoid HardSwish Hardmax Identity InstanceNormalization IsInf
    IsNaN LRN LayerNormalization LeakyRelu Log LogSoftmax LpNormalization MeanVarianceNormalization Mish Neg
    Not QuantizeLinear RMSNormalization Reciprocal Relu Round Selu Shrink Sigmoid Sign Sin Softmax Softplus
    Softsign Sqrt Swish Tan Tanh ThresholdedRelu
"""
_BROADCASTING = """
    Add And Div Equal Greater GreaterOrEqual Less LessOrEqual Max Mean Min Mod Mul Or PRelu Pow Sub Sum Where
    Xor
"""
_REDUCTIONS = """
    ReduceL1 ReduceL2 ReduceLogSum ReduceLogSumExp ReduceMax ReduceMean ReduceMin ReduceProd ReduceSum
    ReduceSumSquare
"""

SAME_SHAPE = frozenset(_SAME_SHAPE.split())
"""The output is of the first input's shape."""

BROADCASTING = frozenset(_BROADCASTING.split())
"""The inputs' shapes are matched from behind; 1 stands for any size."""

REDUCTIONS = frozenset(_REDUCTIONS.split())
"""Axes become 1, or go."""
