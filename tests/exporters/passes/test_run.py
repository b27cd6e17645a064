from dataclasses import dataclass, field

import numpy as np
import onnx_ir as ir
import pytest
import torch

from cnntk.exporters.passes import PASSES, Rewrites, run_passes
from cnntk.exporters.passes._dropout import RemoveDropout
from cnntk.exporters.passes._expectation import check_expectation
from cnntk.exporters.passes._identities import RemoveIdentities
from cnntk.exporters.passes.graph import replace_node

NET = "g (float[N,4] x) => (float[N,3] y) { i = Identity(x)  h = MatMul(i, w)  r = Relu(h)  y = Add(r, b) }"
WEIGHTS = {
    "w": np.random.default_rng(0).standard_normal((4, 3)).astype(np.float32),
    "b": np.array([1, 2, 3], np.float32),
}
INPUTS = [{"x": np.random.default_rng(1).standard_normal((n, 4)).astype(np.float32)} for n in (1, 5)]


@dataclass
class Sabotage:
    """Multiplies a weight, or puts another operator in a node's place."""

    factor: float = 1.0
    operator: str | None = None
    name: str = "sabotage"
    reason: str = "a control"
    rewrites: Rewrites = field(default_factory=lambda: Rewrites(applied=("nothing but harm",)))

    def __call__(self, model: ir.Model) -> Rewrites:
        if self.operator is not None:
            relu = next(n for n in model.graph if n.op_type == "Relu")
            replace_node(relu.outputs[0], self.operator, relu.inputs)
            model.graph.remove(relu)
            return self.rewrites
        weight = model.graph.initializers["w"]
        weight.const_value = ir.tensor(weight.const_value.numpy() * np.float32(self.factor), name="w")
        return self.rewrites


@pytest.mark.parametrize("factor", [1.001, -1, np.nan, np.inf], ids=["0.1 %", "sign", "nan", "infinite"])
def test_a_wrong_rewrite_is_rolled_back_alone(written, factor) -> None:
    model = written(NET, **WEIGHTS)
    rewritten, (wrong, right) = run_passes(model, INPUTS, (Sabotage(factor), RemoveIdentities()))
    assert wrong.status == "rolled back"
    assert wrong.rollback_reason.startswith(("y: max rel difference", "y: elements that were finite"))
    assert right.status == "applied"
    assert [n.op_type for n in rewritten.graph] == ["MatMul", "Relu", "Add"]
    np.testing.assert_array_equal(rewritten.graph.initializers["w"].const_value.numpy(), WEIGHTS["w"])


def test_a_rewrite_that_does_not_run_is_rolled_back(written) -> None:
    _, (record,) = run_passes(written(NET, **WEIGHTS), INPUTS, (Sabotage(operator="NoSuchOperator"),))
    assert record.status == "rolled back"
    assert "does not run" in record.rollback_reason


def test_rounding_is_let_through(written) -> None:
    _, (record,) = run_passes(written(NET, **WEIGHTS), INPUTS, (Sabotage(1 + 2**-22),))
    assert record.status == "applied"
    assert 0 < record.max_rel_diff < 1e-6


def test_an_unreported_change_is_not_applied(written) -> None:
    rewritten, (record,) = run_passes(written(NET, **WEIGHTS), INPUTS, (Sabotage(2.0, rewrites=Rewrites()),))
    assert record.status == "nothing to do"
    np.testing.assert_array_equal(rewritten.graph.initializers["w"].const_value.numpy(), WEIGHTS["w"])


def test_a_pass_that_raises_is_a_bug(written) -> None:
    with pytest.raises(KeyError, match="w"):
        run_passes(written("g (float[N,4] x) => (float[N,4] y) { y = Neg(x) }"), INPUTS, (Sabotage(),))


def test_answers_that_were_never_finite_prove_nothing(written) -> None:
    model = written("g (float[N,4] x) => (float[N,4] y) { r = Relu(x)  s = Sub(r, r)  y = Div(s, s) }")
    _, (record,) = run_passes(model, INPUTS, (Sabotage(operator="Abs"),))
    assert "no element was finite before" in record.rollback_reason


def test_the_model_that_came_is_left_as_it_was_and_weights_are_shared(written) -> None:
    model = written(NET, **WEIGHTS)
    before = [n.op_type for n in model.graph]
    rewritten, _ = run_passes(model, INPUTS, PASSES)
    assert [n.op_type for n in model.graph] == before
    assert rewritten.graph.initializers["w"].const_value is model.graph.initializers["w"].const_value


def test_notes_of_torch_are_left_on_the_working_model(function) -> None:
    model = function(torch.relu)
    rewritten, _ = run_passes(model, [{"input": np.ones((2, 6), np.float32)}])
    for each in (model, rewritten):
        assert all(
            "pkg.torch.onnx.stack_trace" in n.metadata_props for n in each.graph if n.op_type == "Relu"
        )


def test_inputs_are_needed(written) -> None:
    with pytest.raises(ValueError, match="at least one set of inputs"):
        run_passes(written(NET, **WEIGHTS), [])


def test_a_random_graph_can_not_be_compared(function) -> None:
    model = function(lambda x: x.view(x.shape) + torch.rand_like(x))
    _, records = run_passes(model, [{"input": np.ones((2, 6), np.float32)}])
    acted = [r for r in records if r.status == "rolled back"]
    assert acted
    assert all("random" in r.rollback_reason for r in acted)


@dataclass
class WrongStandIn:
    """Says of any mask that its input stands for it."""

    name: str = "wrong stand-in"
    reason: str = "a control"

    def __call__(self, model: ir.Model) -> Rewrites:
        return Rewrites(applied=("x",), substitutions={model.graph.outputs[0].name: "linear"})


WRONG = {
    "no scale": lambda x: x * (torch.rand_like(x) > 0.25),
    "scale of another p": lambda x: x * (torch.rand_like(x) > 0.25) / 0.7,
    "one channel": lambda x: x * (torch.rand_like(x) > 0.25) / torch.tensor([0.5, *[0.75] * 5]),
    "nan": lambda x: x * (torch.rand_like(x) > 0.25) * float("nan"),
}


@pytest.mark.parametrize("index", range(len(WRONG)), ids=WRONG.keys())
def test_a_mask_whose_mean_is_not_its_input_fails(member, index) -> None:
    inputs = [{"input": np.random.default_rng(0).standard_normal((64, 6)).astype(np.float32)}]
    rewritten, (record,) = run_passes(member(WRONG.values(), index), inputs, (WrongStandIn(),))
    assert record.status == "rolled back"
    assert "expected 1 within" in record.rollback_reason
    assert any(n.op_type == "RandomUniformLike" for n in rewritten.graph)


def test_the_mean_of_dropout_is_its_input(function) -> None:
    model = function(lambda x: x * (torch.rand_like(x) > 0.25) / 0.75)
    inputs = {"input": np.random.default_rng(0).standard_normal((64, 6)).astype(np.float32)}
    (bias,) = check_expectation(model, inputs, RemoveDropout()(model.clone()).substitutions)
    assert bias.holds
    assert bias.ratio == pytest.approx(1, abs=10 * bias.error)
    assert bias.error < 0.01
