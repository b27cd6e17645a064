from __future__ import annotations

import numpy as np
import onnx
import onnx.parser
import onnx_ir as ir
import onnxruntime as ort
import pytest

from cnntk.data.batches import Batch
from cnntk.quantization.calibration import Calibration, calibrate
from cnntk.quantization.config import LayerPlan, Recipe, linear_layers
from cnntk.quantization.equalize import equalized
from cnntk.quantization.quantizer import channels_to_watch, quantized, tensors_to_watch

CHAIN = """
<ir_version: 10, opset_import: ["" : 18]>
chain (float[N, 3, 8, 8] x) => (float[N, 5, 4, 4] y)
<float[8, 3, 3, 3] w1, float[8] b1, float[5, 8, 3, 3] w2, float[5] b2>
{
    [one] c1 = Conv <pads = [1, 1, 1, 1]> (x, w1, b1)
    r1 = Relu (c1)
    p1 = MaxPool <kernel_shape = [2, 2], strides = [2, 2]> (r1)
    [two] y = Conv <pads = [1, 1, 1, 1]> (p1, w2, b2)
}
"""

SIZES = np.geomspace(0.02, 40, 8)
"""Of the channels between the two layers: 8 bits for the largest are none for the smallest."""


def model_of(text: str, sizes: np.ndarray) -> ir.Model:
    rng = np.random.default_rng(0)
    model = onnx.parser.parse_model(text)
    weights = {
        "w1": rng.standard_normal((8, 3, 3, 3)) * sizes[:, None, None, None],
        "b1": rng.standard_normal(8) * sizes,
        "w2": rng.standard_normal((5, 8, 3, 3)) / sizes[:, None, None],
        "b2": rng.standard_normal(5),
    }
    for name, values in weights.items():
        model.graph.initializer.append(onnx.numpy_helper.from_array(values.astype(np.float32), name))
    return ir.from_proto(onnx.shape_inference.infer_shapes(model))


def images() -> list[dict[str, np.ndarray]]:
    rng = np.random.default_rng(1)
    return [{"x": rng.standard_normal((1, 3, 8, 8)).astype(np.float32)} for _ in range(16)]


def seen(model: ir.Model) -> Calibration:
    batches = [Batch(x, (str(i),), (None,)) for i, x in enumerate(images())]
    return calibrate(model, batches, tensors_to_watch(model), channels=channels_to_watch(model))


def run(model: ir.Model) -> np.ndarray:
    session = ort.InferenceSession(ir.to_proto(model).SerializeToString(), providers=["CPUExecutionProvider"])
    return np.concatenate([session.run(["y"], x)[0] for x in images()])


def far(found: np.ndarray, expected: np.ndarray) -> float:
    return float(np.sqrt(((found - expected) ** 2).mean() / (expected**2).mean()))


def in_integers(model: ir.Model) -> ir.Model:
    recipe = Recipe({str(n.name): LayerPlan("int8") for n in linear_layers(model)})
    return quantized(model, recipe, seen(model))


def test_computes_what_it_did() -> None:
    model = model_of(CHAIN, SIZES)
    before = ir.to_proto(model).SerializeToString()
    other = equalized(model, seen(model))
    assert other is not None
    assert far(run(other), run(model)) < 1e-6
    assert ir.to_proto(model).SerializeToString() == before


def test_integers_come_ten_times_as_close() -> None:
    model = model_of(CHAIN, SIZES)
    other = equalized(model, seen(model))
    assert other is not None
    expected = run(model)
    assert far(run(in_integers(model)), expected) > 10 * far(run(in_integers(other)), expected)


def test_channels_of_like_size_are_left_alone() -> None:
    model = model_of(CHAIN, np.ones(8))
    assert equalized(model, seen(model)) is None


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("(r1)\n", "(s1)\n"),  # a sigmoid lets no factor through
        ("[N, 5, 4, 4] y)", "[N, 5, 4, 4] y, float[N, 8, 8, 8] r1)"),  # somebody else sees the channels
    ],
    ids=["another function between", "read elsewhere"],
)
def test_what_would_change_is_left_alone(old: str, new: str) -> None:
    text = CHAIN.replace(old, new).replace("r1 = Relu (c1)", "r1 = Relu (c1)\n    s1 = Sigmoid (r1)")
    model = model_of(text, SIZES)
    assert equalized(model, seen(model)) is None


def test_a_dead_channel_stays_dead() -> None:
    model = model_of(CHAIN, SIZES)
    for name in ("w1", "b1"):
        value = model.graph.initializers[name]
        numbers = value.const_value.numpy().copy()
        numbers[3] = -abs(numbers[3]) if name == "b1" else 0
        value.const_value = ir.Tensor(numbers, name=name)
    other = equalized(model, seen(model))
    assert other is not None
    assert far(run(other), run(model)) < 1e-6
