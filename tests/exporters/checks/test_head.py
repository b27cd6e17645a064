from collections.abc import Callable

import onnx_ir as ir
import pytest

from cnntk.exporters.checks._head import check_head, stress_logits
from cnntk.runtime.errors import ExportCheckError

HEADS = {
    "stable": "probabilities = Softmax <axis = -1> (logits)",
    "cast": "c = Cast <to = 1> (logits) probabilities = Softmax <axis = 1> (c)",
}
UNSTABLE = {
    "naive": "e = Exp (logits) s = ReduceSum <keepdims = 1> (e, axis) probabilities = Div (e, s)",
    "unnormalized": "probabilities = Sigmoid (logits)",
    "over the batch": "probabilities = Softmax <axis = 0> (logits)",
    "inverted": "n = Neg (logits) probabilities = Softmax <axis = -1> (n)",
}


def model(head: str) -> ir.Model:
    return ir.from_onnx_text(
        '<ir_version: 10, opset_import: ["" : 18]> '
        "g (float[N, 4] x) => (float[N, 4] logits, float[N, 4] probabilities) <int64[1] axis = {1}> "
        f"{{ logits = Identity (x) {head} }}"
    )


@pytest.mark.parametrize("kind", HEADS)
def test_a_stable_softmax_passes(kind: str, candidate_of: Callable) -> None:
    assert "same argmax" in check_head(candidate_of(model=model(HEADS[kind]))).detail


@pytest.mark.parametrize("kind", UNSTABLE)
def test_any_other_fails(kind: str, candidate_of: Callable) -> None:
    with pytest.raises(ExportCheckError, match="use a stable softmax"):
        check_head(candidate_of(model=model(UNSTABLE[kind])))


def test_the_stress_reaches_both_ends() -> None:
    logits = stress_logits(10)
    assert logits.shape == (7, 10)
    assert (logits.min(), logits.max()) == (-1e4, 1e4 + 1)
