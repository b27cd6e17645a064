import numpy as np
import pytest

from cnntk.exporters.passes._identities import RemoveIdentities

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
    assert "a graph output must not be an input" in record.rewrites.skipped[0]


def test_an_answer_keeps_its_name(written, apply) -> None:
    rewritten, _ = apply(
        written("g (float[N,4] x) => (float[N,4] y) { r = Relu(x)  y = Identity(r) }"), RemoveIdentities()
    )
    assert rewritten.graph.node(0).outputs[0].name == "y"
