from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path

import digit_nets
import pytest

from cnntk.benchmark.compare import Comparison
from cnntk.benchmark.layers._attribution import LayerNodes, attribute_nodes
from cnntk.benchmark.layers._graph import Graph, Node, read_graph
from cnntk.exporters import export
from cnntk.exporters.sources._torchvision import import_torchvision
from cnntk.quantization import search
from cnntk.quantization.config import QuantConfig
from cnntk.quantization.pipeline import quantize
from cnntk.runtime.artifact.spec import Layer
from cnntk.runtime.engine import Engine
from cnntk.runtime.session.devices import resolve_device
from cnntk.runtime.session.session_factory import SessionSettings, open_session
from cnntk.shipped import shipped_model


def optimized(model: Path, folder: Path) -> Graph:
    open_session(model, resolve_device("cpu"), SessionSettings(cache=folder))
    return read_graph(next(folder.glob("*/model.onnx")))


def layers_in(model: Path) -> tuple[Layer, ...]:
    spec = Engine(model).spec
    assert spec is not None
    return spec.layers


def rows_of(model: Path, folder: Path) -> dict[str, LayerNodes]:
    nodes = optimized(model, folder).nodes
    layers = layers_in(model)
    layer_rows = attribute_nodes(layers, nodes, read_graph(model))
    assert Counter(i for row in layer_rows for i in row.nodes) == Counter(range(len(nodes)))
    assert Counter(i for row in layer_rows for i in row.layers) == Counter(range(len(layers)))
    assert len({row.name for row in layer_rows}) == len(layer_rows)
    return {row.name: row for row in layer_rows}


def fused(row: LayerNodes, layers: tuple[Layer, ...]) -> list[str]:
    return [layers[i].name for i in row.layers]


def test_lenet_with_its_preprocessing(tmp_path: Path) -> None:
    layers = layers_in(shipped_model())
    by_name = rows_of(shipped_model(), tmp_path)
    assert [name for name in by_name if not name.startswith("reordering")] == [
        *("preprocess", "0", "2", "3", "5", "6", "7", "9", "11", "softmax")
    ]
    assert fused(by_name["0"], layers) == ["0", "1"]
    assert fused(by_name["7"], layers) == ["7", "8"]
    assert fused(by_name["11"], layers) == ["11"]
    assert by_name["7"].executed_ops == ("FusedGemm",)
    assert by_name["7"].op_type == "Gemm"
    assert by_name["softmax"].op_type == "Softmax"
    assert "Resize" in by_name["preprocess"].executed_ops


