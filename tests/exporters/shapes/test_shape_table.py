"""Layers and shapes, on networks that torch exported and on graphs by hand."""

import json
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import onnx
import onnx.parser
import onnx_ir as ir
import onnxruntime
import pytest
import torch
from torch import nn

from cnntk.exporters.capture import Captured, capture
from cnntk.exporters.options import ExportOptions
from cnntk.exporters.shapes.shape_table import (
    ShapeRow,
    inferred_shapes,
    layer_table,
    shape_formulas,
    shape_table,
)
from cnntk.exporters.source import Source
from cnntk.exporters.sources import open_source
from cnntk.models.zoo import build
from cnntk.runtime.artifact.spec import Layer, Network, TensorSpec
from cnntk.runtime.codec import as_json

BATCHES = (1, 2, 3, 8)


def captured(module: nn.Module, *shape: int) -> Captured:
    spec = TensorSpec("input", "float32", ("N", *shape))
    return capture(Source("net", (spec,), module=module.eval()))


def graph(text: str, **weights: tuple[int, ...]) -> ir.Model:
    """A graph from ONNX's text form; the weights are ones."""
    proto = onnx.parser.parse_model(f'<ir_version: 10, opset_import: ["" : 18]>\n{text}')
    for name, shape in weights.items():
        proto.graph.initializer.append(onnx.numpy_helper.from_array(np.ones(shape, np.float32), name))
    return ir.from_proto(proto)


def torch_shapes(of: Captured) -> dict[str, tuple[object, ...]]:
    nodes = of.program.graph.nodes
    return {n.name: tuple(n.meta["val"].shape) for n in nodes if hasattr(n.meta.get("val"), "shape")}


def run_shapes(model: ir.Model, batches: tuple[int, ...] = BATCHES) -> dict[int, dict[str, tuple[int, ...]]]:
    """What onnxruntime returned for every value of the graph."""
    proto = ir.to_proto(model)
    names = [v.name for node in model.graph for v in node.outputs]
    del proto.graph.output[:]
    proto.graph.output.extend(onnx.ValueInfoProto(name=name) for name in names)
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(proto.SerializeToString(), options)
    shape = session.get_inputs()[0].shape[1:]
    result = {}
    for batch in batches:
        image = np.zeros((batch, *shape), np.float32)
        arrays = session.run(names, {session.get_inputs()[0].name: image})
        result[batch] = {name: a.shape for name, a in zip(names, arrays, strict=True)}
    return result


