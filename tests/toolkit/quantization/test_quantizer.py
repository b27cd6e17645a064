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
from pixel_graphs import echo

from cnntk.data.batches import Batch
from cnntk.exporters.preprocessing import add_preprocessing
from cnntk.quantization import first_conv as first
from cnntk.quantization._weight_check import check_quantized_weights
from cnntk.quantization.builder import GraphBuilder
from cnntk.quantization.calibration import (
    CalibrationData,
    calibrate,
    channels_to_calibrate,
    tensors_to_calibrate,
)
from cnntk.quantization.config import LayerPlan, QuantConfig, default_config, linear_layers, rows_per_image
from cnntk.quantization.quantizer import quantize_graph
from cnntk.quantization.weights import can_saturate
from cnntk.quantization.write import _refuse_rewriting
from cnntk.runtime.artifact.spec import Preprocessing, ResizeForm
from cnntk.runtime.errors import ExportCheckError

RNG = np.random.default_rng(0)
_START = RNG.bit_generator.state


@pytest.fixture(autouse=True)
def same_numbers() -> None:
    """Each test draws the same numbers, whichever run before it."""
    RNG.bit_generator.state = _START


RESIDUAL = """
<ir_version: 10, opset_import: ["" : 18]>
residual (float[N, 3, 8, 8] x) => (float[N, 5] logits)
<float[8, 3, 3, 3] w1, float[8] b1, float[8, 8, 3, 3] w2, float[8] b2, float[8, 1, 3, 3] w3, float[5, 8] w4,
 float[5] b4, int64[2] axes = {2, 3}>
{
    [one] c1 = Conv <pads = [1, 1, 1, 1]> (x, w1, b1)
    r1 = Relu (c1)
    [two] c2 = Conv <pads = [1, 1, 1, 1]> (r1, w2, b2)
    sum = Add (c2, r1)
    r2 = Relu (sum)
    p = MaxPool <kernel_shape = [2, 2], strides = [2, 2]> (r2)
    [three] c3 = Conv <group = 8> (p, w3)
    m = ReduceMean <keepdims = 0> (c3, axes)
    [four] logits = Gemm <transB = 1> (m, w4, b4)
}
"""


def with_weights(text: str, shapes: dict[str, tuple[int, ...]]) -> ir.Model:
    model = onnx.parser.parse_model(text)
    for name, shape in shapes.items():
        value = RNG.standard_normal(shape).astype(np.float32) / np.sqrt(max(1, np.prod(shape[1:])))
        model.graph.initializer.append(onnx.numpy_helper.from_array(value.astype(np.float32), name))
    return ir.from_proto(onnx.shape_inference.infer_shapes(model))


