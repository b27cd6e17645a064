import numpy as np
import onnx_ir as ir

from cnntk.exporters.checks._perturbed import perturbed_model
from cnntk.exporters.session import GraphSession

EPS = float(np.finfo(np.float32).eps)
X = {"x": np.random.default_rng(0).random((4, 8)).astype(np.float32)}


def graph(body: str) -> ir.Model:
    return ir.from_onnx_text(
        '<ir_version: 10, opset_import: ["" : 18]> g (float[N,8] x) => (float[N,8] y) <float[N,8] a> '
        f"{{ {body} }}"
    )


def change(body: str) -> float:
    """Largest change of the output, relative to the largest value."""
    model = graph(body)
    before = GraphSession(model).run(X)["y"].astype(np.float64)
    after = GraphSession(perturbed_model(model, EPS)).run(X)["y"]
    np.testing.assert_array_equal(GraphSession(model).run(X)["y"], before)
    return float(np.abs(after - before).max() / np.abs(before).max())


def test_a_sound_layer_changes_by_a_few_steps() -> None:
    assert 0.5 * EPS <= change("y = Exp(x)") <= 6 * EPS


def test_cancellation_amplifies_them() -> None:
    body = "k = Constant<value_float = 1000.0>()  a = Add(x, k)  y = Sub(a, k)"
    assert change(body) > 500 * EPS


def test_it_is_always_the_same() -> None:
    model = perturbed_model(graph("y = Exp(x)"), EPS)
    first, second = (GraphSession(model).run(X)["y"] for _ in range(2))
    np.testing.assert_array_equal(first, second)
