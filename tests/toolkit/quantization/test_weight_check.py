"""Sound weights pass in each precision; each changed number is named."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import onnx
import onnx.parser
import onnx_ir as ir
import pytest

from cnntk.data.batches import Batch
from cnntk.quantization._weight_check import check_quantized_weights
from cnntk.quantization.calibration import CalibrationData, calibrate
from cnntk.quantization.config import LayerPlan, QuantConfig, linear_layers
from cnntk.quantization.options import Target
from cnntk.quantization.quantizer import quantize_graph
from cnntk.runtime.errors import ExportCheckError

GRAPH = """
<ir_version: 10, opset_import: ["" : 18]>
net (uint8[N, 16, 16, 3] image) => (float[N, 5] logits)
<float[3, 1, 1] mean, float[8, 3, 5, 5] w1, float[8] b1, float[8, 8, 3, 3] w2, float[8] b2,
 float[8, 1, 3, 3] w3, float[7, 8] w4, float[7] b4, float[7, 5] w5, int64[2] axes = {2, 3}>
{
    planes = Transpose <perm = [0, 3, 1, 2]> (image)
    pixels = Cast <to = 1> (planes)
    centered = Sub (pixels, mean)
    [one] c1 = Conv <strides = [2, 2], pads = [2, 2, 2, 2]> (centered, w1, b1)
    r1 = Relu (c1)
    [two] c2 = Conv <pads = [1, 1, 1, 1]> (r1, w2, b2)
    sum = Add (c2, r1)
    r2 = Relu (sum)
    [three] c3 = Conv <group = 8> (r2, w3)
    m = ReduceMean <keepdims = 0> (c3, axes)
    r3 = Relu (m)
    [four] h = Gemm <transB = 1> (r3, w4, b4)
    [five] logits = MatMul (h, w5)
}
"""
SHAPES = {
    "w1": (8, 3, 5, 5),
    "b1": (8,),
    "w2": (8, 8, 3, 3),
    "b2": (8,),
    "w3": (8, 1, 3, 3),
    "w4": (7, 8),
    "b4": (7,),
    "w5": (7, 5),
}


@pytest.fixture(scope="module")
def network() -> ir.Model:
    rng = np.random.default_rng(0)
    model = onnx.parser.parse_model(GRAPH)
    mean = np.array([120, 110, 100], np.float32).reshape(3, 1, 1)
    model.graph.initializer.append(onnx.numpy_helper.from_array(mean, "mean"))
    for name, shape in SHAPES.items():
        value = rng.standard_normal(shape) / np.sqrt(np.prod(shape[1:]) * (1e4 if name == "w1" else 1))
        model.graph.initializer.append(onnx.numpy_helper.from_array(value.astype(np.float32), name))
    return ir.from_proto(onnx.shape_inference.infer_shapes(model))


@pytest.fixture(scope="module")
def calibration(network: ir.Model) -> CalibrationData:
    rng = np.random.default_rng(1)
    images = [rng.integers(0, 256, (1, 16, 16, 3), dtype=np.uint8) for _ in range(8)]
    return calibrate(network, [Batch({"image": x}, (str(i),), (None,)) for i, x in enumerate(images)])


def config(network: ir.Model, precision: str, target: Target = "any", correct: bool = True) -> QuantConfig:
    layers = {str(n.name): LayerPlan(precision) for n in linear_layers(network)}  # type: ignore[arg-type]
    return QuantConfig(layers, target, bias_correction=correct)


@pytest.fixture(scope="module")
def quantized(network: ir.Model, calibration: CalibrationData) -> ir.Model:
    return quantize_graph(network, config(network, "int8"), calibration)


def with_change(model: ir.Model, name: str, change: Callable[[np.ndarray], None]) -> ir.Model:
    copy = model.clone()
    value = copy.graph.initializers[name]
    assert value.const_value is not None
    array = value.const_value.numpy().copy()
    change(array)
    value.const_value = ir.Tensor(array, name=name)
    return copy


def add(amount: float, *index: int) -> Callable[[np.ndarray], None]:
    def change(array: np.ndarray) -> None:
        array[index] += array.dtype.type(amount)

    return change


@pytest.mark.parametrize("correct", [True, False])
@pytest.mark.parametrize(
    ("precision", "target"),
    [("int8", "any"), ("int8", "vnni"), ("int4", "any"), ("float16", "any"), ("float32", "any")],
)
def test_sound_weights(
    network: ir.Model, calibration: CalibrationData, precision: str, target: Target, correct: bool
) -> None:
    plan = config(network, precision, target, correct)
    graph = quantize_graph(network, plan, calibration)
    check_quantized_weights(network, graph, calibration, corrected=correct)


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        ("one_weight", add(2, 1, 2, 3, 1), r"one: in column 1 of the output, weight \[1, 3, "),
        ("one_weight", add(2, slice(None), 2, 3, 0), r"one: in column 1 of the output"),
        ("one_scales", add(0.1, 9), r"one: scale \[1\]"),
        ("two_weight", add(-2, 7, 0, 2, 2), r"two: weight \[7, 2, 2, 0\]"),
        ("three_weight", add(1, 0, 0, 0, 0), r"three: weight"),
        ("two_scales", add(0.1, 3), r"two: scale \[3\]"),
        ("one_bias", add(2, 4), r"one: bias \[4\]"),
        ("one_bias", add(2, slice(4, None, 8)), r"one: bias \[4\]"),
        ("two_bias", add(-2, 0), r"two: bias \[0\]"),
        ("four_weight", add(1, 2, 0, 5), r"four: weight \[2, 5\]"),
        ("four_scales", add(0.01, 6), r"four: weight \[6"),
        ("four_bias", add(0.01, 1), r"four: bias \[1\]"),
        ("five_scales", add(np.nan, 0), r"five: scale nan"),
    ],
)
def test_each_changed_number(
    network: ir.Model,
    quantized: ir.Model,
    calibration: CalibrationData,
    name: str,
    change: Callable[[np.ndarray], None],
    message: str,
) -> None:
    with pytest.raises(ExportCheckError, match=message):
        check_quantized_weights(network, with_change(quantized, name, change), calibration, corrected=True)


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        ("one_weight", add(2, 1, 2, 3, 1), r"one: in column 1 of the output, weight \[1, 3, "),
        ("two_weight", add(-2, 7, 0, 2, 2), r"two: weight \[7, 2, 2, 0\]"),
        ("two_scales", add(0.1, 3), r"two: scale \[3\]"),
        ("three_scales", add(np.inf, 2), r"scale inf"),
        ("one_bias", add(2, 4), r"one: bias \[4\]"),
        ("two_bias", add(-2, 0), r"two: bias \[0\]"),
    ],
)
def test_each_changed_number_of_standard_operators(
    network: ir.Model,
    calibration: CalibrationData,
    name: str,
    change: Callable[[np.ndarray], None],
    message: str,
) -> None:
    graph = quantize_graph(network, replace(config(network, "int8"), format="portable"), calibration)
    check_quantized_weights(network, graph, calibration, corrected=True)
    with pytest.raises(ExportCheckError, match=message):
        check_quantized_weights(network, with_change(graph, name, change), calibration, corrected=True)


def test_a_bias_without_its_correction(network: ir.Model, calibration: CalibrationData) -> None:
    graph = quantize_graph(network, config(network, "int8", correct=False), calibration)
    with pytest.raises(ExportCheckError, match="bias"):
        check_quantized_weights(network, graph, calibration, corrected=True)


def test_activation_scales(network: ir.Model, quantized: ir.Model, calibration: CalibrationData) -> None:
    def infinite(array: np.ndarray) -> None:
        array[...] = np.inf

    name = next(n for n in quantized.graph.initializers if n.startswith("scale"))
    with pytest.raises(ExportCheckError, match=r"scale inf \(input \d\), expected a finite number above 0"):
        check_quantized_weights(network, with_change(quantized, name, infinite), calibration, corrected=True)


def test_weights_that_stay_floats(network: ir.Model, calibration: CalibrationData) -> None:
    plan = config(network, "float16").with_precision("two", "float32", "tried")
    graph = quantize_graph(network, plan, calibration)
    for name in ("w2", "three_weight"):
        changed = with_change(graph, name, add(0.01, 1, 0, 1, 1))
        with pytest.raises(ExportCheckError, match=f"weight {name}: differs from the float32 graph's"):
            check_quantized_weights(network, changed, calibration, corrected=True)


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        ("four_weight", add(2, 5, 2), r"four: weight \[2, 5\]"),
        ("four_scales", add(0.01, 6), r"four: (weight|scale) \[6"),
        ("four_bias", add(0.01, 1), r"four: bias \[1\]"),
    ],
)
def test_each_changed_number_of_a_dense_layer_in_integers(
    name: str, change: Callable[[np.ndarray], None], message: str
) -> None:
    rng = np.random.default_rng(2)
    text = GRAPH.replace("    r3 = Relu (m)\n", "").replace("(r3, w4, b4)", "(m, w4, b4)")
    model = onnx.parser.parse_model(text)
    for weight, shape in {"mean": (3, 1, 1), **SHAPES}.items():
        value = rng.standard_normal(shape).astype(np.float32)
        model.graph.initializer.append(onnx.numpy_helper.from_array(value, weight))
    network = ir.from_proto(onnx.shape_inference.infer_shapes(model))
    images = [rng.integers(0, 256, (1, 16, 16, 3), dtype=np.uint8) for _ in range(4)]
    batches = [Batch({"image": x}, (str(i),), (None,)) for i, x in enumerate(images)]
    calibration = calibrate(network, batches)
    graph = quantize_graph(network, config(network, "int8"), calibration)
    assert "MatMulIntegerToFloat" in {node.op_type for node in graph.graph}
    check_quantized_weights(network, graph, calibration, corrected=True)
    with pytest.raises(ExportCheckError, match=message):
        check_quantized_weights(network, with_change(graph, name, change), calibration, corrected=True)
