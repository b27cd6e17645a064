"""Graphs in other opsets: the same outputs, or a refusal that names the operator."""

from __future__ import annotations

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from onnx import parser

from cnntk.exporters._opset import change_opset, ir_version_of
from cnntk.exporters.session import GraphSession
from cnntk.runtime.errors import CaptureError

X = "float[N, 4, 6, 6] x"
AXES = "<int64[2] axes = {2, 3}>"
BODIES = {
    "reduction": f"float[N, 4] y) {AXES} {{ y = ReduceMean<keepdims = 0>(x, axes) }}",
    "reduction of all": "float y) { y = ReduceMax<keepdims = 0>(x) }",
    "sum": f"float[N, 4] y) {AXES} {{ y = ReduceSum<keepdims = 0>(x, axes) }}",
    "unsqueeze": "float[N, 1, 4, 6, 6] y) <int64[1] axes = {1}> { y = Unsqueeze(x, axes) }",
    "split": "float[N, 3, 6, 6] y, float[N, 1, 6, 6] z) <int64[2] s = {3, 1}> "
    "{ y, z = Split<axis = 1>(x, s) }",
    "equal split": "float[N, 2, 6, 6] y, float[N, 2, 6, 6] z) { y, z = Split<axis = 1, num_outputs = 2>(x) }",
    "softmax": "float[N, 4, 6, 6] y) { y = Softmax<axis = 3>(x) }",
    "pad": "float[N, 4, 8, 7] y) <int64[4] p = {1, 0, 1, 1}, float c = {2.0}, int64[2] axes = {2, -1}> "
    "{ y = Pad(x, p, c, axes) }",
    "resize": 'float[N, 4, 12, 12] y) <float[4] s = {1, 1, 2, 2}> { y = Resize<mode = "linear">(x, , s) }',
    "shape": "int64[2] y) { y = Shape<start = 1, end = 3>(x) }",
    "whole shape": "int64[4] y) { y = Shape(x) }",
    "reshape": "float[N, 144] y) <int64[2] s = {-1, 144}> { y = Reshape<allowzero = 1>(x, s) }",
    "hard swish": "float[N, 4, 6, 6] y) { y = HardSwish(x) }",
    "batch norm": "float[N, 4, 6, 6] y) <float[4] a = {1, 2, 3, 4}> "
    "{ y = BatchNormalization<training_mode = 0>(x, a, a, a, a) }",
    "pool": "float[N, 4, 3, 3] y) { y = AveragePool<kernel_shape = [2, 2], strides = [2, 2]>(x) }",
}


def graph(body: str, opset: int = 18) -> ir.Model:
    text = f'<ir_version: 10, opset_import: ["" : {opset}]> g ({X}) => ({body}'
    return ir.serde.deserialize_model(onnx.shape_inference.infer_shapes(parser.parse_model(text)))


@pytest.mark.parametrize("target", [11, 13, 17, 21, 25])
@pytest.mark.parametrize("name", BODIES)
def test_outputs_stay_the_same(name: str, target: int) -> None:
    model = graph(BODIES[name])
    inputs = {"x": np.random.default_rng(0).normal(size=(2, 4, 6, 6)).astype(np.float32)}
    before = GraphSession(model).run(inputs)
    change_opset(model, target)
    proto = ir.serde.serialize_model(model)
    onnx.checker.check_model(proto, full_check=True)
    assert (proto.opset_import[0].version, proto.ir_version) == (target, ir_version_of(target))
    after = GraphSession(model).run(inputs)
    for output, array in before.items():
        np.testing.assert_allclose(after[output], array, rtol=2e-6, atol=1e-6)


@pytest.mark.parametrize(
    ("body", "target", "message"),
    [
        (
            "float[N, 4, 6, 6] y) <float[6] s = {1, 1, 1, 1, 1, 1}> { y = LayerNormalization(x, s) }",
            16,
            "--opset 16: LayerNormalization y needs LayerNormalization, which exists from opset 17 on; use "
            "--opset 17 or newer",
        ),
        ("float[N, 4, 6, 6] y) { y = Mish(x) }", 17, "Mish, which exists from opset 18 on"),
        (
            'float[N, 4, 3, 3] y) <int64[4] s = {1, 4, 3, 3}> { y = Resize<mode = "linear", antialias = 1>'
            "(x, , , s) }",
            17,
            "Resize with antialias=1, which exists from opset 18 on",
        ),
        ("float[N, 4, 6, 6] y) { y = Softmax<axis = 1>(x) }", 12, "Softmax over another axis than the last"),
        (
            "float[N, 144] y) <int64[2] s = {0, 144}> { y = Reshape<allowzero = 1>(x, s) }",
            13,
            "Reshape with allowzero=1, which exists from opset 14 on",
        ),
        (
            "float y) { s = Shape<start = 0, end = 1>(x) y = ReduceMean<keepdims = 0>(x, s) }",
            17,
            "ReduceMean with computed axes, which exists from opset 18 on",
        ),
        (
            "int32[N, 4, 6, 6] y) { i = Cast<to = 6>(x) y = Add(i, i) z = Relu(i) }",
            13,
            "Relu of int32, which exists from opset 14 on",
        ),
        (
            "float[N, 4, 6, 6] y) <float[2] s = {1, 1}> { y = GroupNormalization<num_groups = 2>(x, s, s) }",
            21,
            "GroupNormalization, whose scale has another size there",
        ),
    ],
)
def test_what_does_not_exist_there_is_named(body: str, target: int, message: str) -> None:
    model = graph(body)
    with pytest.raises(CaptureError, match=message.replace("(", r"\(")) as raised:
        change_opset(model, target)
    assert "\n" not in str(raised.value)


def test_weights_that_became_attributes_are_gone() -> None:
    model = graph(BODIES["reduction"])
    change_opset(model, 17)
    assert not model.graph.initializers
    assert [*model.graph.node(0).attributes["axes"].as_ints()] == [2, 3]
    before = model.clone()
    change_opset(model, 17)
    assert ir.serde.serialize_model(model) == ir.serde.serialize_model(before)
