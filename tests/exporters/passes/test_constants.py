import numpy as np
import pytest
from torch import nn
from torch.nn.utils.parametrizations import weight_norm

from cnntk.exporters.passes._constants import FoldConstants
from cnntk.exporters.passes._subexpressions import MergeSubexpressions
from cnntk.exporters.passes.graph import random_nodes

RNG = np.random.default_rng(0)


def normal(*shape: int) -> np.ndarray:
    return RNG.standard_normal(shape).astype(np.float32)


def test_weight_norm_becomes_one_weight(captured, apply, operators) -> None:
    model = captured(lambda: nn.Sequential(weight_norm(nn.Conv2d(3, 40, 3)), nn.Flatten()), 3, 6, 6)
    rewritten, record = apply(model, FoldConstants())
    assert operators(rewritten) == ["Conv", "Reshape"]
    assert any("folded" in line for line in record.rewrites.applied)
    assert rewritten.graph.node(1).inputs[1].const_value.numpy().tolist() == [-1, 640]


def test_what_grows_stays(written, apply, operators) -> None:
    text = "g (float[2000,2000] x) => (float[2000,2000] y) { o = Mul(a, b)  y = Add(x, o) }"
    model = written(text, a=normal(2000, 1), b=normal(1, 2000))
    rewritten, record = apply(model, FoldConstants())
    assert operators(rewritten) == ["Mul", "Add"]
    assert "not stored: 4000000 elements from 4000 elements of weights" in record.rewrites.skipped[0]


def test_weights_in_integers_stay_in_integers(written, apply, operators) -> None:
    text = "g (float[N,40] x) => (float[N,50] y) { d = DequantizeLinear(w, s)  y = MatMul(x, d) }"
    model = written(text, w=np.ones((40, 50), np.int8), s=np.float32(0.5))
    rewritten, _ = apply(model, FoldConstants())
    assert operators(rewritten) == ["DequantizeLinear", "MatMul"]


@pytest.mark.parametrize("node", ["RandomUniform<shape = [4]>()", "Bernoulli(w)", "RandomNormalLike(w)"])
def test_random_nodes_are_neither_folded_nor_merged(node, written) -> None:
    model = written(
        f"""g (float[N,4] x) => (float[N,4] y) {{
            a = {node}  b = {node}  c = Add(a, b)  d = Add(w, c)  y = Add(x, d) }}""",
        w=np.full(4, 0.5, np.float32),
    )
    for each in (FoldConstants(), MergeSubexpressions()):
        each(model)
        assert len(random_nodes(model)) == 2
