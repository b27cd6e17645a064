import importlib.util
from typing import Any

import pytest

from cnntk.exporters.options import ExportOptions
from cnntk.exporters.sources import open_source
from cnntk.exporters.sources._timm import preprocessing_of
from cnntk.runtime.artifact.spec import Preprocessing
from cnntk.runtime.errors import MissingDependency, UsageError

CONFIG = {
    "interpolation": "bicubic",
    "crop_pct": 0.95,
    "crop_mode": "center",
    "mean": (0.5,) * 3,
    "std": (0.5,) * 3,
}


@pytest.mark.skipif(importlib.util.find_spec("timm") is not None, reason="timm is installed")
def test_without_timm_the_message_says_what_to_install() -> None:
    with pytest.raises(MissingDependency, match=r"timm:resnet18 needs timm and torchvision .*pip install"):
        open_source("timm:resnet18", ExportOptions(random=True))


@pytest.mark.skipif(importlib.util.find_spec("timm") is None, reason="timm is not installed")
def test_with_timm() -> None:
    source = open_source("timm:test_resnet", ExportOptions(random=True))
    assert source.classifier
    with pytest.raises(UsageError, match="has no such network"):
        open_source("timm:no_such", ExportOptions(random=True))


def test_a_center_crop() -> None:
    steps, notes = preprocessing_of(CONFIG, (3, 224, 224))
    assert notes == ()
    assert steps == Preprocessing(
        "rgb",
        224,
        224,
        "shortest",
        "bicubic",
        crop_ratio=224 / 235,
        mean=(0.5, 0.5, 0.5),
        std=(0.5, 0.5, 0.5),
        crop_start="round",
    )


def test_a_stretch() -> None:
    steps, _ = preprocessing_of({**CONFIG, "crop_mode": "squash", "crop_pct": 1.0}, (3, 8, 8))
    assert steps is not None
    assert (steps.resize, steps.crop_ratio) == ("stretch", 1.0)


@pytest.mark.parametrize(
    ("config", "channels"),
    [({"crop_mode": "squash"}, 3), ({"crop_mode": "border"}, 3), ({"interpolation": "random"}, 3), ({}, 1)],
)
def test_what_has_no_counterpart_is_noted(config: dict[str, Any], channels: int) -> None:
    steps, (note,) = preprocessing_of({**CONFIG, **config}, (channels, 8, 8))
    assert steps is None
    assert "can't be expressed in cnntk, so the file takes arrays only" in note
