"""Parity of the ways from an image to the network's input, and what it must not let through."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import onnx_ir as ir
import pytest
from pixel_graphs import dark_and_light, echo, open_session

from cnntk.exporters.checks._pixels import EndToEnd, GraphPreprocessing, compare_preprocessing, worst_images
from cnntk.exporters.preprocessing import PreprocessingRecord, add_preprocessing
from cnntk.exporters.session import extract_model
from cnntk.runtime.artifact.spec import Preprocessing
from cnntk.runtime.errors import ParityError

P = Preprocessing(
    "rgb",
    32,
    24,
    resize="shortest",
    crop_ratio=0.8,
    interpolation="bicubic",
    mean=(0.485, 0.456, 0.406),
    std=(0.229, 0.224, 0.225),
)


def added(p: Preprocessing) -> tuple[ir.Model, PreprocessingRecord]:
    model = echo(p)
    return model, add_preprocessing(model, p)


@pytest.mark.parametrize("interpolation", ["nearest", "bilinear", "bicubic"])
@pytest.mark.parametrize("levels", ["uint8", "float32"])
@pytest.mark.parametrize("resize", ["stretch", "shortest", "longest"])
def test_sound_graphs_pass(resize: str, levels: str, interpolation: str) -> None:
    for fields in (
        {},
        {"antialias": False},
        {"invert": "light-background"},
        {"layout": "NHWC", "invert": "always"},
    ):
        p = replace(P, resize=resize, levels=levels, interpolation=interpolation, **fields)
        check = compare_preprocessing(preprocessing(p), {})
        assert check.name == "pixels"
        same = "graph, host and torch have the same pixel values to the bit"
        text = same if interpolation == "nearest" else "max difference of graph, host and torch"
        assert text in check.detail
        assert "on 15 images" in check.detail


def preprocessing(p: Preprocessing) -> GraphPreprocessing:
    model, record = added(p)
    return GraphPreprocessing(model, p, record)


def test_gray_networks_pass() -> None:
    p = Preprocessing("gray", 28, 28, resize="longest", invert="light-background", mean=(0.13,), std=(0.31,))
    photographs = {"a": dark_and_light(np.random.default_rng(0), (60, 50), 3)[0]}
    assert "15 images and 1 photographs" in compare_preprocessing(preprocessing(p), photographs).detail


@pytest.mark.parametrize("levels", ["uint8", "float32"])
@pytest.mark.parametrize(
    "wrong",
    [
        {"antialias": False},
        {"interpolation": "bilinear"},
        {"color": "bgr"},
        {"crop_ratio": 1.0},
        {"resize": "stretch"},
        {"invert": "always"},
        {"mean": (0.485, 0.456, 0.396)},
        {"std": (0.224, 0.229, 0.225)},
        {"scale": 1 / 256},
    ],
    ids=lambda wrong: next(iter(wrong)),
)
def test_another_preprocessing_is_caught(wrong: Mapping[str, object], levels: str) -> None:
    model, record = added(replace(P, levels=levels, **wrong))
    with pytest.raises(ParityError, match=r"graph and host differ by [\d.e+]+ pixel values on .* \(limit"):
        compare_preprocessing(GraphPreprocessing(model, replace(P, levels=levels), record), {})


@pytest.mark.parametrize(
    ("attribute", "value"), [("cubic_coeff_a", -0.75), ("exclude_outside", 0), ("mode", "linear")]
)
@pytest.mark.parametrize("levels", ["uint8", "float32"])
def test_onnx_defaults_are_caught(levels: str, attribute: str, value: object) -> None:
    model, record = added(p := replace(P, levels=levels))
    resize = next(node for node in model.graph if node.op_type == "Resize")
    resize.attributes[attribute] = ir.convenience.convert_attribute(attribute, value)
    with pytest.raises(ParityError, match="graph and host differ"):
        compare_preprocessing(GraphPreprocessing(model, p, record), {})


@pytest.mark.parametrize("antialias", [True, False])
def test_a_wrong_border_is_caught_though_a_crop_removes_most_of_it(antialias: bool) -> None:
    model, record = added(p := replace(P, height=224, width=224, antialias=antialias))
    resize = next(node for node in model.graph if node.op_type == "Resize")
    resize.attributes["exclude_outside"] = ir.AttrInt64("exclude_outside", int(not antialias))
    with pytest.raises(ParityError, match=r"graph and host differ .* on a few pixels"):
        compare_preprocessing(GraphPreprocessing(model, p, record), {})


def test_a_crop_that_is_off_by_one_is_caught() -> None:
    model, record = added(P)
    starts = next(node for node in model.graph if node.op_type == "Slice").inputs[1]
    ends = next(node for node in model.graph if node.op_type == "Slice").inputs[2]
    for value in (starts, ends):
        producer = value.producer()
        node = ir.node("Add", [value, ir.Value(name=f"{value.name}_one")])
        one = node.inputs[1]
        one.const_value = ir.tensor(np.array([1, 0]), name=one.name)
        one.shape, one.type = ir.Shape([2]), ir.TensorType(ir.DataType.INT64)
        model.graph.register_initializer(one)
        node.outputs[0].name = f"{value.name}_off"
        model.graph.insert_after(producer, node)
        slicing = next(n for n in model.graph if n.op_type == "Slice")
        slicing.replace_input_with(1 if value is starts else 2, node.outputs[0])
    with pytest.raises(ParityError, match="graph and host differ"):
        compare_preprocessing(GraphPreprocessing(model, P, record), {})


def test_nan_is_caught() -> None:
    model, record = added(P)
    with pytest.raises(ParityError, match="differ by nan pixel values"):
        compare_preprocessing(GraphPreprocessing(model, P, replace(record, factor=(float("nan"),) * 3)), {})


def test_another_size_is_caught() -> None:
    model, record = added(replace(P, height=33))
    with pytest.raises(ParityError, match=r"shapes \[2, 3, 33, 24\] and \[2, 3, 32, 24\]"):
        compare_preprocessing(GraphPreprocessing(model, P, record), {})


def test_a_middle_gray_photograph_may_go_either_way() -> None:
    """Its inversion hangs on the rounding of a level; the images made here are clear."""
    p = replace(P, invert="light-background")
    gray = np.full((45, 67, 3), 127, dtype=np.uint8)
    gray[:, ::2] = 128
    compare_preprocessing(preprocessing(p), {"gray": gray})


def test_worst_images_differ_in_what_they_find() -> None:
    images = worst_images(P)
    assert len(images) == 15
    assert {image.shape[2] for image in images.values()} == {1, 3}
    for name, image in images.items():
        assert image.dtype == np.uint8
        assert np.array_equal(image, worst_images(P)[name])
    sizes = [image.shape[0] / P.height for image in images.values()]
    assert min(sizes) < 0.1
    assert max(sizes) == 10


def test_large_networks_are_tried_on_smaller_multiples() -> None:
    images = worst_images(replace(P, height=640, width=640))
    assert max(image.size for image in images.values()) < 6_000_000


def test_the_nodes_are_all_in_front_of_the_network() -> None:
    model, record = added(P)
    nodes = extract_model(model, "image", record.pixel_values)
    assert [v.name for v in nodes.graph.inputs] == ["image"]
    assert [node.op_type for node in nodes.graph] == list(record.operators[:-2])


def end_to_end(model: ir.Model, p: Preprocessing, *, bound: float = 1e-5, off: float = 0.0) -> EndToEnd:
    """The echo on images and on floats, with ``off`` added on images."""
    pixels, floats = open_session(model), open_session(echo(p))

    def run(inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        return {"answer": pixels.run(None, dict(inputs))[0] + np.float32(off)}

    def core(inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        return {"answer": floats.run(None, dict(inputs))[0]}

    return EndToEnd(run, core, "input", {}, {"answer": bound})


def test_answers_are_compared() -> None:
    model, record = added(P)
    photographs = {"one": dark_and_light(np.random.default_rng(0), (90, 70), 3)[0]}
    check = compare_preprocessing(GraphPreprocessing(model, P, record), photographs, end_to_end(model, P))
    assert "the same best class as with preprocessing on the host on" in check.detail


@pytest.mark.parametrize("off", [0.01, float("nan")])
def test_answers_that_differ_are_caught(off: float) -> None:
    model, record = added(P)
    with pytest.raises(ParityError, match=r"answer: on .* preprocessing in the graph changes the output"):
        compare_preprocessing(GraphPreprocessing(model, P, record), {}, end_to_end(model, P, off=off))
