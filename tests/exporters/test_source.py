import dataclasses

import pytest
from torch import nn

from cnntk.exporters.source import Source, with_preprocessing
from cnntk.runtime.artifact.spec import Preprocessing, TensorSpec
from cnntk.runtime.errors import UsageError


def source(*shape: int, preprocessing: Preprocessing | None = None) -> Source:
    return Source(
        "net", (TensorSpec("input", "float32", ("N", *shape)),), nn.Identity(), preprocessing=preprocessing
    )


def test_other_fields_follow_from_the_input() -> None:
    p = with_preprocessing(
        source(3, 20, 30), {"mean": "0.485, 0.456,0.406", "std": "1,1,0.5", "resize": "shortest"}
    )
    assert p.preprocessing == Preprocessing(
        "rgb", 20, 30, resize="shortest", mean=(0.485, 0.456, 0.406), std=(1.0, 1.0, 0.5)
    )
    nhwc = with_preprocessing(source(20, 30, 1), {"layout": "NHWC", "scale": "1/127.5", "antialias": "False"})
    assert nhwc.preprocessing == Preprocessing(
        "gray", 20, 30, layout="NHWC", scale=1 / 127.5, antialias=False
    )


def test_the_sources_fields_stay_unless_replaced() -> None:
    original = Preprocessing("gray", 8, 8, crop_ratio=0.5, mean=(0.1,), std=(0.2,))
    result = with_preprocessing(source(1, 8, 8, preprocessing=original), {"interpolation": "bicubic"})
    assert result.preprocessing == dataclasses.replace(original, interpolation="bicubic")


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"means": "0"}, "--preprocessing means: no such field; the fields are color, height"),
        ({"resize": "squash"}, "--preprocessing resize=squash: expected one of stretch, shortest, longest"),
        ({"scale": "x"}, "--preprocessing scale=x: expected float"),
        ({"antialias": "perhaps"}, "--preprocessing antialias=perhaps: expected bool"),
        ({"mean": "0,0"}, r"--preprocessing: Preprocessing.mean = \(0.0, 0.0\) is not valid with 'rgb'"),
        ({"std": "1,1,1/0"}, "--preprocessing std=1,1,1/0: expected"),
    ],
    ids=lambda v: str(v)[:30],
)
def test_what_does_not_fit_is_named(fields: dict, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        with_preprocessing(source(3, 8, 8), fields)


def test_an_input_that_is_no_image_is_refused() -> None:
    with pytest.raises(
        UsageError, match=r"the input input has shape \[N, 12\] of float32; expected an image"
    ):
        with_preprocessing(source(12), {"scale": "1"})
