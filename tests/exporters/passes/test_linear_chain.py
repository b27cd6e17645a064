import numpy as np
import pytest

from cnntk.exporters.passes._linear_chain import CollapseLinearChains

RNG = np.random.default_rng(0)


def normal(*shape: int) -> np.ndarray:
    return RNG.standard_normal(shape).astype(np.float32)


def weights(**shapes: tuple[int, ...]) -> dict[str, np.ndarray]:
    return {name: normal(*shape) for name, shape in shapes.items()}


CHAINS = {
    "gemm, gemm": (
        "(float[N,8] x) => (float[N,2] y)"
        "{ h = Gemm<transB=1>(x, w, b)  y = Gemm<alpha=2.0, beta=0.5>(h, z, d) }",
        {"w": (16, 8), "b": (16,), "z": (16, 2), "d": (2,)},
        ["Gemm"],
    ),
    "matmuls with biases": (
        "(float[N,3,8] x) => (float[N,3,2] y)"
        "{ h = MatMul(x, w)  i = Add(h, b)  j = MatMul(i, z)  y = Add(j, d) }",
        {"w": (8, 16), "b": (16,), "z": (16, 2), "d": (2,)},
        ["MatMul", "Add", "Add"],
    ),
    "1x1, 1x1": (
        "(float[N,3,6,6] x) => (float[N,2,3,3] y) { h = Conv<strides=[2,2]>(x, w, b)  y = Conv(h, z, d) }",
        {"w": (8, 3, 1, 1), "b": (8,), "z": (2, 8, 1, 1), "d": (2,)},
        ["Conv"],
    ),
    "3x3, 1x1": (
        "(float[N,3,6,6] x) => (float[N,2,3,3] y)"
        "{ h = Conv<pads=[1,1,1,1]>(x, w, b)  y = Conv<strides=[2,2]>(h, z) }",
        {"w": (8, 3, 3, 3), "b": (8,), "z": (2, 8, 1, 1)},
        ["Conv"],
    ),
    "conv, flatten, gemm": (
        "(float[N,2,7,6] x) => (float[N,2] y)"
        "{ h = Conv<pads=[1,1,1,1], strides=[2,2], group=2>(x, w, b)  f = Flatten(h)  y = Gemm(f, z, d) }",
        {"w": (8, 1, 3, 3), "b": (8,), "z": (8 * 4 * 3, 2), "d": (2,)},
        ["Flatten", "Gemm"],
    ),
}


@pytest.mark.parametrize(("text", "shapes", "left"), CHAINS.values(), ids=CHAINS.keys())
def test_two_layers_are_one(text, shapes, left, written, apply, operators) -> None:
    model = written(f"g {text}", **weights(**shapes))
    rewritten, record = apply(model, CollapseLinearChains())
    assert (record.status, record.rollback_reason) == ("applied", None)
    assert operators(rewritten) == left
    assert "one layer" in record.rewrites.applied[0]
    assert rewritten.graph.outputs[0].name == "y"


def test_a_bottleneck_stays_with_its_figures(written, apply) -> None:
    text = "g (float[N,8] x) => (float[N,8] y) { h = Gemm(x, w)  y = Gemm(h, z) }"
    _, record = apply(written(text, **weights(w=(8, 2), z=(2, 8))), CollapseLinearChains())
    assert record.status == "nothing to do"
    assert "32 to 64 multiply-adds, 32 to 64 parameters" in record.rewrites.skipped[0]


STAY = {
    "a ReLU between": "{ h = Gemm(x, w)  r = Relu(h)  y = Gemm(r, z) }",
    "read twice": "{ h = Gemm(x, w)  i = Gemm(h, z)  k = ReduceSum(h)  y = Add(i, k) }",
}


@pytest.mark.parametrize("body", STAY.values(), ids=STAY.keys())
def test_what_is_no_chain_stays(body, written, apply) -> None:
    model = written(f"g (float[N,8] x) => (float[N,2] y) {body}", **weights(w=(8, 16), z=(16, 2)))
    assert apply(model, CollapseLinearChains())[1].status == "nothing to do"


def test_shared_weights_stay(written, apply) -> None:
    text = "g (float[N,4] x) => (float[N,4] y) { h = Gemm(x, w)  y = Gemm(h, w) }"
    _, record = apply(written(text, **weights(w=(4, 4))), CollapseLinearChains())
    assert "used elsewhere" in record.rewrites.skipped[0]