class Everything(nn.Module):
    """A skip connection, attention, a transposed convolution, concatenation, and rounding up."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3, padding=1, stride=2)
        self.norm = nn.BatchNorm2d(8)
        self.depthwise = nn.Conv2d(8, 8, (3, 5), padding=(1, 2), groups=8)
        self.attention = nn.MultiheadAttention(8, 2, batch_first=True)
        self.up = nn.ConvTranspose2d(16, 4, 4, 2, 1, output_padding=1)
        self.dense = nn.Linear(4, 5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = torch.relu(self.norm(self.stem(x)))
        x = x + self.depthwise(x)
        tokens = x.flatten(2).transpose(1, 2)
        tokens, _ = self.attention(tokens, tokens, tokens)
        x = torch.cat([x, tokens.transpose(1, 2).reshape(x.shape)], 1)
        x = nn.functional.max_pool2d(self.up(x), 3, 2, 1, ceil_mode=True)
        return self.dense(x.mean((2, 3))).softmax(-1)


@pytest.fixture(scope="module")
def everything() -> Captured:
    return captured(Everything(), 3, 16, 16)


def row(rows: tuple[Layer, ...], name: str) -> Layer:
    return next(r for r in rows if r.name == name)


def test_a_row_a_layer(small_cnn: nn.Module) -> None:
    rows = {r.op: r for r in layer_table(captured(small_cnn, 3, 8, 8).model)}
    conv, gemm = rows["Conv"], rows["Gemm"]
    assert conv.shape == ("N", 4, 8, 8)
    assert conv.multiply_adds == 4 * 8 * 8 * 3 * 3 * 3
    assert (conv.weights, conv.inputs, conv.activation_bytes) == (("0.weight", "0.bias"), ("input",), 1024)
    assert (gemm.name, gemm.shape, gemm.multiply_adds) == ("6", ("N", 5), 64 * 5)
    assert rows["Reshape"].parameters == 0
    assert "Shape" not in rows
    assert "Constant" not in rows


def test_lenets_figures_are_those_of_the_formula() -> None:
    rows = layer_table(captured(build(Network("lenet")), 1, 28, 28).model)
    convolutions = 6 * 28 * 28 * 25 + 16 * 10 * 10 * 6 * 25
    dense = 400 * 120 + 120 * 84 + 84 * 10
    assert sum(r.multiply_adds for r in rows) == convolutions + dense
    assert sum(r.parameters for r in rows) == 61_706
    assert [r.receptive_field for r in rows][:7] == [5, 5, 6, 14, 14, 16, 16]
    assert row(rows, "3").jump == 2


def test_multiply_adds_of_groups_transposes_and_attention(everything: Captured) -> None:
    rows = layer_table(everything.model)
    assert row(rows, "depthwise").multiply_adds == 8 * 8 * 8 * 1 * 15
    assert row(rows, "up").multiply_adds == 16 * 8 * 8 * 4 * 16
    products = [r.multiply_adds for r in rows if r.op == "MatMul" and not r.weights]
    assert products == [2 * 64 * 64 * 4, 2 * 64 * 64 * 4]


class Attention(nn.Module):
    """Tokens that attend to each other; a scale that is given is cast to their type in the graph."""

    def __init__(self, heads: int, scale: float | None) -> None:
        super().__init__()
        self.heads, self.scale = heads, scale

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        tokens = x.unflatten(2, (self.heads, -1)).transpose(1, 2)
        return nn.functional.scaled_dot_product_attention(tokens, tokens, tokens, scale=self.scale)


@pytest.mark.parametrize("scale", [None, 0.25], ids=["own scale", "given scale"])
@pytest.mark.parametrize(("heads", "tokens", "wide"), [(1, 7, 4), (2, 5, 4), (3, 4, 6)])
def test_attention_is_two_products_of_activations(
    heads: int, tokens: int, wide: int, scale: float | None
) -> None:
    model = captured(Attention(heads, scale), tokens, heads * wide).model
    rows = layer_table(model)
    products = [r for r in rows if r.op == "MatMul"]
    assert [r.multiply_adds for r in products] == [heads * tokens * tokens * wide] * 2
    assert [r.shape for r in products] == [("N", heads, tokens, tokens), ("N", heads, tokens, wide)]
    assert all("?" not in r.shape for r in rows)
    assert [r.message for r in shape_table(model, {}, run_shapes(model)) if not r.agree] == []


def test_a_vit_of_transformers_follows_its_formula() -> None:
    pytest.importorskip("transformers")
    image, patch, wide, inner, heads, blocks, classes = 24, 8, 12, 20, 3, 2, 5
    fields = {
        "image_size": image, "patch_size": patch, "hidden_size": wide, "intermediate_size": inner,
        "num_attention_heads": heads, "num_hidden_layers": blocks, "num_labels": classes,
    }  # fmt: skip
    source = open_source("transformers:vit", ExportOptions(kwargs=fields, random=True))
    rows = layer_table(capture(source).model)
    patches = (image // patch) ** 2
    tokens = patches + 1
    attention = 2 * heads * tokens * tokens * (wide // heads)
    block = 4 * tokens * wide * wide + attention + 2 * tokens * wide * inner
    whole = patches * wide * 3 * patch * patch + blocks * block + wide * classes
    assert sum(r.multiply_adds for r in rows) == whole
    products = [r.multiply_adds for r in rows if r.op == "MatMul" and not r.weights]
    assert products == [attention // 2] * 2 * blocks


def test_a_transposed_weight_is_its_layers(everything: Captured) -> None:
    projection = next(r for r in layer_table(everything.model) if "attention.in_proj_weight" in r.weights)
    assert (projection.op, projection.parameters) == ("MatMul", 24 * 8)


def test_a_shared_weight_counts_once() -> None:
    text = "g (float[N, 4] x) => (float[N, 4] z) <float[4, 4] w> { y = MatMul(x, w) z = MatMul(y, w) }"
    first, second = layer_table(graph(text, w=(4, 4)))
    assert (first.parameters, second.parameters) == (16, 0)
    assert second.weights == ("w",)


def test_a_row_survives_the_spec(everything: Captured) -> None:
    for r in layer_table(everything.model):
        assert Layer(**{**asdict(r), "shape": tuple(json.loads(json.dumps(r.shape)))}) == r


def test_all_four_agree(everything: Captured) -> None:
    rows = shape_table(everything.model, torch_shapes(everything), run_shapes(everything.model))
    assert [r.message for r in rows if not r.agree] == []
    by_op = {r.op: r for r in rows}
    assert by_op["Conv"].run == ("N", 8, 8, 8)
    assert by_op["Gemm"].formula == by_op["Gemm"].torch == ("N", 5)
    assert sum(r.formula is not None for r in rows) == len(rows)
    json.dumps(as_json(rows))


@pytest.mark.parametrize("column", ["torch", "run"])
def test_a_wrong_column_is_caught(everything: Captured, column: str) -> None:
    of, run = torch_shapes(everything), run_shapes(everything.model)
    if column == "torch":
        of["relu"] = (of["relu"][0], 8, 8, 7)
    else:
        run[3]["relu"] = (3, 8, 8, 7)
    (wrong,) = [r for r in shape_table(everything.model, of, run) if not r.agree]
    assert wrong.value == "relu"
    for part in ("Relu", "formula Nx8x8x8", "ONNX Nx8x8x8", "7"):
        assert part in wrong.message


def test_a_wrong_formula_is_caught(everything: Captured, monkeypatch: pytest.MonkeyPatch) -> None:
    right = shape_formulas(everything.model)
    wrong = tuple(replace(f, shape=("N", 8, 9, 9)) if f.op == "Conv" else f for f in right)
    monkeypatch.setattr("cnntk.exporters.shapes.shape_table.shape_formulas", lambda model: wrong)
    bad = [r for r in shape_table(everything.model, {}, run_shapes(everything.model)) if not r.agree]
    assert {r.layer for r in bad} == {"stem", "depthwise"}


def test_a_wrong_inference_of_onnx_alone_is_no_disagreement() -> None:
    """ONNX counts a last window of a pool that starts in the padding; torch and onnxruntime leave it out."""
    module = nn.Sequential(nn.MaxPool2d(2, 2, 1, ceil_mode=True), nn.ReLU())
    result = captured(module, 3, 15, 15)
    runs = run_shapes(result.model)
    rows = shape_table(result.model, torch_shapes(result), runs)
    assert [(r.formula, r.onnx, r.only_onnx_differs) for r in rows] == [
        (("N", 3, 8, 8), ("N", 3, 9, 9), True)
    ] * 2
    assert all(r.agree for r in rows)
    runs[2] = dict.fromkeys(runs[2], (2, 3, 9, 9))
    assert not any(r.agree for r in shape_table(result.model, torch_shapes(result), runs))
    without_runs = shape_table(result.model, torch_shapes(result), {})
    assert not any(r.agree for r in without_runs)


def test_onnx_inference_that_fails_knows_no_shape() -> None:
    model = graph("g (float[N, 4] x) => (float[N, 4] y) <float[3, 1, 1] w = {1, 2, 3}> { y = Add(x, w) }")
    model.graph.initializers["w"].name = "x"  # two values of one name
    with pytest.raises(onnx.shape_inference.InferenceError):
        onnx.shape_inference.infer_shapes(ir.to_proto(model), data_prop=True)
    assert inferred_shapes(model) == {}


def test_a_batch_burnt_in_is_caught() -> None:
    text = "g (float[N, 4] x) => (float[N, 4] y) { y = Relu(x) }"
    (row,) = shape_table(graph(text), {"y": (2, 4)}, {})
    assert not row.agree
    (row,) = shape_table(graph(text), {"y": ("s77", 4)}, {1: {"y": (1, 4)}, 2: {"y": (1, 4)}})
    assert not row.agree


def test_unknown_shapes_are_no_disagreement() -> None:
    text = "g (float[N, 4] x) => (float[N, k] y) { y = Compress <axis = 1> (x, keep) }"
    (row,) = shape_table(graph(text.replace("x) =>", "x, bool[4] keep) =>")), {}, {2: {"y": (2, 3)}})
    assert row.agree
    assert (row.formula, row.torch) == (None, None)


def test_a_run_that_follows_no_batch_shows_as_it_was() -> None:
    text = "g (float[N, 4] x) => (float[N, 4] y) { y = Relu(x) }"
    (row,) = shape_table(graph(text), {}, {1: {"y": (1, 4)}, 2: {"y": (3, 4)}})
    assert (row.run, row.agree) == (("1|3", 4), False)


def test_inference_ignores_recorded_shapes() -> None:
    """The recorded shape of y is wrong."""
    model = graph(
        "g (float[N, 1, 8, 8] x) => (float[N, 1, 8, 8] z) <float[N, 1, 5, 5] y, float[1, 1, 3, 3] w>"
        "{ y = Conv <pads = [1, 1, 1, 1]> (x, w) z = Relu(y) }",
        w=(1, 1, 3, 3),
    )
    assert inferred_shapes(model)["y"] == ("N", 1, 8, 8)


def test_weights_are_not_copied_and_stay() -> None:
    model = graph("g (float[N, 4096] x) => (float[N, 4096] y) { y = MatMul(x, w) }", w=(4096, 4096))
    weight = model.graph.initializers["w"]
    tensor = weight.const_value
    assert inferred_shapes(model)["y"] == ("N", 4096)
    assert model.graph.initializers["w"] is weight
    assert weight.const_value is tensor


def test_a_foreign_file_that_notes_no_shapes(tmp_path: Path) -> None:
    proto = ir.to_proto(captured(build(Network("lenet")), 1, 28, 28).model)
    del proto.graph.value_info[:]
    onnx.save(proto, tmp_path / "foreign.onnx")
    rows = layer_table(ir.load(tmp_path / "foreign.onnx"))
    assert [r.shape for r in rows if r.op == "Conv"] == [("N", 6, 28, 28), ("N", 16, 10, 10)]
    assert sum(r.multiply_adds for r in rows) == 416_520


def test_a_row_is_a_record() -> None:
    with pytest.raises(AttributeError):
        ShapeRow("a", "Relu", "y", None, None, None, None, "", True).agree = False
