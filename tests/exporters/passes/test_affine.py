import numpy as np
import pytest

from cnntk.exporters.passes.affine import FoldAffine

RNG = np.random.default_rng(0)
CONV = "g (float[N,3,4,4] x) => (float[N,2,4,4] y)"


def normal(*shape: int) -> np.ndarray:
    return RNG.standard_normal(shape).astype(np.float32)


FOLDED = {
    "scale and bias a channel": ("h = Conv(x, w)  s = Mul(h, c)  y = Add(d, s)", (2, 1, 1)),
    "subtracted from": ("h = Conv(x, w)  y = Sub(c, h)", (1, 2, 1, 1)),
    "divided": ("h = Conv(x, w, b)  y = Div(h, c)", ()),
    "shift in front": ("h = Sub(x, k)  y = Conv(h, w, b)", ()),
}


@pytest.mark.parametrize(("body", "shape"), FOLDED.values(), ids=FOLDED.keys())
def test_scale_and_bias_go_into_the_convolution(body, shape, written, apply, operators) -> None:
    names = {
        "w": normal(2, 3, 1, 1),
        "b": normal(2),
        "c": normal(*shape),
        "d": normal(2, 1, 1),
        "k": normal(3, 1, 1),
    }
    used = {k: v for k, v in names.items() if f"{k})" in body or f", {k}" in body or f"({k}," in body}
    rewritten, record = apply(written(f"{CONV} {{ {body} }}", **used), FoldAffine())
    assert record.status == "applied"
    assert operators(rewritten) == ["Conv"]


def test_matmul_and_bias_on_rows_are_a_gemm(written, apply, operators) -> None:
    model = written(
        "g (float[N,4] x) => (float[N,3] y) { h = MatMul(x, w)  y = Add(h, c) }", w=normal(4, 3), c=normal(3)
    )
    assert operators(apply(model, FoldAffine())[0]) == ["Gemm"]


def test_matmul_and_bias_on_more_stay_without_a_word(written, apply) -> None:
    model = written(
        "g (float[N,2,4] x) => (float[N,2,3] y) { h = MatMul(x, w)  y = Add(h, c) }",
        w=normal(4, 3),
        c=normal(3),
    )
    _, record = apply(model, FoldAffine())
    assert (record.status, record.rewrites.skipped) == ("nothing to do", ())


def test_what_differs_by_pixel_stays(written, apply) -> None:
    model = written(f"{CONV} {{ h = Conv(x, w)  y = Mul(h, c) }}", w=normal(2, 3, 1, 1), c=normal(1, 1, 4))
    assert apply(model, FoldAffine())[1].status == "nothing to do"


def test_a_shift_does_not_reach_padding(written, apply) -> None:
    body = "{ h = Add(x, c)  y = Conv<pads = [1, 1, 1, 1]>(h, w) }"
    _, record = apply(written(f"{CONV} {body}", w=normal(2, 3, 3, 3), c=normal(3, 1, 1)), FoldAffine())
    assert "pads with zeros" in record.rewrites.skipped[0]
