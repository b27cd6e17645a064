from collections.abc import Callable

import numpy as np
import onnx_ir as ir
import pytest

from cnntk.exporters.checks._static import check_finite_weights, check_nothing_random
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
    candidate = candidate_of(model=model)
    assert check_finite_weights(candidate).detail == "4 numbers"
    values = np.array([0, 1, bad, 0], dtype=np.float32)
    model.graph.initializers["mask"].const_value = ir.tensor(values, name="mask")
    with pytest.raises(ExportCheckError, match=r"weight mask: .* at position 2"):
        check_finite_weights(candidate)
