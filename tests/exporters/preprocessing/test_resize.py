"""Resize against Pillow itself, crop and padding, and the errors of ONNX's defaults."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import onnx_ir as ir
import pytest
from PIL import Image
from pixel_graphs import dark_and_light, echo, gap, graph, open_session

from cnntk.exporters.preprocessing import add_preprocessing
from cnntk.exporters.preprocessing._node_builder import UINT8, NodeBuilder
from cnntk.exporters.preprocessing._resize import resized_size
from cnntk.runtime.artifact.spec import Preprocessing

P = Preprocessing("rgb", 20, 30, mean=(0.0,) * 3, std=(1 / 255,) * 3, scale=1 / 255)


def altered(p: Preprocessing, change: Callable[[ir.Node], object]) -> float:
    """How far the graph is from the host where its Resize was changed."""
    model = echo(p)
    add_preprocessing(model, p)
    change(next(node for node in model.graph if node.op_type == "Resize"))
    session = open_session(model)
    batch = dark_and_light(np.random.default_rng(0), (70, 50), 3)
    return gap(lambda images: session.run(None, {"image": images})[0], batch, p)


@pytest.mark.parametrize(("interpolation", "bound"), [("bilinear", 1), ("bicubic", 1)])
def test_it_is_pillows(interpolation: str, bound: int) -> None:
    model = echo(p := replace(P, interpolation=interpolation))
    add_preprocessing(model, p)
    image = np.random.default_rng(0).integers(0, 256, (53, 77, 3), dtype=np.uint8)  # its width goes first
    expected = Image.fromarray(image).resize((30, 20), Image.Resampling[interpolation.upper()])
    (output,) = open_session(model).run(None, {"image": image[None]})
    apart = abs(output[0].transpose(1, 2, 0) - np.asarray(expected))
    assert apart.max() <= bound + 0.01
    assert apart.mean() < 0.02


@pytest.mark.parametrize(
    ("interpolation", "name", "value", "off"),
    [
        ("bilinear", "antialias", 0, 20),
        ("bilinear", "exclude_outside", 0, 2),
        ("bicubic", "exclude_outside", 0, 2),
        ("bicubic", "cubic_coeff_a", -0.75, 2),
        ("bilinear", "coordinate_transformation_mode", "asymmetric", 10),
    ],
)
def test_each_attribute_counts(interpolation: str, name: str, value: float | str, off: float) -> None:
    p = replace(P, interpolation=interpolation, levels="float32")
    assert altered(p, lambda node: None) < 0.01

    def change(node: ir.Node) -> None:
        node.attributes[name] = ir.convenience.convert_attribute(name, value)
        if name == "antialias":
            node.attributes["exclude_outside"] = ir.AttrInt64("exclude_outside", 0)

    assert altered(p, change) > off


def test_bytes_stay_bytes() -> None:
    """On bytes Resize is as fast as Pillow; on floats the large image would be cast first."""
    model = echo(P)
    add_preprocessing(model, P)
    resize = next(node for node in model.graph if node.op_type == "Resize")
    assert resize.inputs[0] is model.graph.inputs[0]
    assert resize.outputs[0].dtype == ir.DataType.UINT8


@pytest.mark.parametrize("size", [(4, 4), (4, 5), (4, 6), (4, 7), (8, 4), (4, 9)])
@pytest.mark.parametrize(
    ("start", "rounded"), [("floor", lambda r: r // 2), ("round", lambda r: round(r / 2))]
)
def test_the_offset_is_rounded(size: tuple[int, int], start: str, rounded: Callable) -> None:
    p = Preprocessing("gray", 4, 4, resize="shortest", interpolation="nearest", scale=1.0, crop_start=start)
    image = np.arange(size[0] * size[1], dtype=np.uint8).reshape(1, *size, 1)
    top, left = rounded(size[0] - 4), rounded(size[1] - 4)
    expected = image[:, top : top + 4, left : left + 4].transpose(0, 3, 1, 2)
    assert np.array_equal(graph(p)(image), expected)


@pytest.mark.parametrize("invert", ["never", "always", "light-background"])
@pytest.mark.parametrize("layout", ["NCHW", "NHWC"])
@pytest.mark.parametrize("size", [(2, 7), (3, 7), (7, 2), (7, 4), (7, 7)])
def test_the_odd_pixel_is_below_or_right(size: tuple[int, int], layout: str, invert: str) -> None:
    p = Preprocessing("gray", 7, 7, resize="longest", invert=invert, layout=layout, scale=1.0)
    image = np.full((2, *size, 1), 100 if invert == "light-background" else 200, dtype=np.uint8)
    top, left = (7 - size[0]) // 2, (7 - size[1]) // 2
    expected = np.zeros((7, 7), dtype=np.float32)
    expected[top : top + size[0], left : left + size[1]] = {
        "never": 200,
        "always": 55,
        "light-background": 100,
    }[invert]
    assert np.array_equal(graph(p)(image).reshape(2, 7, 7), np.stack([expected] * 2))


def sizes_of(p: Preprocessing) -> Any:
    """A session from an image to the size to which it would be resized."""
    image = ir.Value(name="image", type=ir.TensorType(UINT8), shape=ir.Shape(("N", "H", "W", 1)))
    model = ir.Model(ir.Graph([image], [], nodes=[], opset_imports={"": 18}, name="sizes"), ir_version=10)
    value = resized_size(NodeBuilder(model, "preprocess"), image, p)
    assert value.producer() is not None, "a constant"
    model.graph.outputs.append(value)
    return open_session(model)


@pytest.mark.parametrize("resize", ["shortest", "longest"])
@pytest.mark.parametrize(
    ("height", "width"), [(28, 28), (224, 224), (1, 1), (224, 160), (7, 300)], ids=lambda n: str(n)
)
def test_sizes(resize: str, height: int, width: int) -> None:
    rng = np.random.default_rng([height, width])
    for ratio in (1.0, 0.875, 0.9):
        p = Preprocessing("gray", height, width, resize=resize, crop_ratio=ratio)
        session = sizes_of(p)
        for size in [(1, 1), (height, width), (2 * width, 3), *rng.integers(1, 3000, (40, 2)).tolist()]:
            image = np.lib.stride_tricks.as_strided(
                np.zeros(1, np.uint8), (0, *size, 1), (0, 0, 0, 0)
            )  # no pixels: the size is all that counts
            (output,) = session.run(None, {"image": np.ascontiguousarray(image)})
            assert tuple(output) == p.resized_size(*size), (size, p)


def test_a_stretch_needs_no_nodes() -> None:
    model = ir.Model(ir.Graph([], [], nodes=[], opset_imports={"": 18}, name="sizes"), ir_version=10)
    builder = NodeBuilder(model, "preprocess")
    value = resized_size(builder, ir.Value(name="image"), Preprocessing("gray", 5, 7))
    assert builder.nodes == []
    assert value.const_value is not None
    assert value.const_value.numpy().tolist() == [5, 7]
