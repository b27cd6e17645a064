import numpy as np

from cnntk.exporters.passes._subexpressions import MergeSubexpressions


def test_equal_expressions_are_computed_once(written, apply, operators) -> None:
    text = """g (float[N,4] x) => (float[N,4] y) {
        a = Mul(x, c)  b = Mul(x, d)  e = Exp(a)  f = Exp(b)  y = Add(e, f) }"""
    two = np.array([2], np.float32)
    rewritten, record = apply(written(text, c=two, d=two.copy()), MergeSubexpressions())
    assert operators(rewritten) == ["Mul", "Exp", "Add"]
    assert len(record.rewrites.applied) == 2


def test_other_attributes_are_another_expression(written, apply) -> None:
    text = """g (float[N,4] x) => (float[N,4] y) {
        a = Elu<alpha = 1.0>(x)  b = Elu<alpha = 2.0>(x)  y = Add(a, b) }"""
    assert apply(written(text), MergeSubexpressions())[1].status == "nothing to do"
