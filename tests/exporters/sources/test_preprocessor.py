from typing import Any

import pytest

from cnntk.exporters.sources._preprocessor import Unmapped, preprocessing_of
from cnntk.runtime.artifact.spec import Preprocessing

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
BASE = {
    "do_resize": True,
    "resample": 3,
    "do_normalize": True,
    "image_mean": list(MEAN),
    "image_std": list(STD),
}


def expected(**fields: Any) -> Preprocessing:
    return Preprocessing(**{"color": "rgb", "interpolation": "bicubic", "mean": MEAN, "std": STD, **fields})


CASES = [
    ("stretched", {"size": {"height": 8, "width": 9}}, expected(height=8, width=9)),
    ("stretched, an old file", {"size": 8}, expected(height=8, width=8)),
    (
        "shortest side and crop",
        {"size": {"shortest_edge": 256}, "do_center_crop": True, "crop_size": {"height": 224, "width": 224}},
        expected(height=224, width=224, resize="shortest", crop_ratio=0.875),
    ),
    (
        "shortest side and crop, an old file",
        {"size": 256, "do_center_crop": True, "crop_size": 224},
        expected(height=224, width=224, resize="shortest", crop_ratio=0.875),
    ),
    (
        "ConvNeXt below 384",
        {"size": {"shortest_edge": 224}, "crop_pct": 0.875, "image_processor_type": "ConvNextImageProcessor"},
        expected(height=224, width=224, resize="shortest", crop_ratio=0.875),
    ),
    (
        "ConvNeXt from 384",
        {"size": {"shortest_edge": 384}, "crop_pct": 0.875, "image_processor_type": "ConvNextImageProcessor"},
        expected(height=384, width=384),
    ),
    (
        "both sides and crop",
        {"size": {"height": 256, "width": 256}, "do_center_crop": True, "crop_size": 224},
        expected(height=224, width=224, crop_ratio=0.875),
    ),
    ("not rescaled", {"size": 8, "do_rescale": False}, expected(height=8, width=8, scale=1.0)),
    (
        "another factor",
        {"size": 8, "rescale_factor": 1 / 127.5},
        expected(height=8, width=8, scale=1 / 127.5),
    ),
    ("bgr", {"size": 8, "do_flip_channel_order": True}, expected(height=8, width=8, color="bgr")),
    (
        "not normalized",
        {"size": 8, "do_normalize": False},
        expected(height=8, width=8, mean=(0.0,) * 3, std=(1.0,) * 3),
    ),
]


@pytest.mark.parametrize(("config", "steps"), [c[1:] for c in CASES], ids=[c[0] for c in CASES])
def test_what_has_words(config: dict[str, Any], steps: Preprocessing) -> None:
    assert preprocessing_of({**BASE, **config}, 3) == steps


UNMAPPED = [
    ({"size": 8, "resample": 4}, "resample: 4"),
    ({"size": 8, "resample": None}, "resample: None"),
    ({"size": {"longest_edge": 8}}, "size: {'longest_edge': 8}"),
    ({"size": {"shortest_edge": 8}}, "size: {'shortest_edge': 8}"),
    ({}, "size: None"),
    ({"size": 8, "do_resize": False}, "images are not resized"),
    ({"size": 8, "rescale_offset": True}, "rescale_offset: True"),
    ({"size": 8, "include_top": True}, "include_top: True"),
    ({"size": 8, "do_pad": True}, "do_pad: True"),
    ({"size": {"shortest_edge": 8}, "crop_pct": 0.9}, "crop_pct of an unknown processor"),
    (
        {"size": {"height": 8, "width": 9}, "do_center_crop": True, "crop_size": 6},
        "a crop of 6x6 out of 8x9",
    ),
    ({"size": {"shortest_edge": 8}, "do_center_crop": True, "crop_size": 9}, "a crop of 9x9 out of 8"),
    ({"size": {"shortest_edge": 8}, "do_center_crop": True}, "crop_size: None"),
    ({"size": 8, "image_mean": [0.5]}, "mean"),
    ({"size": 8, "image_std": [0.5, 0, 1]}, "std"),
]


@pytest.mark.parametrize(("config", "reason"), UNMAPPED, ids=[reason for _, reason in UNMAPPED])
def test_what_has_none_says_why(config: dict[str, Any], reason: str) -> None:
    with pytest.raises(Unmapped, match=reason.replace("{", r"\{")):
        preprocessing_of({**BASE, **config}, 3)


def test_channels() -> None:
    gray = preprocessing_of({"size": 8, "resample": 2, "image_mean": [0.5], "image_std": [0.5]}, 1)
    assert (gray.color, gray.mean) == ("gray", (0.5,))
    with pytest.raises(Unmapped, match="4 channels"):
        preprocessing_of({**BASE, "size": 8}, 4)
    assert preprocessing_of({"size": 8, "resample": 2}, 3).mean == (0.0, 0.0, 0.0)
    with pytest.raises(Unmapped, match="do_normalize without image_mean"):
        preprocessing_of({"size": 8, "resample": 2, "do_normalize": True}, 3)