def run(model: ir.Model, inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    session = ort.InferenceSession(ir.to_proto(model).SerializeToString(), providers=["CPUExecutionProvider"])
    names = [o.name for o in session.get_outputs()]
    return dict(zip(names, session.run(names, inputs), strict=True))


def calibrated(model: ir.Model, inputs: list[dict[str, np.ndarray]]) -> CalibrationData:
    batches = [Batch(x, (str(i),), (None,)) for i, x in enumerate(inputs)]
    return calibrate(model, batches, tensors_to_calibrate(model))


def config(model: ir.Model, kind: str, target: str = "any") -> QuantConfig:
    return QuantConfig({str(n.name): LayerPlan(kind) for n in linear_layers(model)}, target)


def operators(model: ir.Model) -> Counter[str]:
    return Counter(node.op_type for node in model.graph)


def relative_error(actual: np.ndarray, expected: np.ndarray) -> float:
    return float(np.abs(actual - expected).max() / np.abs(expected).max())


@pytest.fixture
def residual() -> ir.Model:
    shapes = {"w1": (8, 3, 3, 3), "b1": (8,), "w2": (8, 8, 3, 3), "b2": (8,), "w3": (8, 1, 3, 3)}
    return with_weights(RESIDUAL, {**shapes, "w4": (5, 8), "b4": (5,)})


@pytest.fixture
def images() -> list[dict[str, np.ndarray]]:
    return [{"x": RNG.standard_normal((1, 3, 8, 8)).astype(np.float32)} for _ in range(12)]


@pytest.mark.parametrize("target", ["any", "vnni"])
def test_outputs_of_a_residual_network_are_nearly_the_same(
    residual: ir.Model, images: list[dict[str, np.ndarray]], target: str
) -> None:
    graph = quantize_graph(residual, config(residual, "int8", target), calibrated(residual, images))
    assert operators(graph)["QLinearConv"] == 3
    assert operators(graph)["QLinearAdd"] == 1
    assert operators(graph)["NhwcMaxPool"] == 1
    assert operators(graph)["QuantizeLinear"] == 1  # the input, and nothing between
    for x in images:
        assert relative_error(run(graph, x)["logits"], run(residual, x)["logits"]) < 0.05


def test_a_float_layer_is_between_conversions(
    residual: ir.Model, images: list[dict[str, np.ndarray]]
) -> None:
    mixed = config(residual, "int8").with_precision("two", "float32", "tried")
    graph = quantize_graph(residual, mixed, calibrated(residual, images))
    assert operators(graph)["QLinearConv"] == 2
    assert operators(graph)["Conv"] == 1
    for x in images[:3]:
        assert relative_error(run(graph, x)["logits"], run(residual, x)["logits"]) < 0.05


CHAIN = """
<ir_version: 10, opset_import: ["" : 18]>
chain (float[N, 3, 8, 8] x) => (float[N, 8, 8, 8] y)
<float[8, 3, 1, 1] w1, float[8, 1, 3, 3] w2, float[8] b2, float[8, 8, 1, 1] w3, float low = {0},
 float high = {6}>
{
    [one] c1 = Conv (x, w1)
    r1 = Clip (c1, low, high)
    [two] c2 = Conv <group = 8, pads = [1, 1, 1, 1]> (r1, w2, b2)
    r2 = Clip (c2, low, high)
    [three] y = Conv (r2, w3)
}
"""


def test_onnxruntime_leaves_a_float_layer_in_float(
    images: list[dict[str, np.ndarray]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between DequantizeLinear and QuantizeLinear it would not: the negative control."""
    model = with_weights(CHAIN, {"w1": (8, 3, 1, 1), "w2": (8, 1, 3, 3), "b2": (8,), "w3": (8, 8, 1, 1)})
    mixed = config(model, "int8").with_precision("two", "float32", "tried")
    calibration, file = calibrated(model, images), tmp_path / "m.onnx"
    graph = quantize_graph(model, mixed, calibration)
    ir.save(graph, file)
    _refuse_rewriting(file, graph, file)
    for x in images[:3]:
        assert relative_error(run(graph, x)["y"], run(model, x)["y"]) < 0.05
    monkeypatch.setattr(GraphBuilder, "convert", GraphBuilder.dequantize)
    rewritten = quantize_graph(model, mixed, calibration)
    ir.save(rewritten, file)
    with pytest.raises(ExportCheckError, match=r"computes two.* in integers"):
        _refuse_rewriting(file, rewritten, file)


def test_float_layers_change_no_bit(residual: ir.Model, images: list[dict[str, np.ndarray]]) -> None:
    graph = quantize_graph(residual, config(residual, "float32"), calibrated(residual, images))
    assert operators(graph) == operators(residual)
    assert np.array_equal(run(graph, images[0])["logits"], run(residual, images[0])["logits"])


def test_ranges_of_other_images_do_not_fit(residual: ir.Model, images: list[dict[str, np.ndarray]]) -> None:
    """The negative control: calibrated on images a hundred times as dark, everything is clipped."""
    dark = [{"x": x["x"] / 100} for x in images]
    graph = quantize_graph(residual, config(residual, "int8"), calibrated(residual, dark))
    assert relative_error(run(graph, images[0])["logits"], run(residual, images[0])["logits"]) > 0.2


def test_no_weight_can_saturate_unless_the_target_is_vnni(
    residual: ir.Model, images: list[dict[str, np.ndarray]]
) -> None:
    calibration = calibrated(residual, images)

    def any_saturates(target: str) -> bool:
        model = quantize_graph(residual, config(residual, "int8", target), calibration)
        weights = {n.name: n.inputs[3].const_value.numpy() for n in model.graph if n.op_type == "QLinearConv"}
        depthwise = weights.pop("three")
        assert np.abs(depthwise).max() == 127  # its kernels sum in 32 bits
        rows = [w.transpose(0, 2, 3, 1).reshape(len(w), -1) for w in weights.values()]
        rows += [n.inputs[1].const_value.numpy().T for n in model.graph if "IntegerToFloat" in n.op_type]
        assert len(rows) == 3
        return any(map(can_saturate, rows))

    assert not any_saturates("any")
    assert any_saturates("vnni")


def test_the_model_is_not_changed(residual: ir.Model, images: list[dict[str, np.ndarray]]) -> None:
    before = ir.to_proto(residual).SerializeToString()
    quantize_graph(residual, config(residual, "int8"), calibrated(residual, images))
    assert ir.to_proto(residual).SerializeToString() == before


PIXELS = """
<ir_version: 10, opset_import: ["" : 18]>
pixels (uint8[N, 8, 8, 3] image) => (float[N, 4, 8, 8] y)
<float[4, 3, 3, 3] w, float[4] b, float[3, 1, 1] mean = {120.0, 110.0, 100.0}>
{
    planes = Transpose <perm = [0, 3, 1, 2]> (image)
    f = Cast <to = 1> (planes)
    x = Sub (f, mean)
    [one] y = Conv <pads = [PADS]> (x, w, b)
}
"""


@pytest.mark.parametrize("pads", ["0, 0, 0, 0", "1, 1, 1, 1", "0, 1, 2, 1"])
def test_the_first_layer_reads_the_bytes_of_the_image(pads: str) -> None:
    text = PIXELS.replace("PADS", pads)
    if pads != "1, 1, 1, 1":
        text = text.replace("float[N, 4, 8, 8] y", "float[N, 4, H, W] y")
    model = with_weights(text, {"w": (4, 3, 3, 3), "b": (4,)})
    images = [{"image": RNG.integers(0, 256, (1, 8, 8, 3), dtype=np.uint8)} for _ in range(12)]
    graph = quantize_graph(model, config(model, "int8"), calibrated(model, images))
    assert operators(graph)["QuantizeLinear"] == operators(graph)["Sub"] == operators(graph)["Cast"] == 0
    for x in images[:4]:
        assert relative_error(run(graph, x)["y"], run(model, x)["y"]) < 0.02


@pytest.mark.parametrize("mean", ["120.0, 110.0, 100.0", "126.8, 127.4, 127.0"])
@pytest.mark.parametrize("width", [12, 13, 14, 15, 16])
@pytest.mark.parametrize("pads", ["0, 0, 0, 0", "1, 1, 1, 1", "2, 0, 1, 3"])
@pytest.mark.parametrize(("kernel", "stride"), [(3, 2), (4, 2), (5, 2), (7, 3), (4, 4)])
def test_columns_are_read_as_channels(
    mean: str, width: int, pads: str, kernel: int, stride: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = PIXELS.replace("8, 8, 3] image", f"9, {width}, 3] image").replace("120.0, 110.0, 100.0", mean)
    text = text.replace("N, 4, 8, 8] y", "N, 4, H, W] y").replace("3, 3] w", f"{kernel}, {kernel}] w")
    text = text.replace("pads = [PADS]", f"pads = [{pads}], strides = [{stride}, {stride}]")
    model = with_weights(text, {"w": (4, 3, kernel, kernel), "b": (4,)})
    # So dark that no sum of two products can saturate, on whatever CPU.
    images = [{"image": RNG.integers(0, 128, (2, 9, width, 3), dtype=np.uint8)} for _ in range(6)]
    arguments = model, config(model, "int8", "vnni"), calibrated(model, images)
    graph = quantize_graph(*arguments)
    monkeypatch.setattr(first, "_FEW_CHANNELS", 0)
    plain = quantize_graph(*arguments)
    convs = [next(n for n in g.graph if n.op_type == "QLinearConv") for g in (graph, plain)]
    steps = [list(conv.attributes.get_ints("strides")) for conv in convs]
    left, right = (int(n) for n in pads.split(", ")[1::2])
    if (kernel, stride) != (3, 2) or (left + width + right - kernel) // stride % 2 == 1:
        assert steps[0] == [stride, 1]
    assert steps[1] == [stride, stride]
    border = any(int(n) for n in pads.split(", ")) and mean.startswith("120")
    assert operators(graph)["Max"] == 2 * border
    assert sum(v.const_value.nbytes for v in graph.graph.initializers.values()) < 4000
    check_quantized_weights(model, graph, None, corrected=False)
    for x in images[:4]:
        assert np.array_equal(run(graph, x)["y"], run(plain, x)["y"])


DENSE = """
<ir_version: 10, opset_import: ["" : 18]>
dense (float[N, 256] x) => (float[N, 32] y)
<float[64, 256] w1, float[64] b1, float[64, 32] w2>
{
    [one] h = Gemm <transB = 1> (x, w1, b1)
    r = Relu (h)
    [two] y = MatMul (r, w2)
}
"""


@pytest.mark.parametrize(("kind", "limit"), [("int8", 0.03), ("int4", 0.3)])
def test_fully_connected_layers_in_blocks(kind: str, limit: float) -> None:
    model = with_weights(DENSE, {"w1": (64, 256), "b1": (64,), "w2": (64, 32)})
    x = {"x": RNG.standard_normal((3, 256)).astype(np.float32)}
    graph = quantize_graph(model, config(model, kind), CalibrationData({}))
    assert operators(graph)["MatMulNBits"] == 2
    assert 0 < relative_error(run(graph, x)["y"], run(model, x)["y"]) < limit


@pytest.mark.parametrize(("source", "kind"), [("pixels", "int8"), ("floats", "int8"), ("floats", "int4")])
def test_bias_correction_compensates_the_shift_of_rounding(source: str, kind: str) -> None:
    rng = np.random.default_rng(3)
    if source == "pixels":
        model = with_weights(PIXELS.replace("PADS", "1, 1, 1, 1"), {"w": (4, 3, 3, 3), "b": (4,)})
        inputs = [{"image": rng.integers(0, 256, (1, 8, 8, 3), dtype=np.uint8)} for _ in range(30)]
    else:
        model = with_weights(DENSE, {"w1": (64, 256), "b1": (64,), "w2": (64, 32)})
        inputs = [{"x": rng.random((1, 256), dtype=np.float32) + 1} for _ in range(30)]
    batches = [Batch(x, (str(i),), (None,)) for i, x in enumerate(inputs)]
    calibration = calibrate(
        model, batches, tensors_to_calibrate(model), channels=channels_to_calibrate(model)
    )
    plain = QuantConfig({"one": LayerPlan(kind)})
    shifts = []
    for chosen in (plain, replace(plain, bias_correction=True)):
        graph = quantize_graph(model, chosen, calibration)
        errors = np.concatenate([run(graph, x)["y"] - run(model, x)["y"] for x in inputs])
        shifts.append(np.abs(errors.mean(axis=(0, 2, 3)[: errors.ndim - 1])).mean())
    assert shifts[1] < shifts[0] / 2


@pytest.mark.parametrize(("target", "level"), [("any", 1), ("vnni", 4)])
@pytest.mark.parametrize("kind", ["int8", "int4"])
def test_small_layers_multiply_floats_so_that_all_cpus_agree(target: str, level: int, kind: str) -> None:
    model = with_weights(DENSE, {"w1": (64, 256), "b1": (64,), "w2": (64, 32)})
    inputs = [{"x": RNG.standard_normal((1, 256)).astype(np.float32)} for _ in range(3)]
    graph = quantize_graph(model, config(model, kind, target), calibrated(model, inputs))
    levels = {n.attributes.get_int("accuracy_level") for n in graph.graph if n.op_type == "MatMulNBits"}
    assert levels == {level}


def test_weights_are_rounded_once(residual: ir.Model, images: list[dict[str, np.ndarray]]) -> None:
    cache: dict[object, object] = {}
    calibration = calibrated(residual, images)
    first = quantize_graph(residual, config(residual, "int8"), calibration, cache=cache)
    count = len(cache)
    again = quantize_graph(residual, config(residual, "int8"), calibration, cache=cache)
    assert count == len(cache) == 4
    assert ir.to_proto(first).SerializeToString() == ir.to_proto(again).SerializeToString()
    quantize_graph(residual, config(residual, "int8", "vnni"), calibration, cache=cache)
    assert len(cache) == 7  # the fully connected layer is the same for both


@pytest.mark.parametrize(("kind", "limit"), [("float16", 1e-3), ("bfloat16", 1e-2)])
def test_weights_in_16_bits(
    kind: str, limit: float, residual: ir.Model, images: list[dict[str, np.ndarray]]
) -> None:
    graph = quantize_graph(residual, config(residual, kind), calibrated(residual, images))
    stored = {v.name for v in graph.graph.initializers.values() if v.dtype.itemsize == 2}
    assert stored == {"one_weight", "two_weight", "three_weight", "four_weight"}
    error = max(relative_error(run(graph, x)["logits"], run(residual, x)["logits"]) for x in images)
    assert 0 < error < limit


BRANCHES = """
<ir_version: 10, opset_import: ["" : 18]>
branches (float[N, 3, 8, 8] x) => (float[N, 4, 8, 8] y)
<float[8, 3, 3, 3] w1, float[8] b1, float[6, 8, 1, 1] w2, float[6, 8, 3, 3] w3, float[4, 12, 1, 1] w4,
 float least = {0.0}, float most = {LIMIT}>
{
    [one] c1 = Conv <pads = [1, 1, 1, 1]> (x, w1, b1)
    r1 = Clip (c1, least, most)
    [two] c2 = Conv (r1, w2)
    [three] c3 = Conv <pads = [1, 1, 1, 1]> (r1, w3)
    both = Concat <axis = 1> (c2, c3)
    r2 = Relu (both)
    [four] y = Conv (r2, w4)
}
"""


@pytest.mark.parametrize("limit", ["0.5", "6.0"])
@pytest.mark.parametrize("read_elsewhere", [False, True])
def test_concatenated_branches_and_clipped_values(
    limit: str, read_elsewhere: bool, images: list[dict[str, np.ndarray]]
) -> None:
    text = BRANCHES.replace("LIMIT", limit)
    if read_elsewhere:
        text = text.replace("[N, 4, 8, 8] y)", "[N, 4, 8, 8] y, float[N, 8, 8, 8] c1)")
    shapes = {"w1": (8, 3, 3, 3), "b1": (8,), "w2": (6, 8, 1, 1), "w3": (6, 8, 3, 3), "w4": (4, 12, 1, 1)}
    model = with_weights(text, shapes)
    graph = quantize_graph(model, config(model, "int8"), calibrated(model, images))
    assert operators(graph)["QLinearConcat"] == 1
    assert operators(graph)["Concat"] == operators(graph)["Clip"] == 0
    for x in images[:4]:
        assert relative_error(run(graph, x)["y"], run(model, x)["y"]) < 0.05


def test_branches_are_concatenated_along_another_axis_in_floats(images: list[dict[str, np.ndarray]]) -> None:
    text = BRANCHES.replace("LIMIT", "6.0").replace("axis = 1", "axis = 2").replace("[4, 12", "[4, 6")
    text = text.replace("[N, 4, 8, 8] y", "[N, 4, 16, 8] y")
    shapes = {"w1": (8, 3, 3, 3), "b1": (8,), "w2": (6, 8, 1, 1), "w3": (6, 8, 3, 3), "w4": (4, 6, 1, 1)}
    model = with_weights(text, shapes)
    graph = quantize_graph(model, config(model, "int8"), calibrated(model, images))
    assert operators(graph)["Concat"] == 1
    assert relative_error(run(graph, images[0])["y"], run(model, images[0])["y"]) < 0.05


def test_layers_without_a_range_stay_float(residual: ir.Model) -> None:
    graph = quantize_graph(residual, config(residual, "int8"), CalibrationData({}))
    assert operators(graph)["QLinearConv"] == 0
    assert operators(graph)["Conv"] == 3


SOURCES = [("exact", "Reshape"), ("fast", "Reshape"), ("operator", "Expand")]


@pytest.mark.parametrize(("form", "source"), SOURCES)
def test_first_layers_read_the_bytes_of_resized_images(form: ResizeForm, source: str) -> None:
    p = Preprocessing("rgb", 96, 96, resize="shortest", mean=(0.5,) * 3, std=(0.25,) * 3, resize_form=form)
    model = echo(p)
    add_preprocessing(model, p)
    factor = model.graph[-1].inputs[0].producer()
    assert factor.op_type == "Mul"
    value, mean = first.trace_to_bytes(factor.inputs[0])
    assert value.producer().op_type == source
    np.testing.assert_allclose(mean, 0.5 * 255)
    assert first.trace_to_bytes(factor.outputs[0]) is None


@pytest.mark.parametrize("groups", [48, 1])
def test_what_depthwise_convolutions_compute_is_exact(groups: int) -> None:
    """All 8 bits, neighbors of one sign: what saturates 16 bits elsewhere."""
    text = SINGLE.replace("GROUPS", str(groups)).replace("EACH", str(48 // groups))
    model = with_weights(text, {"w": (48, 48 // groups, 3, 3)})
    model.graph.initializers["w"].const_value = ir.tensor(np.full((48, 48 // groups, 3, 3), 1.0, np.float32))
    x = {"x": np.full((1, 48, 6, 6), 255.0, np.float32)}
    y = run(quantize_graph(model, config(model, "int8"), calibrated(model, [x])), x)["y"]
    assert relative_error(y, run(model, x)["y"]) < 0.01


SINGLE = """
<ir_version: 10, opset_import: ["" : 18]>
single (float[N, 48, 6, 6] x) => (float[N, 48, 4, 4] y) <float[48, EACH, 3, 3] w>
{ [one] y = Conv <group = GROUPS> (x, w) }
"""


def test_biases_of_channels_with_next_to_no_weight() -> None:
    model = with_weights(PIXELS.replace("PADS", "1, 1, 1, 1"), {"w": (4, 3, 3, 3), "b": (4,)})
    weight, bias = (model.graph.initializers[name].const_value.numpy().copy() for name in "wb")
    weight[:2], bias[:2] = weight[:2] * 1e-9, [300, -200]
    for name, array in (("w", weight), ("b", bias)):
        model.graph.initializers[name].const_value = ir.tensor(array, name=name)
    images = [{"image": RNG.integers(0, 256, (1, 8, 8, 3), dtype=np.uint8)} for _ in range(12)]
    graph = quantize_graph(model, config(model, "int8"), calibrated(model, images))
    assert relative_error(run(graph, images[0])["y"], run(model, images[0])["y"]) < 0.02
    scales = next(n for n in graph.graph if n.op_type == "QLinearConv").inputs[4].const_value.numpy()
    assert scales[0] > 1e-8  # of finer steps 300 would take more than 2^31
    assert scales[2] < 0.1


TOKENS = """
<ir_version: 10, opset_import: ["" : 18]>
tokens (float[N, 64, 64] x) => (float[N, 64, 64] y)
<float[64, 64] w1, float[64] b1, float[64, 64] w2, float[64, 64] w3, float[64] b3>
{
    [query] q0 = MatMul (x, w1)
    q = Add (b1, q0)
    [key] k = MatMul (x, w2)
    p = Mul (q, k)
    [out] o = MatMul (p, w3)
    s = Add (o, b3)
    y = Add (s, x)
}
"""


@pytest.mark.parametrize("corrected", [False, True])
def test_layers_with_many_rows_multiply_integers(corrected: bool) -> None:
    shapes = {"w1": (64, 64), "b1": (64,), "w2": (64, 64), "w3": (64, 64), "b3": (64,)}
    model = with_weights(TOKENS, shapes)
    inputs = [{"x": RNG.standard_normal((1, 64, 64)).astype(np.float32)} for _ in range(12)]
    plan = default_config(model)
    assert {layer.precision for layer in plan.layers.values()} == {"int8"}
    batches = [Batch(x, (str(i),), (None,)) for i, x in enumerate(inputs)]
    calibration = calibrate(
        model, batches, tensors_to_calibrate(model), channels=channels_to_calibrate(model)
    )
    assert {len(c.mean) for c in calibration.channels.values()} == {64}
    graph = quantize_graph(model, replace(plan, bias_correction=corrected), calibration)
    assert operators(graph)["MatMulIntegerToFloat"] == 3
    assert operators(graph)["QuantizeLinear"] == 2  # both readers of x share one
    assert operators(graph)["Add"] == 1
    check_quantized_weights(model, graph, calibration, corrected=corrected)
    for x in inputs[:3]:
        assert relative_error(run(graph, x)["y"], run(model, x)["y"]) < 0.05
    bias = next(n for n in graph.graph if n.name == "out").inputs[6]
    bias.const_value = ir.tensor(bias.const_value.numpy() + 1e-3, name=bias.name)
    with pytest.raises(ExportCheckError, match=r"out: bias|weight b3"):
        check_quantized_weights(model, graph, calibration, corrected=corrected)


def test_few_rows_and_few_products_stay_floats() -> None:
    short = with_weights(TOKENS.replace("N, 64", "N, 63"), {"w1": (64, 64), "w2": (64, 64), "w3": (64, 64)})
    assert {plan.reason for plan in default_config(short).layers.values()} == {"258048 multiply-adds"}
    assert default_config(short).is_float
    open_length = with_weights(TOKENS.replace("N, 64", "N, T"), {"w1": (64, 64)})
    assert [rows_per_image(node) for node in linear_layers(open_length)] == [1]
