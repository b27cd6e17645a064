import numpy as np
import onnx_ir as ir
import pytest

from cnntk.exporters._float64_attributes import widen_attributes
from cnntk.exporters.session import GraphSession

RNG = np.random.default_rng(0)
MEAN, VAR = RNG.standard_normal(3), RNG.random(3) * 1e-2 + 1e-4


def graph(operator: str, weights: dict[str, np.ndarray], kind: ir.DataType, **attributes: float) -> ir.Model:
    """In memory, where attributes are what was said, and not what float32 makes of it."""
    held = [
        ir.Value(
            name=name, shape=ir.Shape(array.shape), type=ir.TensorType(kind), const_value=ir.tensor(array)
        )
        for name, array in ((n, a.astype(kind.numpy())) for n, a in weights.items())
    ]
    x = ir.Value(name="x", shape=ir.Shape(("N", 3, 2, 2)), type=ir.TensorType(kind))
    node = ir.node(operator, [x, *held], attributes)
    y = node.outputs[0]
    y.name, y.shape, y.type = "y", x.shape, x.type
    body = ir.Graph([x], [y], nodes=[node], initializers=held, opset_imports={"": 18}, name="g")
    return ir.Model(body, ir_version=10)


def normed(epsilon: float, kind: ir.DataType = ir.DataType.DOUBLE) -> ir.Model:
    weights = {"scale": np.ones(3), "bias": np.zeros(3), "mean": MEAN, "var": VAR}
    return graph("BatchNormalization", weights, kind, epsilon=epsilon)


def leaky(alpha: float, kind: ir.DataType = ir.DataType.DOUBLE) -> ir.Model:
    return graph("LeakyRelu", {}, kind, alpha=alpha)


def node(model: ir.Model) -> ir.Node:
    (result,) = model.graph
    return result


X = RNG.standard_normal((2, 3, 2, 2)) * np.array([1e-4, 1, 100])[:, None, None]
EPSILONS = [1e-5, 1e-3, 1 / 3e4]


def exact_norm(epsilon: float) -> np.ndarray:
    scale = 1 / np.sqrt(VAR + epsilon)
    return (X - MEAN[:, None, None]) * scale[:, None, None]


@pytest.mark.parametrize("epsilon", EPSILONS)
def test_epsilon_is_float64s(epsilon: float) -> None:
    expected = exact_norm(epsilon)
    model = normed(epsilon)
    off = np.abs(GraphSession(model).run({"x": X})["y"] - expected).max()
    widen_attributes(model)
    result = GraphSession(model).run({"x": X})["y"]
    assert off > 1e-12 * np.abs(expected).max()
    np.testing.assert_allclose(result, expected, rtol=1e-14)
    assert "var" not in model.graph.initializers
    held = node(model).attributes.get_float("epsilon", 0)
    assert held == np.float32(held)


@pytest.mark.parametrize("slope", [0.01, 0.2, 1 / 3])
def test_a_slope_is_float64s(slope: float) -> None:
    expected = np.where(X < 0, slope * X, X)
    model = leaky(slope)
    assert not np.allclose(GraphSession(model).run({"x": X})["y"], expected, rtol=1e-12, atol=0)
    widen_attributes(model)
    np.testing.assert_allclose(GraphSession(model).run({"x": X})["y"], expected, rtol=1e-15)
    assert node(model).op_type == "PRelu"


def test_float32_stays_as_it_is() -> None:
    for model in (normed(1e-5, ir.DataType.FLOAT), leaky(0.01, ir.DataType.FLOAT)):
        before = str(model)
        widen_attributes(model)
        assert str(model) == before


def test_an_epsilon_that_float32_holds_stays() -> None:
    model = normed(2.0**-10)
    widen_attributes(model)
    assert "var" in model.graph.initializers
