"""The variants: no two alike, each with the options that give it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from cnntk.evaluation.preprocessing_variants import variants_of
from cnntk.exporters.source import Source, with_preprocessing
from cnntk.runtime.artifact.spec import Preprocessing, TensorSpec
from cnntk.runtime.preprocessing.preprocess import normalize, preprocess

COLOR = Preprocessing("rgb", 12, 10, mean=(0.0,) * 3, std=(1.0,) * 3)
IMAGENET = replace(
    COLOR, resize="shortest", crop_ratio=0.875, mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225)
)
SPECS = [
    COLOR,
    IMAGENET,
    replace(IMAGENET, color="bgr", interpolation="bicubic", antialias=False, levels="float32"),
    replace(COLOR, layout="NHWC", interpolation="nearest", invert="always"),
    replace(COLOR, scale=1.0, mean=(103.939, 116.779, 123.68), color="bgr", interpolation="lanczos"),
    replace(IMAGENET, resize_form="exact"),
    Preprocessing("gray", 12, 10, resize="longest", invert="light-background", mean=(0.13,), std=(0.31,)),
]
each = pytest.mark.parametrize(
    "p", SPECS, ids=lambda p: f"{p.color} {p.resize} {p.interpolation} {p.layout} {p.resize_form}"
)


@each
def test_names_differ_and_so_do_inputs(p: Preprocessing) -> None:
    _, *variants = variants_of(p)
    names = [m.name for m in variants]
    assert len(set(names)) == len(names)
    assert {"transposed", "inverted" if p.invert != "always" else "not inverted"} <= set(names)
    dark = np.random.default_rng(0).integers(0, 120, (37, 61, 3), dtype=np.uint8)
    images = [dark, dark + 130]
    for variant in variants:
        pixels = np.stack([variant.pixel_values(image) for image in images])
        assert pixels.shape == (2, p.height, p.width, p.channels), variant.name
        assert not np.array_equal(normalize(pixels, variant.preprocessing), preprocess(images, p)), (
            variant.name
        )


@each
def test_the_options_make_the_preprocessing_of_the_spec(p: Preprocessing) -> None:
    shape = (p.channels, p.height, p.width)
    spec = TensorSpec("input", "float32", ("N", *(shape if p.layout == "NCHW" else (*shape[1:], shape[0]))))
    unchanged, *others = variants_of(p)
    source = Source("net", (spec,), module=_module(), preprocessing=unchanged.preprocessing)
    for variant in others:
        fields = dict(option.split("=", 1) for option in variant.options(unchanged.preprocessing))
        assert bool(fields) == (variant.before is None and variant.after is None)
        assert with_preprocessing(source, fields).preprocessing == variant.preprocessing, variant.name


def _module() -> object:
    from torch import nn

    return nn.Identity()


def test_texts_of_the_options() -> None:
    options = {m.name: m.options(IMAGENET) for m in variants_of(IMAGENET)}
    assert options["BGR"] == ("color=bgr",)
    assert options["no /255"] == ("scale=1",)
    assert options["twice /255"] == ("scale=1/65025",)
    assert options["0.5/0.5"] == ("mean=0.5,0.5,0.5", "std=0.5,0.5,0.5")
    assert options["no antialias"] == ("antialias=false",)
    assert options["crop"] == ("crop_ratio=1",)
    assert options["stretch"] == ("resize=stretch", "crop_ratio=1")
    assert options["gray"] == options["transposed"] == options["reshaped"] == ()
    assert "ImageNet" not in options


def test_what_differs_in_writing_alone_is_not_tried() -> None:
    """Mean and deviation in levels, which is ImageNet's in other words."""
    p = replace(
        IMAGENET,
        scale=1.0,
        mean=tuple(255 * m for m in IMAGENET.mean),
        std=tuple(255 * s for s in IMAGENET.std),
    )
    assert "ImageNet" not in {m.name for m in variants_of(p)}


def test_reshaped_pixels_are_read_in_their_order_of_bytes() -> None:
    image = np.arange(12 * 10 * 3, dtype=np.uint16).reshape(12, 10, 3).astype(np.uint8)
    reshaped = next(m for m in variants_of(COLOR) if m.name == "reshaped").pixel_values(image)
    assert np.array_equal(reshaped.transpose(2, 0, 1).ravel(), image.ravel())


def test_of_gray_and_transposed_images() -> None:
    image = np.zeros((10, 12, 3), np.uint8)
    image[2, 5] = 0, 255, 0
    variants = {m.name: m.pixel_values(image) for m in variants_of(replace(COLOR, height=12, width=10))}
    assert variants["transposed"][5, 2].tolist() == [0, 255, 0]
    gray = next(m for m in variants_of(replace(COLOR, height=10, width=12)) if m.name == "gray")
    assert gray.pixel_values(image)[2, 5].tolist() == [150, 150, 150]
