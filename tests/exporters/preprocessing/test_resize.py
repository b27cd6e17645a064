"""Resize against Pillow itself, and what ONNX's defaults would have done."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import onnx_ir as ir
import pytest
from PIL import Image
from pixel_graphs import dark_and_light, echo, gap, open_session

from cnntk.exporters.preprocessing import add_preprocessing
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
    (found,) = open_session(model).run(None, {"image": image[None]})
    apart = abs(found[0].transpose(1, 2, 0) - np.asarray(expected))
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
