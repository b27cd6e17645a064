from __future__ import annotations

from collections import Counter
from dataclasses import replace

import numpy as np
import onnx
import onnx.parser
import onnx_ir as ir
import onnxruntime as ort
import pytest

from cnntk.data.batches import Batch
from cnntk.quantization import first_conv as first
from cnntk.quantization.calibration import Calibration, calibrate
from cnntk.quantization.config import LayerPlan, Recipe, linear_layers
from cnntk.quantization.quantizer import channels_to_watch, quantized, tensors_to_watch
from cnntk.quantization.weights import saturates

RNG = np.random.default_rng(0)

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


def seen(model: ir.Model, inputs: list[dict[str, np.ndarray]]) -> Calibration:
    batches = [Batch(x, (str(i),), (None,)) for i, x in enumerate(inputs)]
    return calibrate(model, batches, tensors_to_watch(model))


def recipe(model: ir.Model, kind: str, target: str = "any") -> Recipe:
    return Recipe({str(n.name): LayerPlan(kind) for n in linear_layers(model)}, target)


def operators(model: ir.Model) -> Counter[str]:
    return Counter(node.op_type for node in model.graph)


def far(found: np.ndarray, expected: np.ndarray) -> float:
    return float(np.abs(found - expected).max() / np.abs(expected).max())


@pytest.fixture
def residual() -> ir.Model:
    shapes = {"w1": (8, 3, 3, 3), "b1": (8,), "w2": (8, 8, 3, 3), "b2": (8,), "w3": (8, 1, 3, 3)}
    return with_weights(RESIDUAL, {**shapes, "w4": (5, 8), "b4": (5,)})


@pytest.fixture
def images() -> list[dict[str, np.ndarray]]:
    return [{"x": RNG.standard_normal((1, 3, 8, 8)).astype(np.float32)} for _ in range(12)]


@pytest.mark.parametrize("target", ["any", "vnni"])
def test_a_residual_network_answers_nearly_the_same(
    residual: ir.Model, images: list[dict[str, np.ndarray]], target: str
) -> None:
    found = quantized(residual, recipe(residual, "int8", target), seen(residual, images))
    assert operators(found)["QLinearConv"] == 3
    assert operators(found)["QLinearAdd"] == 1
    assert operators(found)["NhwcMaxPool"] == 1
    assert operators(found)["QuantizeLinear"] == 1  # the input, and nothing on the way
    for x in images:
        assert far(run(found, x)["logits"], run(residual, x)["logits"]) < 0.05


def test_a_layer_that_stays_float_is_between_conversions(
    residual: ir.Model, images: list[dict[str, np.ndarray]]
) -> None:
    mixed = recipe(residual, "int8").with_kind("two", "float32", "tried")
    found = quantized(residual, mixed, seen(residual, images))
    assert operators(found)["QLinearConv"] == 2
    assert operators(found)["Conv"] == 1
    for x in images[:3]:
        assert far(run(found, x)["logits"], run(residual, x)["logits"]) < 0.05


def test_float_layers_change_no_bit(residual: ir.Model, images: list[dict[str, np.ndarray]]) -> None:
    found = quantized(residual, recipe(residual, "float32"), seen(residual, images))
    assert operators(found) == operators(residual)
    assert np.array_equal(run(found, images[0])["logits"], run(residual, images[0])["logits"])


def test_ranges_of_other_images_are_not_these(
    residual: ir.Model, images: list[dict[str, np.ndarray]]
) -> None:
    """The negative control: calibrated on images a hundred times as dark, everything is clipped."""
    dark = [{"x": x["x"] / 100} for x in images]
    found = quantized(residual, recipe(residual, "int8"), seen(residual, dark))
    assert far(run(found, images[0])["logits"], run(residual, images[0])["logits"]) > 0.2


def test_no_weight_can_saturate_unless_vnni_is_asked_for(
    residual: ir.Model, images: list[dict[str, np.ndarray]]
) -> None:
    calibration = seen(residual, images)

    def any_saturates(target: str) -> bool:
        model = quantized(residual, recipe(residual, "int8", target), calibration)
        weights = [n.inputs[3].const_value.numpy() for n in model.graph if n.op_type == "QLinearConv"]
        return any(saturates(w.transpose(0, 2, 3, 1).reshape(len(w), -1)) for w in weights)

    assert not any_saturates("any")
    assert any_saturates("vnni")


