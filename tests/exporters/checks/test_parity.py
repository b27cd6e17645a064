from collections.abc import Callable

import numpy as np
import pytest
from torch import nn

from cnntk.exporters.checks._inputs import KINDS, CheckInputs, OutputCache
from cnntk.exporters.checks._parity import Parity, compare_outputs
from cnntk.exporters.checks.reference import Outputs, ProgramReference, reference_outputs
from cnntk.exporters.session import GraphSession
from cnntk.runtime.errors import ParityError
from cnntk.runtime.output_values import softmax

EPS = float(np.finfo(np.float32).eps)


@pytest.fixture
def expected(small_cnn: nn.Module, captured: Callable, inputs: CheckInputs) -> Outputs:
    program = captured(small_cnn).program
    (output,) = [n for n in program.graph_module.graph.nodes if n.op == "output"]
    return reference_outputs(ProgramReference(program, {"logits": output.args[0][0].name}), inputs, EPS)


@pytest.fixture
def run(small_cnn: nn.Module, captured: Callable) -> Callable:
    model = captured(small_cnn).model
    session = GraphSession(model, optimize=True)
    name = model.graph.outputs[0].name
    return lambda inputs: {"logits": session.run(inputs)[name]}


def changed(run: Callable, change: Callable) -> Callable:
    return lambda inputs: {k: change(v) for k, v in run(inputs).items()}


def test_a_faithful_export_holds(run: Callable, expected: Outputs) -> None:
    parities = compare_outputs(OutputCache(run, expected.inputs), expected, lambda: "")
    assert {p.kind for p in parities} == set(KINDS)
    for p in parities:
        assert p.holds
        assert p.batches == (1, 2, 3, 8)
        assert p.onnx_error < 1e-5 * p.scale


@pytest.mark.parametrize(
    "change",
    [
        lambda y: y * (1 + 1e-4),
        lambda y: y + 1e-3,
        lambda y: y[:, ::-1],
        lambda y: np.where(np.arange(5) == 4, np.nan, y),
        lambda y: np.where(y == y.max(), np.inf, y),
        lambda y: np.zeros_like(y),
    ],
    ids=["scaled", "shifted", "swapped", "nan", "inf", "zero"],
)
def test_any_other_answer_fails(run: Callable, expected: Outputs, change: Callable) -> None:
    with pytest.raises(ParityError, match=r"differs from float64 by .*; first at Gemm. Nothing was written"):
        compare_outputs(
            OutputCache(changed(run, change), expected.inputs), expected, lambda: "; first at Gemm"
        )


def test_another_shape_fails(run: Callable, expected: Outputs) -> None:
    with pytest.raises(ParityError, match=r"shape \[1, 4\] at batch 1, but torch returns \[1, 5\]"):
        compare_outputs(OutputCache(changed(run, lambda y: y[:, :4]), expected.inputs), expected, lambda: "")


def test_one_image_of_a_large_batch_is_enough(run: Callable, expected: Outputs) -> None:
    def wrong_in_the_last(y: np.ndarray) -> np.ndarray:
        return np.where(np.arange(len(y))[:, None] == 7, y + 1, y)

    with pytest.raises(ParityError, match="on noise"):
        compare_outputs(OutputCache(changed(run, wrong_in_the_last), expected.inputs), expected, lambda: "")


def test_probabilities_are_compared_with_the_softmax_of_the_logits(run: Callable, expected: Outputs) -> None:
    def with_head(inputs: dict) -> dict:
        logits = run(inputs)["logits"]
        return {"logits": logits, "probabilities": softmax(logits).astype(np.float32)}

    outputs = {
        p.output for p in compare_outputs(OutputCache(with_head, expected.inputs), expected, lambda: "")
    }
    assert outputs == {"logits", "probabilities"}

    def with_wrong_head(inputs: dict) -> dict:
        logits = run(inputs)["logits"]
        return {"logits": logits, "probabilities": softmax(logits * 1.01).astype(np.float32)}

    with pytest.raises(ParityError, match="probabilities"):
        compare_outputs(OutputCache(with_wrong_head, expected.inputs), expected, lambda: "")


def test_nan_holds_nowhere() -> None:
    assert not Parity("y", "noise", (1,), 1.0, 0.0, float("nan"), 1.0, 1.0).holds
    assert not Parity("y", "noise", (1,), 1.0, 0.0, 0.0, float("nan"), 1.0).holds
    assert Parity("y", "noise", (1,), 1.0, 0.0, 0.0, 0.0, 0.0).holds


def test_bounds_follow_the_scale_of_each_image(expected: Outputs) -> None:
    """The extremes answer 1e4 times as much, and may be as much further off; noise may not."""
    bounds = dict(zip(expected.inputs.kinds, expected.bounds["logits"], strict=True))
    assert bounds["extremes"] > 100 * bounds["noise"]
    assert bounds["noise"] < 1e-4 * np.abs(expected.float64["logits"][0]).max()
