"""The portable form computes the same as onnxruntime's own, and other runtimes read it."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import onnx.parser
import onnx_ir as ir
import onnxruntime as ort
import pytest

from cnntk.data.batches import Batch
from cnntk.quantization._weight_check import check_quantized_weights
from cnntk.quantization.calibration import CalibrationData, calibrate
from cnntk.quantization.config import LayerPlan, QuantConfig, default_config, linear_layers
from cnntk.quantization.quantizer import quantize_graph
from cnntk.quantization.write import _refuse_rewriting
from cnntk.runtime.errors import ExportCheckError

GRAPH = """
<ir_version: 10, opset_import: ["" : 18]>
net (uint8[N, 16, 16, 3] image) => (float[N, 5] logits)
<float[3, 1, 1] mean, float[8, 3, 3, 3] w1, float[8] b1, float[8, 8, 3, 3] w2, float[8] b2,
 float[8, 1, 3, 3] w3, float[8, 8, 1, 1] w4, float[256, 16] w5, float[256] b5, float[256, 256] w6,
 float[256, 5] w7, float least = {0.0}, float most = {2.0}, int64[2] rows = {0, 16}>
{
    planes = Transpose <perm = [0, 3, 1, 2]> (image)
    pixels = Cast <to = 1> (planes)
    centered = Sub (pixels, mean)
    [one] c1 = Conv <strides = [2, 2], pads = [1, 1, 1, 1]> (centered, w1, b1)
    r1 = Clip (c1, least, most)
    [two] c2 = Conv <pads = [1, 1, 1, 1]> (r1, w2, b2)
    sum = Add (c2, r1)
    r2 = Relu (sum)
    p = MaxPool <kernel_shape = [2, 2], strides = [2, 2]> (r2)
    [three] c3 = Conv <group = 8, pads = [1, 1, 1, 1]> (p, w3)
    [four] c4 = Conv (p, w4)
    both = Concat <axis = 1> (c3, c4)
    r3 = Relu (both)
    m = GlobalAveragePool (r3)
    flat = Reshape (m, rows)
    [five] h1 = Gemm <transB = 1> (flat, w5, b5)
    r4 = Relu (h1)
    [six] h2 = MatMul (r4, w6)
    r5 = Sigmoid (h2)
    [seven] logits = MatMul (r5, w7)
}
"""

INTEGERS = ("one", "two", "three", "four", "five", "six")


@pytest.fixture(scope="module")
def network() -> ir.Model:
    rng = np.random.default_rng(0)
    model = onnx.parser.parse_model(GRAPH)
    shapes = {i.name: i for i in model.graph.value_info}
    numbers = {"mean": np.array([120, 110, 100], np.float32).reshape(3, 1, 1)}
    for name in ("w1", "b1", "w2", "b2", "w3", "w4", "w5", "b5", "w6", "w7"):
        shape = [d.dim_value for d in shapes[name].type.tensor_type.shape.dim]
        scale = np.sqrt(np.prod(shape[1:]) * (1e4 if name == "w1" else 1))
        numbers[name] = (rng.standard_normal(shape) / scale).astype(np.float32)
    model.graph.initializer.extend(onnx.numpy_helper.from_array(a, name) for name, a in numbers.items())
    return ir.from_proto(onnx.shape_inference.infer_shapes(model))


def pictures(count: int, seed: int) -> list[np.ndarray]:
    rng = np.random.default_rng(seed)
    return [rng.integers(0, 256, (1, 16, 16, 3), dtype=np.uint8) for _ in range(count)]


@pytest.fixture(scope="module")
def calibration(network: ir.Model) -> CalibrationData:
    return calibrate(
        network, [Batch({"image": x}, (str(i),), (None,)) for i, x in enumerate(pictures(12, 1))]
    )


@pytest.fixture(scope="module")
def plan(network: ir.Model) -> QuantConfig:
    layers = {
        str(n.name): LayerPlan("int8" if n.name in INTEGERS else "float32") for n in linear_layers(network)
    }
    return QuantConfig(layers, format="portable", bias_correction=True)


@pytest.fixture(scope="module")
def portable(network: ir.Model, plan: QuantConfig, calibration: CalibrationData) -> ir.Model:
    return quantize_graph(network, plan, calibration)


def to_bytes(model: ir.Model) -> bytes:
    data: bytes = ir.to_proto(model).SerializeToString()
    return data


def logits(model: ir.Model, images: list[np.ndarray]) -> np.ndarray:
    session = ort.InferenceSession(to_bytes(model), providers=["CPUExecutionProvider"])
    return np.concatenate([session.run(["logits"], {"image": x})[0] for x in images])


def test_every_operator_is_standard(portable: ir.Model) -> None:
    onnx.checker.check_model(ir.to_proto(portable), full_check=True)
    assert set(portable.graph.opset_imports) == {""}
    operators = Counter(node.op_type for node in portable.graph)
    assert (operators["Conv"], operators["MatMul"], operators["MaxPool"]) == (4, 3, 1)
    assert operators["Relu"] == 1  # behind a matrix product; the others are parts of ranges


@pytest.mark.parametrize("padded_by", ["120, 110, 100", "127, 127, 127"])
def test_it_computes_the_same_as_operators_of_onnxruntime(
    network: ir.Model, plan: QuantConfig, calibration: CalibrationData, padded_by: str
) -> None:
    model = network.clone()
    mean = np.array([float(v) for v in padded_by.split(",")], np.float32).reshape(3, 1, 1)
    model.graph.initializers["mean"].const_value = ir.Tensor(mean, name="mean")
    forms = [quantize_graph(model, replace(plan, format=f), calibration) for f in ("onnxruntime", "portable")]
    own, standard = (logits(form, pictures(8, 2)) for form in forms)
    np.testing.assert_allclose(standard, own, rtol=0, atol=1e-6 * np.ptp(own))


def test_onnxruntime_computes_each_layer_in_integers(portable: ir.Model, tmp_path: Path) -> None:
    file = tmp_path / "m.onnx"
    file.write_bytes(to_bytes(portable))
    _refuse_rewriting(file, portable, file)
    options = ort.SessionOptions()
    options.optimized_model_filepath, options.log_severity_level = str(tmp_path / "o.onnx"), 4
    ort.InferenceSession(str(file), options, providers=["CPUExecutionProvider"])
    run = onnx.load(tmp_path / "o.onnx").graph.node
    weights = {
        name for node in run if "Integer" in node.op_type or "QLinear" in node.op_type for name in node.input
    }
    assert {f"{name}_weight" for name in INTEGERS} <= weights


def test_a_layer_that_onnxruntime_computes_in_floats_is_seen(portable: ir.Model, tmp_path: Path) -> None:
    """Without QuantizeLinear behind it, a convolution reads dequantized weights as floats."""
    model = portable.clone()
    conv = next(node for node in model.graph if node.name == "two")
    (quantize,) = [use.node for use in conv.outputs[0].uses()]
    (dequantize,) = [use.node for use in quantize.outputs[0].uses()]
    dequantize.outputs[0].replace_all_uses_with(conv.outputs[0])
    file = tmp_path / "m.onnx"
    file.write_bytes(to_bytes(model))
    with pytest.raises(ExportCheckError, match=r"computes two in float32, which the graph has in integers"):
        _refuse_rewriting(file, model, file)


@pytest.mark.parametrize(
    ("name", "message"),
    [("five_weight", r"five: weight \[0, 0\]"), ("five_scales", "five: scale"), ("five_bias", "five: bias")],
)
def test_each_changed_number_of_a_matrix_product(
    network: ir.Model, portable: ir.Model, calibration: CalibrationData, name: str, message: str
) -> None:
    check_quantized_weights(network, portable, calibration, corrected=True)
    model = portable.clone()
    value = next(v for n, v in model.graph.initializers.items() if n == name)
    assert value.const_value is not None
    array = value.const_value.numpy().copy()
    array.flat[0] += array.dtype.type(3)
    value.const_value = ir.Tensor(array, name=name)
    with pytest.raises(ExportCheckError, match=message):
        check_quantized_weights(network, model, calibration, corrected=True)


def test_large_layers_have_8_bits(network: ir.Model) -> None:
    text = GRAPH.replace("256", "1100")
    model = onnx.parser.parse_model(text)
    for value in model.graph.value_info:
        shape = [d.dim_value for d in value.type.tensor_type.shape.dim]
        model.graph.initializer.append(onnx.numpy_helper.from_array(np.ones(shape, np.float32), value.name))
    graph = ir.from_proto(onnx.shape_inference.infer_shapes(model))
    blocks, standard = (default_config(graph, format=f).layers["six"] for f in ("onnxruntime", "portable"))
    assert (blocks.precision, standard.precision) == ("int4", "int8")
    assert "4 bits need operators of onnxruntime" in standard.reason


def steps_apart(outputs: np.ndarray, expected: np.ndarray) -> float:
    return float(np.abs(outputs - expected).max() / np.ptp(expected) * 255)


def openvino_logits(model: ir.Model, file: Path, images: list[np.ndarray]) -> np.ndarray:
    import openvino

    file.write_bytes(to_bytes(model))
    compiled = openvino.Core().compile_model(str(file), "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    return np.concatenate([compiled(x)["logits"] for x in images])


def test_openvino_computes_the_same_within_two_steps(portable: ir.Model, tmp_path: Path) -> None:
    pytest.importorskip("openvino")
    images = pictures(8, 3)
    expected = logits(portable, images)
    assert steps_apart(openvino_logits(portable, tmp_path / "m.onnx", images), expected) < 2
    other = portable.clone()
    value = other.graph.initializers["two_scales"]
    assert value.const_value is not None
    value.const_value = ir.Tensor(value.const_value.numpy() * np.float32(1.5), name=value.name)
    assert steps_apart(openvino_logits(other, tmp_path / "other.onnx", images), expected) > 3