def test_the_model_that_was_given_is_as_it_was(
    residual: ir.Model, images: list[dict[str, np.ndarray]]
) -> None:
    before = ir.to_proto(residual).SerializeToString()
    quantized(residual, recipe(residual, "int8"), seen(residual, images))
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
def test_the_first_layer_reads_the_pixels_themselves(pads: str) -> None:
    text = PIXELS.replace("PADS", pads)
    if pads != "1, 1, 1, 1":
        text = text.replace("float[N, 4, 8, 8] y", "float[N, 4, H, W] y")
    model = with_weights(text, {"w": (4, 3, 3, 3), "b": (4,)})
    images = [{"image": RNG.integers(0, 256, (1, 8, 8, 3), dtype=np.uint8)} for _ in range(12)]
    found = quantized(model, recipe(model, "int8"), seen(model, images))
    assert operators(found)["QuantizeLinear"] == operators(found)["Sub"] == operators(found)["Cast"] == 0
    for x in images[:4]:
        assert far(run(found, x)["y"], run(model, x)["y"]) < 0.02


@pytest.mark.parametrize("width", [12, 13, 14, 15])
@pytest.mark.parametrize("pads", ["0, 0, 0, 0", "1, 1, 1, 1", "2, 0, 1, 3"])
@pytest.mark.parametrize(("kernel", "stride"), [(4, 2), (5, 2), (7, 3)])
def test_columns_are_read_as_channels(
    width: int, pads: str, kernel: int, stride: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = PIXELS.replace("8, 8, 3] image", f"9, {width}, 3] image")
    text = text.replace("N, 4, 8, 8] y", "N, 4, H, W] y").replace("3, 3] w", f"{kernel}, {kernel}] w")
    text = text.replace("pads = [PADS]", f"pads = [{pads}], strides = [{stride}, {stride}]")
    model = with_weights(text, {"w": (4, 3, kernel, kernel), "b": (4,)})
    # So dark that no sum of two products can saturate, on whatever CPU.
    images = [{"image": RNG.integers(0, 128, (2, 9, width, 3), dtype=np.uint8)} for _ in range(6)]
    given = model, recipe(model, "int8", "vnni"), seen(model, images)
    found = quantized(*given)
    monkeypatch.setattr(first, "_SHORT", 0)
    plain = quantized(*given)
    for graph, strides in ((found, [stride, 1]), (plain, [stride, stride])):
        (conv,) = (node for node in graph.graph if node.op_type == "QLinearConv")
        assert list(conv.attributes.get_ints("strides")) == strides
    for x in images[:4]:
        assert np.array_equal(run(found, x)["y"], run(plain, x)["y"])


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
    found = quantized(model, recipe(model, kind), Calibration({}))
    assert operators(found)["MatMulNBits"] == 2
    assert 0 < far(run(found, x)["y"], run(model, x)["y"]) < limit


@pytest.mark.parametrize(("of", "kind"), [("pixels", "int8"), ("floats", "int8"), ("floats", "int4")])
def test_corrected_biases_take_away_what_rounding_shifts(of: str, kind: str) -> None:
    rng = np.random.default_rng(3)
    if of == "pixels":
        model = with_weights(PIXELS.replace("PADS", "1, 1, 1, 1"), {"w": (4, 3, 3, 3), "b": (4,)})
        inputs = [{"image": rng.integers(0, 256, (1, 8, 8, 3), dtype=np.uint8)} for _ in range(30)]
    else:
        model = with_weights(DENSE, {"w1": (64, 256), "b1": (64,), "w2": (64, 32)})
        inputs = [{"x": rng.random((1, 256), dtype=np.float32) + 1} for _ in range(30)]
    batches = [Batch(x, (str(i),), (None,)) for i, x in enumerate(inputs)]
    known = calibrate(model, batches, tensors_to_watch(model), channels=channels_to_watch(model))
    plain = Recipe({"one": LayerPlan(kind)})
    shifts = []
    for chosen in (plain, replace(plain, corrected=True)):
        found = quantized(model, chosen, known)
        errors = np.concatenate([run(found, x)["y"] - run(model, x)["y"] for x in inputs])
        shifts.append(np.abs(errors.mean(axis=(0, 2, 3)[: errors.ndim - 1])).mean())
    assert shifts[1] < shifts[0] / 2


@pytest.mark.parametrize(("target", "level"), [("any", 1), ("vnni", 4)])
@pytest.mark.parametrize("kind", ["int8", "int4"])
def test_small_layers_multiply_floats_so_that_all_cpus_agree(target: str, level: int, kind: str) -> None:
    model = with_weights(DENSE, {"w1": (64, 256), "b1": (64,), "w2": (64, 32)})
    inputs = [{"x": RNG.standard_normal((1, 256)).astype(np.float32)} for _ in range(3)]
    found = quantized(model, recipe(model, kind, target), seen(model, inputs))
    levels = {n.attributes.get_int("accuracy_level") for n in found.graph if n.op_type == "MatMulNBits"}
    assert levels == {level}


def test_weights_are_rounded_once(residual: ir.Model, images: list[dict[str, np.ndarray]]) -> None:
    memo: dict[object, object] = {}
    known = seen(residual, images)
    first = quantized(residual, recipe(residual, "int8"), known, memo=memo)
    count = len(memo)
    again = quantized(residual, recipe(residual, "int8"), known, memo=memo)
    assert count == len(memo) == 4
    assert ir.to_proto(first).SerializeToString() == ir.to_proto(again).SerializeToString()
    quantized(residual, recipe(residual, "int8", "vnni"), known, memo=memo)
    assert len(memo) == 7  # the fully connected layer is the same for both


@pytest.mark.parametrize(("kind", "limit"), [("float16", 1e-3), ("bfloat16", 1e-2)])
def test_weights_in_16_bits(
    kind: str, limit: float, residual: ir.Model, images: list[dict[str, np.ndarray]]
) -> None:
    found = quantized(residual, recipe(residual, kind), seen(residual, images))
    stored = {v.name for v in found.graph.initializers.values() if v.dtype.itemsize == 2}
    assert stored == {"one_weight", "two_weight", "three_weight", "four_weight"}
    apart = max(far(run(found, x)["logits"], run(residual, x)["logits"]) for x in images)
    assert 0 < apart < limit


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
@pytest.mark.parametrize("seen_elsewhere", [False, True])
def test_branches_meet_and_values_are_limited(
    limit: str, seen_elsewhere: bool, images: list[dict[str, np.ndarray]]
) -> None:
    text = BRANCHES.replace("LIMIT", limit)
    if seen_elsewhere:
        text = text.replace("[N, 4, 8, 8] y)", "[N, 4, 8, 8] y, float[N, 8, 8, 8] c1)")
    shapes = {"w1": (8, 3, 3, 3), "b1": (8,), "w2": (6, 8, 1, 1), "w3": (6, 8, 3, 3), "w4": (4, 12, 1, 1)}
    model = with_weights(text, shapes)
    found = quantized(model, recipe(model, "int8"), seen(model, images))
    assert operators(found)["QLinearConcat"] == 1
    assert operators(found)["Concat"] == operators(found)["Clip"] == 0
    for x in images[:4]:
        assert far(run(found, x)["y"], run(model, x)["y"]) < 0.05


def test_branches_of_another_axis_meet_in_floats(images: list[dict[str, np.ndarray]]) -> None:
    text = BRANCHES.replace("LIMIT", "6.0").replace("axis = 1", "axis = 2").replace("[4, 12", "[4, 6")
    text = text.replace("[N, 4, 8, 8] y", "[N, 4, 16, 8] y")
    shapes = {"w1": (8, 3, 3, 3), "b1": (8,), "w2": (6, 8, 1, 1), "w3": (6, 8, 3, 3), "w4": (4, 6, 1, 1)}
    model = with_weights(text, shapes)
    found = quantized(model, recipe(model, "int8"), seen(model, images))
    assert operators(found)["Concat"] == 1
    assert far(run(found, images[0])["y"], run(model, images[0])["y"]) < 0.05


def test_what_has_no_range_stays_float(residual: ir.Model) -> None:
    found = quantized(residual, recipe(residual, "int8"), Calibration({}))
    assert operators(found)["QLinearConv"] == 0
    assert operators(found)["Conv"] == 3
