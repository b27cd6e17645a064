"""The graph's pixels are the host's, or near them; a graph that does something else is seen."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx_ir as ir
import pytest
from PIL import Image
from pixel_graphs import echo
from torch import nn

from cnntk.benchmark.compare import Comparison
from cnntk.evaluation.graph_pixels import GraphPixels, PixelComparison, joined
from cnntk.evaluation.network_input import NoNetwork
from cnntk.evaluation.preprocessing_check import check_preprocessing
from cnntk.exporters import export
from cnntk.exporters.preprocessing import add_preprocessing
from cnntk.quantization.pipeline import quantize
from cnntk.runtime.artifact.spec import Preprocessing

EXACT = Preprocessing(
    "rgb", 97, 97, "shortest", crop_ratio=0.87, mean=(0.5,) * 3, std=(0.5, 0.4, 0.5), resize_form="exact"
)
SIZES = [(130, 211), (210, 90), (111, 111)]
"""The crop of the first removes an odd number of columns: rounded otherwise, it is one pixel off."""


def written(folder: Path, p: Preprocessing, *, static_size: bool = False) -> Path:
    model = echo(p)
    add_preprocessing(model, p, static_size=static_size)
    file = folder / "model.onnx"
    ir.save(model, file)
    return file


def compared(file: Path, p: Preprocessing) -> PixelComparison:
    graph, rng = GraphPixels(file, p), np.random.default_rng(0)
    images = [
        rng.integers(0, 128, (*size, channels), dtype=np.uint8) for size in SIZES for channels in (3, 1)
    ]
    result = joined([graph.compare(image, f"image {i}") for i, image in enumerate(images)])
    assert result is not None
    return result


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"interpolation": "bicubic", "color": "bgr", "invert": "always"},
        {"resize": "longest", "crop_ratio": 1.0, "invert": "light-background", "layout": "NHWC"},
        {"color": "gray", "mean": (0.0,), "std": (1.0,)},
    ],
    ids=str,
)
@pytest.mark.parametrize("static_size", [False, True])
def test_pixels_of_the_exact_form_are_equal(
    fields: dict[str, object], static_size: bool, tmp_path: Path
) -> None:
    p = replace(EXACT, **fields)
    result = compared(written(tmp_path, p, static_size=static_size), p)
    assert (result.images, result.max_difference, result.mean_difference) == (6, 0, 0)
    assert result.holds
    assert result.verdict == "the graph's pixels equal the host's to the bit on 6 images (limit 0 of 255)"
    assert not replace(result, max_difference=1.0).holds


@pytest.mark.parametrize("form", ["fast", "operator"])
def test_pixels_of_other_forms_are_near(form: str, tmp_path: Path) -> None:
    p = replace(EXACT, resize_form=form)
    result = compared(written(tmp_path, p), p)
    assert result.holds
    assert result.limit == 2


@pytest.mark.parametrize(
    "fields",
    [{"crop_start": "round"}, {"interpolation": "bicubic"}, {"color": "bgr"}, {"resize": "stretch"}],
    ids=str,
)
def test_a_graph_that_does_something_else_is_seen(fields: dict[str, object], tmp_path: Path) -> None:
    """The graph of one spec, in a file that states another."""
    result = compared(written(tmp_path, EXACT), replace(EXACT, **fields))
    assert not result.holds
    assert f"on {result.worst} (limit 0 of 255): the graph does not do what the spec says" in result.verdict


def test_nothing_to_compare(tmp_path: Path) -> None:
    assert joined([]) is None
    file = tmp_path / "echo.onnx"
    ir.save(echo(EXACT), file)
    with pytest.raises(NoNetwork, match="0 values lead from its preprocessing"):
        GraphPixels(file, EXACT)


@pytest.mark.slow
def test_labeled_images(tmp_path: Path) -> None:
    """The whole check of an artifact that resizes by products, in floats and in integers."""
    file, photos, rng = tmp_path / "model.onnx", tmp_path / "photos", np.random.default_rng(0)
    for label in "01":
        (photos / label).mkdir(parents=True)
        for size in [(height + i, width) for height, width in SIZES for i in range(4)]:
            image = Image.fromarray(rng.integers(0, 256, (*size, 3), dtype=np.uint8))
            image.save(photos / label / f"{size}.png")
    network = nn.Sequential(nn.Conv2d(3, 16, 9, 8), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(16, 2))
    fields = {"resize": "shortest", "crop_ratio": "0.87"}
    export(network, file, input_shape=(3, 97, 97), labels=["0", "1"], preprocessing=fields)
    small = tmp_path / "small.onnx"
    faster = Comparison(2.0, 1.98, 2.02, 2.0, 1.0, 60)
    result = quantize(
        file, calibration=str(photos), output=small, max_drop=100, compare_calls=lambda *_: faster
    )
    assert result.changed
    report, in_integers = check_preprocessing(file, photos), check_preprocessing(small, photos)
    for each in (report, in_integers):
        assert each.pixels is not None
        assert (each.pixels.images, each.pixels.max_difference) == (24, 0)
        assert each.sections()[0].lines == (("pixels", each.pixels.verdict),)
        assert {"nearest", "no antialias"} <= {variant.name for variant in each.variants}
    assert report.untested == ()
    assert "Caffe" in in_integers.untested
    assert any("its first layer reads bytes" in note for note in in_integers.notes)
    assert report.pixels is not None
    wrong = replace(report, pixels=replace(report.pixels, max_difference=3.0))
    assert report.holds
    assert not wrong.holds
    assert wrong.verdict.startswith("mismatch: the graph's pixels differ from the host's by 3 on ")
