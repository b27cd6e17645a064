import importlib
import importlib.util
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from PIL import Image

from cnntk.runtime.artifact.spec import Preprocessing, TensorSpec
from cnntk.runtime.errors import UsageError
from cnntk.runtime.preprocessing.choice import (
    PRESETS,
    agreed_preprocessing,
    is_image,
    parse_preprocessing,
    resolve_preprocessing,
    suggested_preset,
    unstated,
)
from cnntk.runtime.preprocessing.preprocess import normalize, resize_and_crop

COLOR = TensorSpec("x", "float32", ("N", 3, 224, 224))
GRAY = TensorSpec("x", "float32", ("N", 1, 28, 28))
LAST = TensorSpec("x", "float32", ("N", 24, 32, 3))
BYTES = TensorSpec("x", "uint8", ("N", 24, 32, 3))
OPEN = TensorSpec("x", "float32", ("N", 3, "H", "W"))
VECTOR = TensorSpec("x", "float32", ("N", 12))


def test_texts() -> None:
    assert parse_preprocessing(()) == {}
    assert parse_preprocessing("imagenet,mean=0.5,0.4,0.3,std=1/2,scale=1/255") == {
        "preset": "imagenet",
        "mean": "0.5,0.4,0.3",
        "std": "1/2",
        "scale": "1/255",
    }
    assert parse_preprocessing(["mean=0.5", "clip"]) == {"mean": "0.5", "preset": "clip"}


