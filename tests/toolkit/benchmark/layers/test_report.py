"""Multiply-adds and rows of real networks; times are looked at for what they are made of, not how long."""

from __future__ import annotations

import json
import math
from pathlib import Path

import onnx
import pytest
import torch
from torch import nn

from cnntk.benchmark.compare import Comparison
from cnntk.benchmark.layers import report as report_module
from cnntk.benchmark.layers import roofline as roofline_module
from cnntk.benchmark.layers._attribution import attribute_nodes
from cnntk.benchmark.layers._profile import measure_nodes
from cnntk.benchmark.layers.report import LayerReport, layer_times
from cnntk.benchmark.layers.roofline import Peaks, layer_work, layers_from_graph
from cnntk.benchmark.workload import Workload
from cnntk.exporters import export
from cnntk.models import zoo
from cnntk.quantization.options import QuantizeOptions
from cnntk.quantization.pipeline import quantize
from cnntk.runtime.artifact.spec import Network
from cnntk.runtime.codec import as_json
from cnntk.runtime.errors import UsageError
from cnntk.shipped import shipped_model

PEAKS = Peaks(float32_gmacs=100, int8_gmacs=400, memory_gb_s=20, threads=1, cache_bytes=32_000_000)
SIZES = {"lenet": (1, 28, 28), "alexnet": (3, 96, 96), "vgg11": (3, 32, 32), "nin": (3, 96, 96)}
LENET = 416_520


def quick(model: Path, batch: int = 1) -> LayerReport:
    return layer_times(Workload(model, threads=1, batch=batch, seconds=1e-3), peaks=PEAKS)


def closed_form(name: str, shape: tuple[int, ...]) -> int:
    """Output elements times the dot product behind each, of the torch modules."""
    counts = []

    def count(layer: nn.Module, _: object, output: torch.Tensor) -> None:
        assert isinstance(layer, nn.Conv2d | nn.Linear)
        counts.append(output[0].numel() * layer.weight[0].numel())

    kwargs = {"num_classes": 10, "in_channels": shape[0], "image_size": shape[1]}
    with torch.device("meta"):
        net = zoo.build(Network(name, kwargs))
        for layer in net.modules():
            if isinstance(layer, nn.Conv2d | nn.Linear):
                layer.register_forward_hook(count)
        net(torch.empty(1, *shape))
    return sum(counts)


@pytest.fixture(scope="module")
def lenet() -> LayerReport:
    return quick(shipped_model())


def test_lenet(lenet: LayerReport) -> None:
    assert lenet.multiply_adds == closed_form("lenet", (1, 28, 28)) == LENET
    rows = {row.name: row for row in lenet.rows}
    assert [row.name for row in lenet.rows][-2:] == ["softmax", "call"]
    first, last = rows["0"], rows["11"]
    assert (first.op_type, first.executed_ops, first.fused, first.dtype) == (
        "Conv",
        ("Conv",),
        ("1",),
        "float32",
    )
    assert first.multiply_adds == 28 * 28 * 6 * 25
    assert last.bytes == 4 * (84 * 10 + 10 + 84 + 10)  # weights and bias, what it reads, what it writes
    assert rows["6"].bytes == 0  # a view
    assert rows["preprocess"].multiply_adds == 0


def test_figures_that_belong_together(lenet: LayerReport) -> None:
    assert sum(row.share for row in lenet.rows) == pytest.approx(1)
    assert lenet.sum_ms == pytest.approx(sum(row.time_ms for row in lenet.rows))
    assert lenet.unaccounted_share == pytest.approx((lenet.run_ms - lenet.sum_ms) / lenet.run_ms)
    for row in lenet.rows:
        if row.gmacs_per_s is not None:
            assert row.gmacs_per_s * row.time_ms * 1e6 == pytest.approx(row.multiply_adds)
        if row.limit_fraction is not None:
            assert row.limit_fraction == pytest.approx(row.multiply_adds / 100e6 / row.time_ms)
        assert (row.limit == "compute") == (row.multiply_adds > 0)


def test_as_json(lenet: LayerReport) -> None:
    data = json.loads(json.dumps(as_json(lenet)))
    assert data["multiply_adds"] == LENET
    assert data["rows"][-1]["name"] == "call"
    assert data["peaks"]["int8_gmacs"] == 400
    assert math.isfinite(data["unaccounted_share"])


def test_a_batch_is_so_many_times_the_work() -> None:
    three = quick(shipped_model(), batch=3)
    assert three.multiply_adds == 3 * LENET
    row = next(row for row in three.rows if row.name == "11")
    assert row.bytes == 4 * (84 * 10 + 10 + 3 * (84 + 10))


