from dataclasses import replace

import numpy as np
import onnx_ir as ir
import pytest
from torch import nn

from cnntk.exporters._prepare import prepare
from cnntk.exporters.checks._candidate import Candidate
from cnntk.exporters.checks._precision import check_float16
from cnntk.exporters.checks.reference import reference_outputs
from cnntk.exporters.float32_graph import to_float32
from cnntk.exporters.options import ExportOptions
from cnntk.exporters.session import GraphSession
from cnntk.exporters.sources import open_source
from cnntk.runtime.errors import ParityError


@pytest.fixture
def candidate(small_cnn: nn.Module) -> Candidate:
    source = open_source(small_cnn.half(), ExportOptions((3, 8, 8)))
    candidate = prepare(source, ExportOptions()).candidate
    expected = reference_outputs(candidate.reference, candidate.inputs, candidate.eps)
    return replace(candidate, wait_for_reference=lambda: expected)


def test_a_sound_graph_holds(candidate: Candidate) -> None:
    assert "without float16 rounding" in check_float16(candidate).detail


@pytest.mark.parametrize(("factor", "index"), [(1.03, 0), (0.0, 0), (-1.0, 0), (1.0 + 2**-6, None)])
def test_a_wrong_weight_is_detected(candidate: Candidate, factor: float, index: int | None) -> None:
    """One of the last layer's; or all of them, each by 16 roundings."""
    (gemm,) = [node for node in candidate.model.graph if node.op_type == "Gemm"]
    value = gemm.inputs[1]
    weights = value.const_value.numpy().copy()
    flat = weights.reshape(-1)
    flat[np.abs(flat).argmax() if index is not None else slice(None)] *= np.float16(factor)
    value.const_value = ir.tensor(weights, name=value.name)
    with pytest.raises(ParityError, match=r"the same graph in float32 differs from float64 by .*in float16"):
        check_float16(candidate)


def test_weights_that_are_off_by_a_rounding_hold(candidate: Candidate) -> None:
    (gemm,) = [node for node in candidate.model.graph if node.op_type == "Gemm"]
    value = gemm.inputs[1]
    weights = value.const_value.numpy()
    up = np.random.default_rng(0).random(weights.shape) < 0.5
    near = np.where(up, np.nextafter(weights, np.float16(1)), np.nextafter(weights, np.float16(-1)))
    value.const_value = ir.tensor(near, name=value.name)
    assert check_float16(candidate)


def test_nan_is_detected(candidate: Candidate) -> None:
    (gemm,) = [node for node in candidate.model.graph if node.op_type == "Gemm"]
    value = gemm.inputs[2]
    value.const_value = ir.tensor(np.full_like(value.const_value.numpy(), np.nan), name=value.name)
    with pytest.raises(ParityError, match="differs from float64 by nan"):
        check_float16(candidate)


def test_every_float16_becomes_float32_and_the_graph_stays() -> None:
    model = ir.from_onnx_text(
        # The parser takes float16 as bits: 15360 is 1, 16384 is 2, 16896 is 3.
        '<ir_version: 10, opset_import: ["" : 18]> g (float16[N, 3] x) => (float16[N, 3] y) '
        "{ c = Constant <value = float16[3] {15360, 16384, 16896}> () s = Shape (x) "
        "f = ConstantOfShape <value = float16[1] {16384}> (s) w = Cast <to = 1> (x) h = Cast <to = 10> (w) "
        "a = Mul (h, f) y = Add (a, c) }"
    )
    before = str(model)
    wide = to_float32(model)
    assert str(model) == before
    x = np.array([[0.1, 60000, -1]], np.float32)
    np.testing.assert_array_equal(GraphSession(wide).run({"x": x})["y"], x * 2 + np.float32([1, 2, 3]))
    assert np.isinf(GraphSession(model).run({"x": x.astype(np.float16)})["y"]).any()


def test_a_graph_that_can_not_be_widened_says_so(candidate: Candidate) -> None:
    """Here an operator between two types, of which only one is widened."""
    model = candidate.model.clone()
    (logits, *_) = model.graph.outputs
    node = ir.node("BitShift", [logits, logits], {"direction": "LEFT"})
    node.outputs[0].name, node.outputs[0].type = "shifted", logits.type
    model.graph.append(node)
    model.graph.outputs.append(node.outputs[0])
    assert check_float16(replace(candidate, model=model)).detail.startswith(
        "not compared: onnxruntime can't run the graph"
    )
