import numpy as np

from cnntk.exporters.passes._dead_code import RemoveDeadCode

RNG = np.random.default_rng(0)


def normal(*shape: int) -> np.ndarray:
    return RNG.standard_normal(shape).astype(np.float32)


def test_dead_code_goes_and_is_named(written, apply, operators) -> None:
    text = "g (float[N,4] x) => (float[N,4] y) { a = Mul(x, c)  b = Exp(a)  y = Neg(x) }"
    rewritten, record = apply(written(text, c=normal(4)), RemoveDeadCode())
    assert operators(rewritten) == ["Neg"]
    assert set(record.rewrites.applied) == {
        "Mul a: no output depends on it, removed",
        "Exp b: no output depends on it, removed",
        "weight c of 4 elements: unused, removed",
    }