@pytest.fixture(scope="module")
def networks(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("networks")


@pytest.mark.parametrize(
    "name",
    ["nin", pytest.param("alexnet", marks=pytest.mark.slow), pytest.param("vgg11", marks=pytest.mark.slow)],
)
def test_multiply_adds_are_the_closed_form_with_and_without_a_spec(name: str, networks: Path) -> None:
    model, bare = networks / f"{name}.onnx", networks / f"{name}-bare.onnx"
    export(name, model, random=True, input_shape=SIZES[name], labels=[*"abcdefghij"])
    expected = closed_form(name, SIZES[name])
    assert quick(model).multiply_adds == expected
    graph = onnx.load(model)
    del graph.metadata_props[:]
    onnx.save(graph, bare)
    report = quick(bare)
    assert report.multiply_adds == expected
    assert {row.name for row in report.rows} >= {"node_conv2d", "node_conv2d_1"}


def test_quantized_lenet(tmp_path: Path) -> None:
    model = tmp_path / "small.onnx"
    faster = lambda *_: Comparison(2, 1.9, 2.1, 2, 1, 60)  # noqa: E731
    options = QuantizeOptions("digits", calibration_images=16, output=model, prefer="size", max_drop=50)
    quantize(shipped_model(), options, compare_calls=faster)
    report = quick(model)
    assert report.multiply_adds == LENET
    rows = {row.name: row for row in report.rows}
    assert (rows["0"].executed_ops, rows["0"].dtype) == (("QLinearConv",), "int8")
    # Weights of 4 bits, but so few that what is multiplied are floats.
    assert (rows["7"].executed_ops, rows["7"].dtype) == (("MatMulNBits",), "float32")
    assert rows["conversion between 0 and 1"].executed_ops == ("Transpose", "DequantizeLinear")
    times = measure_nodes(Workload(model, threads=1, batch=2, seconds=1e-3))
    nodes = layers_from_graph(times.original)
    shares = attribute_nodes(nodes, times.nodes, times.original)
    assert sum(layer_work(share, nodes, times, 2).multiply_adds for share in shares) == 2 * LENET


def test_a_sum_that_differs_is_reported(lenet: LayerReport, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(report_module, "_SUM_TOLERANCE", -1.0)
    assert any("the layers add up to" in line for line in quick(shipped_model()).findings)
    monkeypatch.setattr(report_module, "_SUM_TOLERANCE", math.inf)
    assert not any("the layers add up to" in line for line in quick(shipped_model()).findings)


def test_a_high_overhead_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    assert any(line.startswith("the profiler adds") for line in quick(shipped_model()).findings)
    monkeypatch.setattr(report_module, "_HIGH_OVERHEAD", math.inf)
    assert not any(line.startswith("the profiler adds") for line in quick(shipped_model()).findings)


SLOW = Peaks(float32_gmacs=1e-3, int8_gmacs=1e-3, memory_gb_s=1e-3, threads=1, cache_bytes=None)


def test_peaks_that_are_too_low_are_reported() -> None:
    report = layer_times(Workload(shipped_model(), threads=1, batch=8, seconds=1e-3), peaks=SLOW)
    assert any("faster than the machine's peak" in line for line in report.findings)
    assert not any("the machine's peak" in line for line in quick(shipped_model(), 8).findings)


def test_peaks_that_a_layer_surpasses_are_measured_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(roofline_module, "user_cache", lambda: tmp_path)
    monkeypatch.setattr(roofline_module, "_PEAK_S", 0.02)
    monkeypatch.setattr(roofline_module, "_MAX_PEAK_S", 0.04)
    roofline_module.machine_peaks(1)
    (file,) = tmp_path.iterdir()
    file.write_text(json.dumps(as_json(SLOW)))
    peaks = layer_times(Workload(shipped_model(), threads=1, batch=8, seconds=1e-3)).peaks
    assert peaks is not None
    assert peaks.float32_gmacs > 1
    high = as_json(peaks) | {"float32_gmacs": 1e6, "memory_gb_s": 1e6}
    file.write_text(json.dumps(high))
    assert layer_times(Workload(shipped_model(), threads=1, batch=8, seconds=1e-3)).peaks == Peaks(**high)


@pytest.mark.parametrize(("batch", "seconds"), [(0, 1.0), (1, 0.0), (1, math.nan)])
def test_nothing_to_measure(batch: int, seconds: float) -> None:
    with pytest.raises(UsageError, match="must be a positive"):
        layer_times(Workload(shipped_model(), batch=batch, seconds=seconds), peaks=PEAKS)


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no such file"):
        layer_times(Workload(tmp_path / "none.onnx"), peaks=PEAKS)


def test_a_foreign_file_whose_graph_is_not_available(foreign_onnx: Path, tmp_path: Path) -> None:
    model = onnx.load(foreign_onnx)
    for i, node in enumerate(model.graph.node):
        node.name = f"node {i}"
    apart = tmp_path / "apart.onnx"
    onnx.save(model, apart, save_as_external_data=True, location="apart.bin", size_threshold=0)
    report = quick(apart)
    assert [row.name for row in report.rows] == ["node 0", "node 1", "node 2", "call"]
    assert report.multiply_adds == 16 * 3
    assert any("optimized graph is not available" in line for line in report.findings)
    assert not any("optimized graph is not available" in line for line in quick(foreign_onnx).findings)