@pytest.mark.parametrize(
    ("texts", "message"),
    [
        ("imagnet", "--preprocessing imagnet: no such preset; did you mean imagenet"),
        (["imagenet", "clip"], "preset is stated twice, imagenet and clip"),
        (["mean=0", "mean=1"], "mean is stated twice, 0 and 1"),
        ("means=0", "means: no such field"),
        ("imagenet,std=", "std=: expected"),
        ("", "no such preset"),
    ],
)
def test_texts_that_are_refused(texts: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        parse_preprocessing(texts)


@pytest.mark.parametrize("name", PRESETS)
def test_a_preset_is_complete(name: str) -> None:
    """It says all but what the input says, so that nothing of a source's own is left."""
    tensor = GRAY if name == "mnist" else COLOR
    size = tensor.shape[2]
    other = Preprocessing(
        "gray" if name == "mnist" else "rgb", size, size, "longest", "nearest", False, "float32", 0.5,
        "always", 3.0, (9.0,) * tensor.shape[1], (9.0,) * tensor.shape[1], crop_start="floor",
    )  # fmt: skip
    fresh = resolve_preprocessing(name, tensor)
    assert resolve_preprocessing(name, tensor, other) == replace(fresh, crop_start=fresh.crop_start)
    assert len(fresh.mean) == tensor.shape[1]


@pytest.fixture
def torchvision() -> Any:
    for name in ("torch", "torchvision", "timm"):
        if importlib.util.find_spec(name) is None:
            pytest.skip(f"{name} is not installed")
    from cnntk.exporters.sources._torchvision import import_torchvision

    return import_torchvision("this test")


@pytest.mark.filterwarnings("ignore:.torch.jit:DeprecationWarning")  # older timm
@pytest.mark.usefixtures("torchvision")
@pytest.mark.parametrize(
    ("preset", "name"),
    [("imagenet", "IMAGENET_DEFAULT"), ("clip", "OPENAI_CLIP"), ("inception", "IMAGENET_INCEPTION")],
)
def test_the_constants_are_timms(preset: str, name: str) -> None:
    constants = importlib.import_module("timm.data.constants")
    p = resolve_preprocessing(preset, COLOR)
    assert (p.mean, p.std) == (getattr(constants, f"{name}_MEAN"), getattr(constants, f"{name}_STD"))
    assert p.scale == 1 / 255


@pytest.mark.usefixtures("torchvision")
def test_imagenet_is_torchvisions_transform() -> None:
    presets = importlib.import_module("torchvision.transforms._presets")
    image = np.random.default_rng(0).integers(0, 256, (375, 500, 3), dtype=np.uint8)
    p = resolve_preprocessing("imagenet", COLOR)
    expected = presets.ImageClassification(crop_size=224)(Image.fromarray(image)).numpy()
    assert np.abs(normalize(resize_and_crop(image, p)[None], p)[0] - expected).max() < 1e-5


def test_a_stretch_and_a_crop() -> None:
    """Both sides to 256, and 224 from the center, as old classifiers were trained."""
    image = np.random.default_rng(0).integers(0, 256, (300, 500, 3), dtype=np.uint8)
    p = resolve_preprocessing("imagenet,resize=stretch,crop_ratio=224/256", COLOR)
    assert p.edges == (256, 256)
    wide = Image.fromarray(image).resize((256, 300), Image.Resampling.BILINEAR)
    expected = np.asarray(wide.resize((256, 256), Image.Resampling.BILINEAR))[16:240, 16:240]
    np.testing.assert_array_equal(resize_and_crop(image, p), expected)
    assert not np.array_equal(resize_and_crop(image, replace(p, crop_ratio=1.0)), expected)


def test_the_order_of_channels_and_one_number_for_all() -> None:
    rgb = resolve_preprocessing("imagenet", COLOR)
    bgr = resolve_preprocessing("imagenet,color=bgr", COLOR)
    assert (bgr.mean, bgr.std) == (rgb.mean[::-1], rgb.std[::-1])
    stated = resolve_preprocessing("imagenet,color=bgr,mean=0.1,0.2,0.3", COLOR)
    assert stated.mean == (0.1, 0.2, 0.3)
    p = resolve_preprocessing("scale=1,mean=127,std=128", COLOR)
    assert (p.mean, p.std) == ((127.0,) * 3, (128.0,) * 3)


def test_the_input_says_size_color_and_layout() -> None:
    p = resolve_preprocessing("unit", LAST)
    assert (p.height, p.width, p.layout, p.color) == (24, 32, "NHWC", "rgb")
    assert resolve_preprocessing({"preset": "unit"}, GRAY).color == "gray"
    whole = Preprocessing("gray", 8, 8)
    assert resolve_preprocessing(whole, GRAY) is whole
    assert resolve_preprocessing("unit,height=64,width=48", OPEN).width == 48


BYTE_STATISTICS = "mean=123.675,116.28,103.53,std=58.395,57.12,57.375"


@pytest.mark.parametrize(
    ("choice", "tensor", "message"),
    [
        ("imagenet", GRAY, "is for images in color, and the network takes gray ones; use mnist"),
        ("imagenet", BYTES, "x is uint8, so the network normalizes .*; use --preprocessing none"),
        ("imagenet", OPEN, "leaves its size open; .*, like height=224,width=224"),
        ("imagenet,height=9", OPEN, "like width=224"),
        ("imagenet", VECTOR, r"has shape \[N, 12\] of float32; expected an image"),
        ("unit,layout=NCHW", LAST, "its layout is NHWC: leave out layout=NCHW"),
        (BYTE_STATISTICS, COLOR, "use mean=0.485,0.456,0.406 and std=0.229,0.224,0.225, or scale=1$"),
        (f"{BYTE_STATISTICS},scale=1/255", COLOR, "are of values from 0 to 255, but scale=1/255"),
        ("mean=103.939,116.779,123.68", COLOR, "are of values from 0 to 255"),
        ("mnist,mean=33.3,std=78.6", GRAY, "use mean=0.130588 and std=0.308235, or scale=1"),
    ],
)
def test_what_does_not_fit(choice: str, tensor: TensorSpec, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        resolve_preprocessing(choice, tensor)


@pytest.mark.parametrize(
    "choice",
    [
        "scale=1,mean=123.675,116.28,103.53,std=58.395,57.12,57.375",
        "scale=1,mean=103.939,116.779,123.68",
        "scale=1/127.5,mean=1",
        "scale=1/255,mean=103.939,116.779,123.68",  # trained so by mistake, as `verify --images` may find
    ],
)
def test_other_ranges_that_are_sound(choice: str) -> None:
    assert resolve_preprocessing(choice, COLOR).color == "rgb"


def test_a_file_that_states_its_own() -> None:
    current = resolve_preprocessing("imagenet", COLOR)
    assert agreed_preprocessing("a.onnx", current, COLOR, None) is current
    assert agreed_preprocessing("a.onnx", current, COLOR, {}) is current
    assert agreed_preprocessing("a.onnx", current, COLOR, "imagenet") == current
    assert agreed_preprocessing("a.onnx", None, COLOR, None) is None
    assert agreed_preprocessing("a.onnx", None, COLOR, "imagenet") == current
    with pytest.raises(
        UsageError, match=r"a\.onnx: states its own .* with interpolation bilinear, not bicubic"
    ):
        agreed_preprocessing("a.onnx", current, COLOR, "imagenet-bicubic")
    with pytest.raises(UsageError, match=r"a\.onnx: --preprocessing: the input x is uint8"):
        agreed_preprocessing("a.onnx", None, BYTES, "clip")


def test_what_to_try_first() -> None:
    tensors = (COLOR, GRAY, LAST, BYTES, OPEN, VECTOR)
    assert [suggested_preset(tensor) for tensor in tensors] == [
        "imagenet", "mnist", "imagenet", "none", "imagenet,height=224,width=224", None,
    ]  # fmt: skip
    assert [is_image(tensor) for tensor in tensors] == [True] * 5 + [False]
    assert not is_image(replace(COLOR, dtype="int64"))
    assert "its input x (float32 [N, 24, 32, 3], layout NHWC); add --preprocessing imagenet," in unstated(
        LAST
    )
    for tensor in tensors[:-1]:  # what is suggested works
        assert resolve_preprocessing(str(suggested_preset(tensor)), tensor)
