"""Matrix products against Pillow's own resize, to the bit; and weights that are not Pillow's."""

from dataclasses import replace
from functools import partial

import numpy as np
import onnx_ir as ir
import pytest
from PIL import Image
from pixel_graphs import Run, echo, gap, graph, open_session

from cnntk.exporters.preprocessing import _products, add_preprocessing, with_resize_form
from cnntk.exporters.preprocessing._expressions import Expression
from cnntk.runtime.artifact.spec import Preprocessing
from cnntk.runtime.preprocessing.preprocess import preprocess

P = Preprocessing("rgb", 112, 96, mean=(0.0,) * 3, std=(1.0,) * 3, scale=1.0, resize_form="exact")
RULES = [
    {"resize": "shortest", "crop_ratio": 0.875},
    {"resize": "shortest", "crop_ratio": 0.9, "crop_start": "round"},
    {"resize": "stretch", "crop_ratio": 0.875},
    {"resize": "longest"},
    {"resize": "shortest", "height": 101, "width": 101, "color": "gray", "mean": (0.0,), "std": (1.0,)},
]
SIZES = [(1, 1), (1, 50), (13, 400), (150, 101), (257, 333), (112, 96), (700, 90), (33, 40)]


def images(size: tuple[int, int], channels: int = 3) -> np.ndarray:
    """Noise, a checkerboard and lines, on which resized values are often halfway between two levels."""
    shape = (*size, channels)
    rows, columns = np.indices(size)
    board, lines = ((x % 2 * 255)[:, :, None] for x in (rows + columns, rows))
    noise = np.random.default_rng(size).integers(0, 256, shape)
    return np.stack([np.broadcast_to(x, shape) for x in (noise, board, lines)]).astype(np.uint8)


@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic", "lanczos"])
@pytest.mark.parametrize("rule", RULES, ids=lambda rule: f"{rule['resize']}-{len(rule)}")
def test_levels_are_pillows(interpolation: str, rule: dict[str, object]) -> None:
    p = replace(P, interpolation=interpolation, **rule)
    exact, fast = (graph(replace(p, resize_form=form)) for form in ("exact", "fast"))
    for size in SIZES:
        batch = images(size, p.channels)
        assert gap(exact, batch, p) == 0, size
        assert gap(fast, batch, p) <= 2, size


@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic", "lanczos"])
@pytest.mark.parametrize("rule", RULES[:4:3], ids=lambda rule: rule["resize"])
def test_values_that_are_not_rounded(interpolation: str, rule: dict[str, object]) -> None:
    rounded = replace(P, interpolation=interpolation, resize_form="fast", **rule)
    run = graph(p := replace(rounded, levels="float32"))
    for size in SIZES:
        assert gap(run, images(size), p) < 0.002, size
    assert gap(graph(rounded), images((257, 333)), p) > 0.4


def test_pillow_itself() -> None:
    """The host resizes like Pillow's `resize`, where that begins with the width."""
    (image, *_) = images((150, 170))  # whose width shrinks more, so that Pillow begins with it
    expected = np.asarray(Image.fromarray(image).resize((96, 112), Image.Resampling.BICUBIC))
    output = graph(replace(P, interpolation="bicubic"))(image[None])[0]
    assert np.array_equal(output.transpose(1, 2, 0), expected)


def _narrower(distance: Expression, width: Expression) -> Expression:
    return _products._linear(distance, width * 999 / 1000)


def test_other_weights_are_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(_products._FILTERS, "bilinear", (1, _narrower))
    assert gap(graph(P), images((257, 333)), P) >= 1


def test_weights_of_fewer_bits_are_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    """The first of the two pieces alone has 14 bits, so the tests above see the second one."""
    monkeypatch.setattr(_products, "_BITS", 14)
    assert gap(graph(P), images((257, 333)), P) >= 1


@pytest.mark.parametrize("form", ["exact", "fast"])
def test_one_node_resizes_and_crops(form: str) -> None:
    model = echo(p := replace(P, resize_form=form))
    record = add_preprocessing(model, p)
    assert record.operators.count("If") == 1
    assert record.nodes < 16 < record.branch_nodes
    assert add_preprocessing(echo(operator := replace(p, resize_form="operator")), operator).branch_nodes == 0


def test_no_loop_returns_an_input_of_its_body() -> None:
    """OpenVINO 2026.4 refuses such a graph."""
    model = echo(P)
    add_preprocessing(model, P)
    resized = next(node for node in model.graph if node.op_type == "If").attributes["else_branch"].as_graph()
    bodies = [node.attributes["body"].as_graph() for node in resized if node.op_type == "Loop"]
    assert len(bodies) == 2
    assert all(output.producer() is not None for body in bodies for output in body.outputs)


def test_what_openvino_needs_behind_the_if() -> None:
    """A Reshape to a computed shape, behind the Expand: what OpenVINO 2026.4 computes is wrong otherwise."""
    model = echo(P)
    add_preprocessing(model, P)
    names = [node.op_type for node in model.graph]
    at = names.index("If")
    assert names[at : at + 6] == ["If", "Expand", "Shape", "Min", "Reshape", "Transpose"]


def openvino_levels(p: Preprocessing, batch: np.ndarray) -> np.ndarray:
    """What OpenVINO computes first: its first results are those that an If spoils."""
    openvino = pytest.importorskip("openvino")
    model = echo(p)
    add_preprocessing(model, p)
    graph = openvino.Core().read_model(ir.to_proto(model).SerializeToString())
    return openvino.compile_model(graph, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})(batch)[0]


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: f"{rule['resize']}-{len(rule)}")
def test_openvino_has_pillows_levels(rule: dict[str, object]) -> None:
    p = replace(P, **rule)
    for size in [(257, 333), (13, 400), (33, 40)]:
        batch = images(size, p.channels)
        np.testing.assert_array_equal(openvino_levels(p, batch), preprocess(list(batch), p), str(size))


def test_weights_in_float32_are_seen_in_openvino(monkeypatch: pytest.MonkeyPatch) -> None:
    weigh = partial(_products._by_kernel, lambda x: (1.0 - x).max(0.0))
    monkeypatch.setitem(_products._FILTERS, "bilinear", (1, weigh))
    batch = images((257, 333))
    assert gap(graph(P), batch, P) == 0
    assert np.abs(openvino_levels(P, batch) - preprocess(list(batch), P)).max() == 1


def test_images_of_the_right_size_are_only_cropped() -> None:
    model = echo(P)
    add_preprocessing(model, P)
    node = next(node for node in model.graph if node.op_type == "If")
    assert [inner.op_type for inner in node.attributes["then_branch"].as_graph()] == ["Identity"]


def run_of(p: Preprocessing) -> Run:
    model = echo(p)
    add_preprocessing(model, p)
    session = open_session(model)
    return lambda batch: session.run(None, {"image": batch})[0]


@pytest.mark.parametrize(
    ("fields", "form"),
    [
        ({}, "exact"),
        ({"height": 95, "width": 95}, "operator"),
        ({"height": 95, "width": 95, "interpolation": "lanczos"}, "exact"),
        ({"interpolation": "nearest"}, "operator"),
        ({"antialias": False}, "operator"),
        ({"levels": "float32"}, "fast"),
        ({"levels": "float32", "height": 95, "width": 95}, "operator"),
    ],
    ids=str,
)
def test_products_are_for_filters_and_large_networks(fields: dict[str, object], form: str) -> None:
    p = with_resize_form(replace(P, resize_form="operator", **fields), "exact")
    assert p.resize_form == form
    assert run_of(p)(images((40, 50))).shape == (3, 3, p.height, p.width)
