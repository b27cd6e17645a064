"""Constant folding, identities, dead code and common subexpressions."""

import numpy as np
import pytest
from torch import nn
from torch.nn.utils.parametrizations import weight_norm

from cnntk.exporters.passes.constants import FoldConstants
from cnntk.exporters.passes.dead_code import RemoveDeadCode
from cnntk.exporters.passes.graph import random_nodes
from cnntk.exporters.passes.identities import RemoveIdentities
from cnntk.exporters.passes.subexpressions import MergeSubexpressions

RNG = np.random.default_rng(0)


def normal(*shape: int) -> np.ndarray:
    return RNG.standard_normal(shape).astype(np.float32)


def test_weight_norm_becomes_one_weight(captured, apply, operators) -> None:
    model = captured(lambda: nn.Sequential(weight_norm(nn.Conv2d(3, 40, 3)), nn.Flatten()), 3, 6, 6)
    rewritten, record = apply(model, FoldConstants())
    assert operators(rewritten) == ["Conv", "Reshape"]
    assert any("folded" in line for line in record.rewrites.done)
    assert rewritten.graph.node(1).inputs[1].const_value.numpy().tolist() == [-1, 640]


def test_what_grows_stays(written, apply, operators) -> None:
    text = "g (float[2000,2000] x) => (float[2000,2000] y) { o = Mul(a, b)  y = Add(x, o) }"
    model = written(text, a=normal(2000, 1), b=normal(1, 2000))
    from onnx_ir.passes.common import ShapeInferencePass

    ShapeInferencePass()(model)
    rewritten, record = apply(model, FoldConstants())
    assert operators(rewritten) == ["Mul", "Add"]
    assert "4000000 numbers made from 4000: not stored" in record.rewrites.declined[0]


@pytest.mark.parametrize("node", ["RandomUniform<shape = [4]>()", "Bernoulli(w)", "RandomNormalLike(w)"])
def test_random_nodes_are_neither_folded_nor_merged(node, written) -> None:
    model = written(
        f"g (float[N,4] x) => (float[N,4] y) {{ a = {node}  b = {node}  c = Add(a, b)  d = Add(w, c)  y = Add(x, d) }}",
        w=np.full(4, 0.5, np.float32),
    )
    for each in (FoldConstants(), MergeSubexpressions()):
        each(model)
        assert len(random_nodes(model)) == 2


IDENTITIES = [
    "Identity(x)", "Add(x, zero)", "Sub(x, zero)", "Mul(one, x)", "Div(x, one)", "Pow(x, one)",
    "Cast<to = 1>(x)", "Transpose<perm = [0, 1]>(x)", "Slice(x, start, end, start)", "Concat<axis = 0>(x)",
    "Flatten(x)",
]  # fmt: skip
CONSTANTS = {
    "zero": np.array(0, np.float32),
    "one": np.array([1], np.float32),
    "start": np.array([0], np.int64),
    "end": np.array([2**63 - 1], np.int64),
}


@pytest.mark.parametrize("node", IDENTITIES)
def test_what_changes_nothing_goes(node, written, apply, operators) -> None:
    used = {k: v for k, v in CONSTANTS.items() if k in node}
    model = written(f"g (float[N,4] x) => (float[N,4] y) {{ i = {node}  y = Neg(i) }}", **used)
    from onnx_ir.passes.common import ShapeInferencePass

    ShapeInferencePass()(model)
    rewritten, _ = apply(model, RemoveIdentities())
    assert operators(rewritten) == ["Neg"]


def test_what_widens_is_no_identity(written, apply) -> None:
    model = written(
        "g (float[N,1] x) => (float[N,4] y) { i = Add(x, z)  y = Neg(i) }", z=np.zeros(4, np.float32)
    )
    assert apply(model, RemoveIdentities())[1].status == "nothing to do"


def test_an_input_can_not_be_answered_directly(written, apply, operators) -> None:
    model = written("g (float[N,4] x) => (float[N,4] y) { y = Identity(x) }")
    rewritten, record = apply(model, RemoveIdentities())
    assert operators(rewritten) == ["Identity"]
    assert "answers its own input" in record.rewrites.declined[0]


def test_an_answer_keeps_its_name(written, apply) -> None:
    rewritten, _ = apply(
        written("g (float[N,4] x) => (float[N,4] y) { r = Relu(x)  y = Identity(r) }"), RemoveIdentities()
    )
    assert rewritten.graph.node(0).outputs[0].name == "y"


def test_equal_expressions_are_computed_once(written, apply, operators) -> None:
    text = "g (float[N,4] x) => (float[N,4] y) { a = Mul(x, c)  b = Mul(x, d)  e = Exp(a)  f = Exp(b)  y = Add(e, f) }"
    two = np.array([2], np.float32)
    rewritten, record = apply(written(text, c=two, d=two.copy()), MergeSubexpressions())
    assert operators(rewritten) == ["Mul", "Exp", "Add"]
    assert len(record.rewrites.done) == 2


def test_other_attributes_are_another_expression(written, apply) -> None:
    text = "g (float[N,4] x) => (float[N,4] y) { a = Elu<alpha = 1.0>(x)  b = Elu<alpha = 2.0>(x)  y = Add(a, b) }"
    assert apply(written(text), MergeSubexpressions())[1].status == "nothing to do"


def test_dead_code_goes_and_is_named(written, apply, operators) -> None:
    text = "g (float[N,4] x) => (float[N,4] y) { a = Mul(x, c)  b = Exp(a)  y = Neg(x) }"
    rewritten, record = apply(written(text, c=normal(4)), RemoveDeadCode())
    assert operators(rewritten) == ["Neg"]
    assert set(record.rewrites.done) == {
        "Mul a: nothing depends on it, removed",
        "Exp b: nothing depends on it, removed",
        "weight c of 4 numbers: nothing reads it, removed",
    }
