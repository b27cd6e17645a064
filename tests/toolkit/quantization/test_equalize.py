from __future__ import annotations

import numpy as np
import onnx
import onnx.parser
import onnx_ir as ir
import onnxruntime as ort
import pytest

from cnntk.data.batches import Batch
from cnntk.quantization.calibration import (
    CalibrationData,
    calibrate,
    channels_to_calibrate,
    tensors_to_calibrate,
)
from cnntk.quantization.config import LayerPlan, QuantConfig, linear_layers
from cnntk.quantization.equalize import equalize_channels
from cnntk.quantization.quantizer import quantize_graph

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
"""Sizes of the channels between the two layers: 8 bits for the largest leave none for the smallest."""


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


def calibrated(model: ir.Model) -> CalibrationData:
    batches = [Batch(x, (str(i),), (None,)) for i, x in enumerate(images())]
    return calibrate(model, batches, tensors_to_calibrate(model), channels=channels_to_calibrate(model))


def run(model: ir.Model) -> np.ndarray:
    session = ort.InferenceSession(ir.to_proto(model).SerializeToString(), providers=["CPUExecutionProvider"])
    return np.concatenate([session.run(["y"], x)[0] for x in images()])


def relative_error(actual: np.ndarray, expected: np.ndarray) -> float:
    return float(np.sqrt(((actual - expected) ** 2).mean() / (expected**2).mean()))


def in_integers(model: ir.Model) -> ir.Model:
    config = QuantConfig({str(n.name): LayerPlan("int8") for n in linear_layers(model)})
    return quantize_graph(model, config, calibrated(model))


def test_the_equalized_model_computes_the_same() -> None:
    model = model_of(CHAIN, SIZES)
    before = ir.to_proto(model).SerializeToString()
    other = equalize_channels(model, calibrated(model))
    assert other is not None
    assert relative_error(run(other), run(model)) < 1e-6
    assert ir.to_proto(model).SerializeToString() == before


def test_integers_are_ten_times_as_accurate() -> None:
    model = model_of(CHAIN, SIZES)
    other = equalize_channels(model, calibrated(model))
    assert other is not None
    expected = run(model)
    assert relative_error(run(in_integers(model)), expected) > 10 * relative_error(
        run(in_integers(other)), expected
    )


def test_similar_channels_are_not_changed() -> None:
    model = model_of(CHAIN, np.ones(8))
    assert equalize_channels(model, calibrated(model)) is None


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("(r1)\n", "(s1)\n"),  # a sigmoid does not commute with a factor
        ("[N, 5, 4, 4] y)", "[N, 5, 4, 4] y, float[N, 8, 8, 8] r1)"),  # another node reads the channels
    ],
    ids=["another function between", "read elsewhere"],
)
def test_other_pairs_are_not_changed(old: str, new: str) -> None:
    text = CHAIN.replace(old, new).replace("r1 = Relu (c1)", "r1 = Relu (c1)\n    s1 = Sigmoid (r1)")
    model = model_of(text, SIZES)
    assert equalize_channels(model, calibrated(model)) is None


def test_a_dead_channel_stays_dead() -> None:
    model = model_of(CHAIN, SIZES)
    for name in ("w1", "b1"):
        value = model.graph.initializers[name]
        numbers = value.const_value.numpy().copy()
        numbers[3] = -abs(numbers[3]) if name == "b1" else 0
        value.const_value = ir.Tensor(numbers, name=name)
    other = equalize_channels(model, calibrated(model))
    assert other is not None
    assert relative_error(run(other), run(model)) < 1e-6
