from collections.abc import Callable

import numpy as np
import onnx_ir as ir
import pytest
import torch
from torch import nn

from cnntk.exporters.checks._static import check_finite_weights, check_nothing_random
from cnntk.exporters.source import Source
from cnntk.runtime.errors import ExportCheckError

HEADER = '<ir_version: 10, opset_import: ["" : 18]> g (float[N, 4] x) => (float[N, 4] y)'


def graph(body: str) -> ir.Model:
    return ir.from_onnx_text(f"{HEADER} {body}")


SOUND = {
    "plain": "{ y = Relu (x) }",
    "dropout off": "{ y = Dropout (x) }",
    "dropout explicitly off": "<float r = {0.5}, bool t = {0}> { y = Dropout (x, r, t) }",
    "fixed": "<float[4] mask = {0, 2, 2, 0}> { y = Mul (x, mask) }",
}
RANDOM = {
    "RandomUniformLike": "{ r = RandomUniformLike (x) y = Mul (x, r) }",
    "RandomNormal": "{ r = RandomNormal <shape = [4]> () y = Add (x, r) }",
    "Bernoulli": "{ y = Bernoulli (x) }",
    "Dropout": "<float r = {0.5}, bool t = {1}> { y = Dropout (x, r, t) }",
}


@pytest.mark.parametrize("kind", SOUND)
def test_nothing_random(kind: str, candidate_of: Callable) -> None:
    assert "nodes" in check_nothing_random(candidate_of(model=graph(SOUND[kind]))).detail


@pytest.mark.parametrize("kind", RANDOM)
def test_each_random_node_is_named(kind: str, candidate_of: Callable) -> None:
    with pytest.raises(ExportCheckError, match=rf"{kind} .*also at inference; not a mask"):
        check_nothing_random(candidate_of(model=graph(RANDOM[kind]), skipped=("not a mask",)))


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_weights_that_are_not_finite_are_named(bad: float, candidate_of: Callable) -> None:
    model = graph("<float[4] mask = {0, 2, 2, 0}> { y = Mul (x, mask) }")
    candidate = candidate_of(model=model, source=Source("net", (), graph=model))
    assert check_finite_weights(candidate).detail == "4 numbers"
    values = np.array([0, 1, bad, 0], dtype=np.float32)
    model.graph.initializers["mask"].const_value = ir.tensor(values, name="mask")
    with pytest.raises(ExportCheckError, match=r"weight mask: .* at position 2"):
        check_finite_weights(candidate)


INFINITE = {
    "clip": ("float low = {0}, float high = {inf}", "y = Clip (x, low, high)"),
    "pad": ("int64[4] pads = {0, 1, 0, 1}, float low = {-inf}", "y = Pad (x, pads, low)"),
    "where": ("bool[4] b = {0, 1, 0, 1}, float low = {-inf}", "y = Where (b, x, low)"),
    "mask": ("float[4] m = {0, -inf, 0, 0}", "a = Add (x, m) y = Softmax (a)"),
    "mask behind a reshape": (
        "float[2, 2] m = {0, -inf, 0, 0}, int64[1] s = {4}",
        "r = Reshape (m, s) a = Add (x, r) y = Softmax (a)",
    ),
}
COMPUTED = {
    "factor": ("float[4] m = {0, inf, 0, 0}", "y = Mul (x, m)"),
    "bias": ("float[4] m = {0, -inf, 0, 0}", "y = Add (x, m)"),
    "mask that is a factor, too": (
        "float[4] m = {0, -inf, 0, 0}",
        "a = Add (x, m) s = Softmax (a) y = Mul (s, m)",
    ),
    "not a number": ("float low = {0}, float high = {nan}", "y = Clip (x, low, high)"),
}


def infinite(weights: str, body: str) -> ir.Model:
    """The text format has no infinity: large numbers stand for it."""
    numbers = weights.replace("-inf", "-3e38").replace("inf", "3e38").replace("nan", "2e38")
    model = graph(f"<{numbers}> {{ {body} }}")
    for name, value in model.graph.initializers.items():
        if value.dtype.is_floating_point():
            array = value.const_value.numpy()
            array = np.select(
                [array > 2.5e38, array < -2.5e38, array == np.float32(2e38)], [np.inf, -np.inf, np.nan], array
            ).astype(np.float32)
            value.const_value = ir.tensor(array, name=name)
    return model


@pytest.mark.parametrize("kind", INFINITE)
def test_infinite_constants_may_bound_mask_and_pad(kind: str, candidate_of: Callable) -> None:
    source = Source("net", (), graph=infinite(*INFINITE[kind]))
    assert "infinite bounds" in check_finite_weights(candidate_of(model=source.graph, source=source)).detail


@pytest.mark.parametrize("kind", COMPUTED)
def test_other_constants_are_finite(kind: str, candidate_of: Callable) -> None:
    source = Source("net", (), graph=infinite(*COMPUTED[kind]))
    with pytest.raises(ExportCheckError, match="expected finite values"):
        check_finite_weights(candidate_of(model=source.graph, source=source))


def test_a_parameter_is_no_mask(candidate_of: Callable) -> None:
    class Masked(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.m = nn.Parameter(torch.tensor([0, -torch.inf, 0, 0]))

    candidate = candidate_of(model=infinite(*INFINITE["mask"]), source=Source("net", (), Masked()))
    with pytest.raises(ExportCheckError, match="weight m: -inf at position 1"):
        check_finite_weights(candidate)