@pytest.mark.slow
def test_quantized(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A network whose first layer is in float32, because the times say that this is faster."""
    monkeypatch.setattr(search, "_SMALL_SHARE", 0.5)  # so that it is tried
    source, target = tmp_path / "digits.onnx", tmp_path / "small.onnx"
    source.write_bytes(digit_nets.artifact())
    timed: list[QuantConfig] = []

    def compare_calls(config: QuantConfig, *_: object) -> Comparison:
        timed.append(config)
        first = next(iter(config.layers.values()))
        ratio = 2 if len(timed) == 1 or first.precision == "float32" else 0.5
        return Comparison(ratio, 0.95 * ratio, 1.05 * ratio, ratio, 1, 60)

    quantize(source, calibration="digits", output=target, calibration_images=40, compare_calls=compare_calls)
    by_name = rows_of(target, tmp_path / "cache")
    layers = layers_in(target)
    assert by_name["2"].executed_ops == ("QLinearConv",)
    assert by_name["4"].executed_ops == ("NhwcMaxPool",)
    assert "3" in fused(by_name["4"], layers)  # ReLU is part of the levels' range
    between = by_name["conversion between 0 and 2"]
    assert between.op_type == "conversion"
    assert "QuantizeLinear" in between.executed_ops
    assert by_name["reordering between 7 and 8"].executed_ops == ("Transpose",)


def test_residual_network(tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers")
    import_torchvision("this test")  # beside a torch for which its operators were not built, too
    config = transformers.ResNetConfig(
        embedding_size=8, hidden_sizes=[16, 16], depths=[1, 2], layer_type="basic", num_labels=3
    )
    net = transformers.ResNetForImageClassification(config).eval()
    model = tmp_path / "resnet.onnx"
    export(net, model, input_shape=(3, 32, 32))
    layers = layers_in(model)
    by_name = rows_of(model, tmp_path / "cache")
    convolutions = [layer.name for layer in layers if layer.op == "Conv"]
    assert set(convolutions) <= set(by_name)
    added = by_name["resnet.encoder.stages.1.layers.1.layer.1.convolution"]
    assert {"Add", "Relu"} <= {layers[i].op for i in added.layers}


ROW = (
    Layer("conv", "Conv", (), 9, 90, ("w",), "a", ("x",)),
    Layer("act", "Relu", (), 0, 0, (), "b", ("a",)),
    Layer("pool", "MaxPool", (), 0, 0, (), "c", ("b",)),
    Layer("fc", "Gemm", (), 3, 30, ("v",), "d", ("c",)),
)


def rows(
    *nodes: Node, original: Graph | None = None, layers: tuple[Layer, ...] = ROW
) -> list[tuple[str, str]]:
    layer_rows = attribute_nodes(layers, nodes, original or Graph())
    return [(row.name, "+".join(row.executed_ops)) for row in layer_rows]


def test_by_value_name_weight_and_position() -> None:
    original = Graph((Node("node_act", "Relu", ("a",), ("b",)),))
    assert rows(
        Node("z1", "Conv", ("x", "w"), ("t1",)),
        Node("node_act", "Relu", ("t1",), ("t2",)),
        Node("z2", "NhwcMaxPool", ("t2",), ("t3",)),
        Node("z3", "Gemm", ("t3", "other"), ("d",)),
        original=original,
    ) == [("conv", "Conv"), ("act", "Relu"), ("pool", "NhwcMaxPool"), ("fc", "Gemm")]


def test_what_was_put_in_between() -> None:
    assert rows(
        Node("q", "QuantizeLinear", ("x",), ("t0",)),
        Node("b_nchwc", "Conv", ("t0", "w"), ("t1",)),
        Node("r", "ReorderOutput", ("t1",), ("b",)),
        Node("p", "MaxPool", ("b",), ("c",)),
        Node("s", "Shape", ("c",), ("t2",)),
        Node("f", "Gemm", ("c", "v", "t2"), ("d",)),
        Node("o", "Transpose", ("d",), ("e",)),
    ) == [
        ("conversion between input and conv", "QuantizeLinear"),
        ("conv", "Conv"),
        ("reordering between conv and pool", "ReorderOutput"),
        ("pool", "MaxPool"),
        ("fc", "Shape+Gemm"),
        ("reordering between fc and output", "Transpose"),
    ]


def test_a_transpose_of_the_user_is_a_layer() -> None:
    with_transpose = (*ROW[:3], Layer("turn", "Transpose", (), 0, 0, (), "t", ("c",)))
    nodes = (Node("p", "MaxPool", ("x",), ("c",)), Node("turned", "Transpose", ("c",), ("t",)))
    assert rows(*nodes, layers=with_transpose)[1] == ("turn", "Transpose")
    assert rows(*nodes, layers=with_transpose[2:3])[1] == ("reordering between pool and output", "Transpose")


def test_one_module_of_many_nodes_is_one_row() -> None:
    gelu = tuple(replace(layer, name="gelu") for layer in ROW[1:3])
    nodes = (Node("1", "Relu", ("x",), ("b",)), Node("2", "MaxPool", ("b",), ("c",)))
    assert rows(*nodes, layers=gelu) == [("gelu", "Relu+MaxPool")]


def test_unknown_nodes_are_rows_of_their_name() -> None:
    assert rows(Node("a7", "Neg", (), ()), Node("a8", "Cast", (), ()), layers=()) == [
        ("a7", "Neg"),
        ("a8", "Cast"),
    ]


def test_foreign_names_match_no_layer(tmp_path: Path) -> None:
    """Without values, names and weights of the layers there is nothing to tell them by."""
    strange = tuple(
        replace(layer, name=f"?{i}", output=f"?{i}", inputs=(), weights=())
        for i, layer in enumerate(layers_in(shipped_model()))
    )
    nodes = optimized(shipped_model(), tmp_path).nodes
    layer_rows = attribute_nodes(strange, nodes, read_graph(shipped_model()))
    assert not any(row.layers for row in layer_rows)
