"""Parity of the ways from an image to the network's input, and what it must not let through."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import onnx_ir as ir
import pytest
from pixel_graphs import dark_and_light, echo, open_session

from cnntk.exporters.checks.pixels import Whole, check_pixels, pixels_part, worst_images
from cnntk.exporters.preprocessing import PreprocessingRecord, add_preprocessing
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
    for given in (
        {},
        {"antialias": False},
        {"invert": "light-background"},
        {"layout": "NHWC", "invert": "always"},
    ):
        p = replace(P, resize=resize, levels=levels, interpolation=interpolation, **given)
        check = check_pixels(*reversed_pair(p))
        assert check.name == "pixels"
        assert "agree within" in check.detail
        assert "on 14 images" in check.detail


def reversed_pair(p: Preprocessing) -> tuple[ir.Model, Preprocessing, PreprocessingRecord]:
    model, record = added(p)
    return model, p, record


def test_gray_networks_pass() -> None:
    p = Preprocessing("gray", 28, 28, resize="longest", invert="light-background", mean=(0.13,), std=(0.31,))
    model, record = added(p)
    photographs = {"a": dark_and_light(np.random.default_rng(0), (60, 50), 3)[0]}
    assert "14 images and 1 photographs" in check_pixels(model, p, record, photographs=photographs).detail


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
    with pytest.raises(ParityError, match=r"graph and host differ by [\d.e+]+ levels on .* is allowed"):
        check_pixels(model, replace(P, levels=levels), record)


@pytest.mark.parametrize(
    ("attribute", "value"), [("cubic_coeff_a", -0.75), ("exclude_outside", 0), ("mode", "linear")]
)
@pytest.mark.parametrize("levels", ["uint8", "float32"])
def test_onnx_defaults_are_caught(levels: str, attribute: str, value: object) -> None:
    model, record = added(p := replace(P, levels=levels))
    resize = next(node for node in model.graph if node.op_type == "Resize")
    resize.attributes[attribute] = ir.convenience.convert_attribute(attribute, value)
    with pytest.raises(ParityError, match="graph and host differ"):
        check_pixels(model, p, record)


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
        check_pixels(model, P, record)


def test_nan_is_caught() -> None:
    model, record = added(P)
    with pytest.raises(ParityError, match="differ by nan levels"):
        check_pixels(model, P, replace(record, factor=(float("nan"),) * 3))


def test_another_size_is_caught() -> None:
    model, record = added(replace(P, height=33))
    with pytest.raises(ParityError, match=r"shapes \[2, 3, 33, 24\] and \[2, 3, 32, 24\]"):
        check_pixels(model, P, record)


def test_a_middle_gray_photograph_may_go_either_way() -> None:
    """Its inversion hangs on the rounding of a level; the images made here are clear."""
    p = replace(P, invert="light-background")
    model, record = added(p)
    gray = np.full((45, 67, 3), 127, dtype=np.uint8)
    gray[:, ::2] = 128
    check_pixels(model, p, record, photographs={"gray": gray})


def test_worst_images_differ_in_what_they_find() -> None:
    images = worst_images(P)
    assert len(images) == 14
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


def test_the_part_is_all_in_front_of_the_network() -> None:
    model, record = added(P)
    part = pixels_part(model, record)
    assert [v.name for v in part.graph.inputs] == ["image"]
    assert [node.op_type for node in part.graph] == list(record.operators[:-2])


def whole(model: ir.Model, p: Preprocessing, *, bound: float = 1e-5, off: float = 0.0) -> Whole:
    """The echo on images and on floats, which answers ``off`` more."""
    pixels, floats = open_session(model), open_session(echo(p))

    def run(inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        return {"answer": pixels.run(None, dict(inputs))[0] + np.float32(off)}

    def core(inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        return {"answer": floats.run(None, dict(inputs))[0]}

    return Whole(run, core, "input", {}, {"answer": bound})


def test_answers_are_compared() -> None:
    model, record = added(P)
    photographs = {"one": dark_and_light(np.random.default_rng(0), (90, 70), 3)[0]}
    check = check_pixels(model, P, record, photographs=photographs, whole=whole(model, P))
    assert "of the largest apart, the same best class as from the host on" in check.detail


@pytest.mark.parametrize("off", [0.01, float("nan")])
def test_answers_that_differ_are_caught(off: float) -> None:
    model, record = added(P)
    with pytest.raises(
        ParityError, match=r"answer: on .* the answers with preprocessing in the graph differ"
    ):
        check_pixels(model, P, record, whole=whole(model, P, off=off))
