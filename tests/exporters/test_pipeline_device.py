"""Files for devices: fixed batch or image size, other opsets, no rewrites; how the runtime takes them."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from PIL import Image
from torch import nn

from cnntk.exporters import ExportReport, export
from cnntk.runtime import Classifier, Engine
from cnntk.runtime.artifact.spec import Preprocessing
from cnntk.runtime.errors import CaptureError, InputError, ParityError, UsageError
from cnntk.verification.artifact import verify

RESIZES: dict[str, dict[str, Any]] = {
    "crop": {"resize": "shortest", "crop_ratio": 0.8, "crop_start": "round"},
    "stretch, nearest": {"interpolation": "nearest"},
    "pad": {"resize": "longest"},
    "pad, inverted": {"resize": "longest", "invert": "always"},
    "pad, light": {"resize": "longest", "invert": "light-background"},
    "no antialias": {"resize": "shortest", "antialias": False, "interpolation": "bicubic"},
}


class Net(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            self.conv, self.fc = nn.Conv2d(channels, 4, 3, stride=2), nn.Linear(4 * 49, 5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.fc(self.conv(x).relu().flatten(1))


def exported(path: Path, color: str = "rgb", **options: Any) -> ExportReport:
    resize = options.pop("resize", {})
    channels = 1 if color == "gray" else 3
    p = Preprocessing(color, 16, 16, **resize, mean=(0.4,) * channels, std=(0.3,) * channels)
    options = {"input_shape": (channels, 16, 16), "preprocessing": p, "head": "classifier", **options}
    return export(Net(channels), path, **options)


def images() -> list[np.ndarray]:
    rng, shapes = np.random.default_rng(0), ((16, 16), (20, 20), (40, 23), (9, 31), (16, 16))
    arrays = [rng.integers(0, 120, (*shape, 3)).astype(np.uint8) for shape in shapes]
    return [*arrays[:-1], arrays[-1] + 120]


@pytest.mark.parametrize(
    ("resize", "color"),
    [*((name, "rgb") for name in RESIZES), ("crop", "gray"), ("pad, light", "gray"), ("crop", "bgr")],
)
def test_a_fixed_size_gives_what_a_free_one_gives(tmp_path: Path, resize: str, color: str) -> None:
    report = exported(tmp_path / "fixed.onnx", color, resize=RESIZES[resize], static_size=True)
    exported(tmp_path / "free.onnx", color, resize=RESIZES[resize])
    side = 20 if resize == "crop" else 16
    assert report.inputs[0].shape == ("N", side, side, 1 if color == "gray" else 3)
    operators = {node.op_type for node in onnx.load(tmp_path / "fixed.onnx").graph.node}
    assert not operators & {"Resize", "Shape", "Pad"}
    assert {node.op_type for node in onnx.load(tmp_path / "free.onnx").graph.node} > operators - {"Slice"}
    fixed, free = Classifier(tmp_path / "fixed.onnx"), Classifier(tmp_path / "free.onnx")
    grays = [Image.fromarray(images()[2]).convert("L")]
    for image in [*images(), *grays]:
        expected = free(image).probabilities
        np.testing.assert_allclose(fixed(image).probabilities, expected, atol=1e-5)
    assert np.abs(fixed(images()[0]).probabilities - fixed(images()[1]).probabilities).max() > 1e-3
    together = [each.probabilities for each in fixed.many(images())]
    np.testing.assert_allclose(together, [fixed(image).probabilities for image in images()], atol=1e-6)


def test_a_fixed_batch_is_filled_up_and_split(tmp_path: Path) -> None:
    report = exported(tmp_path / "m.onnx", batch=3, static_size=True)
    exported(tmp_path / "any.onnx")
    engine, fixed, free = (
        Engine(tmp_path / "m.onnx"),
        *map(Classifier, (tmp_path / "m.onnx", tmp_path / "any.onnx")),
    )
    assert report.inputs[0].shape == engine.inputs[0].shape == (3, 16, 16, 3)
    assert engine.outputs[0].shape == (3, 5)
    for count in (1, 3, 5):
        actual = [each.probabilities for each in fixed.many(images()[:count])]
        expected = [each.probabilities for each in free.many(images()[:count])]
        np.testing.assert_allclose(actual, expected, atol=1e-5)
    with pytest.raises(InputError, match=r"image"):
        engine.run({"image": np.zeros((2, 16, 16, 3), np.uint8)})
    assert engine.self_test().holds
    assert verify(tmp_path / "m.onnx").holds


@pytest.mark.parametrize("opset", [11, 17, 25])
def test_an_opset_for_a_device(tmp_path: Path, opset: int) -> None:
    report = exported(tmp_path / "m.onnx", opset=opset, static_size=True, batch=1)
    model = onnx.load(tmp_path / "m.onnx")
    assert model.opset_import[0].version == report.opset == opset
    assert model.ir_version == report.ir_version
    assert Engine(tmp_path / "m.onnx").self_test().holds


def test_an_opset_without_the_preprocessing(tmp_path: Path) -> None:
    with pytest.raises(
        CaptureError,
        match=r"--opset 17: Resize preprocess/resized needs .*or --static-size or --preprocess host",
    ):
        exported(tmp_path / "m.onnx", opset=17)
    assert not list(tmp_path.iterdir())
    assert exported(tmp_path / "m.onnx", opset=13, preprocess="host").opset == 13


def test_without_rewrites_the_nodes_are_torchs(tmp_path: Path) -> None:
    report = exported(tmp_path / "plain.onnx", simplify="none", opset=13, static_size=True)
    assert not report.simplifications
    assert report.preprocessing is not None
    assert not report.preprocessing.folded
    assert exported(tmp_path / "safe.onnx").preprocessing.folded


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"opset": 10}, "opset: 10, expected 11 to 25"),
        ({"opset": 26}, "opset: 26, expected 11 to 25"),
        ({"batch": 0}, "batch: 0, expected at least 1"),
        ({"simplify": "all"}, "simplify: 'all', expected one of safe, none"),
        ({"static_size": True, "preprocess": "host"}, "--static-size fixes the size of an image input, but"),
        ({"static_size": True, "resize": {"levels": "float32"}}, "resizes to float32 pixel values"),
    ],
)
def test_wrong_use(tmp_path: Path, options: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        exported(tmp_path / "m.onnx", **options)
    assert not list(tmp_path.iterdir())


def test_a_foreign_file_with_a_fixed_batch(tmp_path: Path) -> None:
    exported(tmp_path / "any.onnx", preprocess="none")
    model = onnx.load(tmp_path / "any.onnx")
    del model.metadata_props[:]
    onnx.save(model, tmp_path / "theirs.onnx")
    report = export(tmp_path / "theirs.onnx", tmp_path / "m.onnx", batch=2, opset=13)
    assert (report.inputs[0].shape, report.opset) == ((2, 3, 16, 16), 13)
    assert Engine(tmp_path / "m.onnx").self_test().holds


def test_a_tolerance_is_shown_beside_the_derived_limit(tmp_path: Path) -> None:
    report = exported(tmp_path / "m.onnx", preprocess="host", tolerance=1e-4)
    (detail,) = [check.detail for check in report.checks if check.name == "parity"]
    assert re.search(r"\(limit \S+, derived \S+, --tolerance 0.0001 of ", detail)
    spec = Engine(tmp_path / "m.onnx").spec
    assert spec is not None
    assert spec.check_results["tolerance"] == 1e-4
    with pytest.raises(ParityError, match="limit"):
        exported(tmp_path / "strict.onnx", preprocess="host", tolerance=1e-9)
    assert not (tmp_path / "strict.onnx").exists()
