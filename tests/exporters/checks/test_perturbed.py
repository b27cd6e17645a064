import numpy as np
import onnx_ir as ir
import pytest

from cnntk.exporters.checks._perturbed import perturbed_model
from cnntk.exporters.session import GraphSession

EPS = float(np.finfo(np.float32).eps)
X = {"x": np.random.default_rng(0).random((4, 8)).astype(np.float32)}


def graph(body: str, opset: int = 18) -> ir.Model:
    return ir.from_onnx_text(
        f'<ir_version: 10, opset_import: ["" : {opset}]> g (float[N,8] x) => (float[N,8] y) <float[N,8] a> '
        f"{{ {body} }}"
    )


def change(body: str, opset: int = 18) -> float:
    """Largest change of the output, relative to the largest value."""
    model = graph(body, opset)
    before = GraphSession(model).run(X)["y"].astype(np.float64)
    after = GraphSession(perturbed_model(model, EPS)).run(X)["y"]
    np.testing.assert_array_equal(GraphSession(model).run(X)["y"], before)
    return float(np.abs(after - before).max() / np.abs(before).max())


@pytest.mark.parametrize("opset", [18, 25])
def test_a_sound_layer_changes_by_a_few_steps(opset: int) -> None:
    assert 0.5 * EPS <= change("y = Exp(x)", opset) <= 6 * EPS


@pytest.mark.parametrize("opset", [18, 25])
def test_cancellation_amplifies_them(opset: int) -> None:
    body = "k = Constant<value_float = 1000.0>()  a = Add(x, k)  y = Sub(a, k)"
    assert change(body, opset) > 500 * EPS


@pytest.mark.parametrize("opset", [18, 25])
def test_it_is_always_the_same(opset: int) -> None:
    model = perturbed_model(graph("y = Exp(x)", opset), EPS)
    first, second = (GraphSession(model).run(X)["y"] for _ in range(2))
    np.testing.assert_array_equal(first, second)


def test_a_mask_of_constants_is_exact() -> None:
    mask = "k = Constant<value_float = 3.0>()  s = Shape(x)  f = Expand(k, s)  d = Sub(f, f)  z = Equal(d, f)"
    assert change(f"{mask}  y = Where(z, d, x)") == 0


def test_operators_that_select_do_not_round() -> None:
    assert change("y = Relu(x)") == 0
