from collections.abc import Callable

import onnx_ir as ir
import pytest

from cnntk.exporters.checks._head import check_head, stress_logits, sum_tolerance
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
    candidate = candidate_of(model=model(HEADS[kind]), softmax_of_logits=True)
    assert "same argmax" in check_head(candidate).detail


@pytest.mark.parametrize("kind", UNSTABLE)
def test_any_other_fails(kind: str, candidate_of: Callable) -> None:
    with pytest.raises(ExportCheckError, match="use a stable softmax"):
        check_head(candidate_of(model=model(UNSTABLE[kind]), softmax_of_logits=True))


def test_sums_over_many_classes_are_rounded_more_often() -> None:
    assert sum_tolerance(10) == 1e-6
    assert 5e-6 < sum_tolerance(5000) < 1e-5


LOGARITHMS = {
    "sound": ("m = Max (probabilities, tiny) logits = Log (m)", None),
    "infinite at 0": ("m = Identity (probabilities) logits = Log (m)", "not finite"),
    "of another base": ("m = Max (probabilities, tiny) n = Log (m) logits = Mul (n, two)", "differ"),
}


@pytest.mark.parametrize(("head", "problem"), LOGARITHMS.values(), ids=LOGARITHMS.keys())
def test_logits_are_the_logarithm_of_a_distribution(
    head: str, problem: str | None, candidate_of: Callable
) -> None:
    graph = ir.from_onnx_text(
        '<ir_version: 10, opset_import: ["" : 18]> '
        "g (float[N, 4] x) => (float[N, 4] logits, float[N, 4] probabilities) "
        "<float tiny = {1.1754944e-38}, float two = {2}> "
        f"{{ probabilities = Softmax <axis = 1> (x) {head} }}"
    )
    logits = graph.graph.outputs[0].producer()
    logits.name, logits.op_type = "head/log", "Log" if problem is None else logits.op_type
    if problem is None:
        assert "logarithm of the distribution" in check_head(candidate_of(model=graph)).detail
    elif logits.op_type == "Log":
        with pytest.raises(ExportCheckError, match=problem):
            check_head(candidate_of(model=graph))


def test_outputs_of_the_network_itself_have_no_head(candidate_of: Callable) -> None:
    assert check_head(candidate_of(model=model(HEADS["stable"]))) is None


def test_the_stress_reaches_both_ends() -> None:
    logits = stress_logits(10)
    assert logits.shape == (7, 10)
    assert (logits.min(), logits.max()) == (-1e4, 1e4 + 1)
