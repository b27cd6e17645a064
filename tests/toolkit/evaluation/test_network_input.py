"""Pixel values reach the network whatever the model takes: as an image, or by the extracted network."""

from __future__ import annotations

import itertools
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from torch import nn

from cnntk.evaluation.network_input import NetworkInput
from cnntk.exporters import export
from cnntk.runtime.artifact.spec import METADATA_KEY, Preprocessing
from cnntk.runtime.classifier import Classifier
from cnntk.runtime.engine import Engine
from cnntk.runtime.preprocessing.preprocess import normalize, resize_and_crop

COLOR = Preprocessing("rgb", 12, 10, mean=(0.4, 0.5, 0.6), std=(0.2, 0.3, 0.4))
SPECS = {
    "stretch": COLOR,
    "crop, bgr": replace(COLOR, resize="shortest", crop_ratio=0.8, color="bgr"),
    "crop, rounded": replace(COLOR, resize="shortest", crop_ratio=0.9, crop_start="round"),
    "inverted": replace(COLOR, invert="always"),
    "letterbox, dark": replace(COLOR, resize="longest", invert="light-background"),
    "no mean": replace(COLOR, mean=(0.0,) * 3, std=(1.0,) * 3),
    "nothing": replace(COLOR, mean=(0.0,) * 3, std=(1.0,) * 3, scale=1.0),
    "products": replace(COLOR, height=96, width=100, resize="shortest", crop_ratio=0.9),
    "last": replace(COLOR, layout="NHWC"),
    "floats": replace(COLOR, levels="float32"),
    "gray": Preprocessing(
        "gray", 14, 14, resize="longest", invert="light-background", mean=(0.13,), std=(0.3,)
    ),
}


class Last(nn.Module):
    """Takes (N, H, W, C)."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.inner(x.permute(0, 3, 1, 2))


def network(p: Preprocessing, padding: int) -> nn.Module:
    """Padded, its first layer takes over the factor alone; else all of the normalization."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        inner = nn.Sequential(
            nn.Conv2d(p.channels, 4, 3, padding=padding),
            nn.ReLU(),
            nn.AdaptiveAvgPool2d(2),
            nn.Flatten(),
            nn.Linear(16, 3),
        )
    return (inner if p.layout == "NCHW" else Last(inner)).eval()


def exported(p: Preprocessing, module: nn.Module, folder: Path, way: Any = "graph") -> Path:
    shape = (p.channels, p.height, p.width)
    shape = shape if p.layout == "NCHW" else (*shape[1:], shape[0])
    export(module, folder / "net.onnx", input_shape=shape, preprocessing=p, preprocess=way)
    return folder / "net.onnx"


def renamed(file: Path, old: str, new: str) -> Path:
    """With other names of nodes, and no digest that says so."""
    model, spec = onnx.load(file), Engine(file).spec
    assert spec is not None
    for node in model.graph.node:
        node.name = node.name.replace(old, new)
    entry = next(e for e in model.metadata_props if e.key == METADATA_KEY)
    entry.value = replace(spec, digest="").to_json()
    onnx.save(model, file.with_name("renamed.onnx"))
    return file.with_name("renamed.onnx")


@pytest.mark.parametrize(("name", "padding"), list(itertools.product(SPECS, (0, 1))))
def test_levels_and_ranges_of_any_kind(name: str, padding: int, tmp_path: Path) -> None:
    p = SPECS[name]
    module = network(p, padding)
    file = exported(p, module, tmp_path)
    network_input = NetworkInput(file, Classifier(file))
    assert network_input.note is None
    rng = np.random.default_rng(0)
    levels = rng.integers(0, 256, (5, p.height, p.width, p.channels), dtype=np.uint8)
    levels[0] >>= 1
    levels[1] |= 128
    for values in (levels, levels.astype(np.float32) + 0.25):
        for p_changed in (
            p,
            replace(p, scale=1 / 100),
            replace(p, mean=(0.1,) * p.channels, std=(2.0,) * p.channels),
        ):
            with torch.inference_mode():
                expected = module(torch.from_numpy(normalize(values, p_changed))).numpy()
            actual = network_input.logits(values, p_changed)
            assert actual is not None
            np.testing.assert_allclose(actual, expected, rtol=1e-3, atol=1e-4 * np.abs(expected).max())


@pytest.mark.parametrize("name", SPECS)
def test_bytes_alone_go_through_the_file_itself(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    p = SPECS[name]
    module = network(p, 1)
    file = exported(p, module, tmp_path)
    monkeypatch.setitem(sys.modules, "onnx_ir", None)
    network_input = NetworkInput(file, Classifier(file))
    assert network_input.note is not None
    image = np.random.default_rng(0).integers(0, 256, (31, 23, 3), dtype=np.uint8)
    levels = np.stack(
        [resize_and_crop(picture, replace(p, levels="uint8")) for picture in (image, 255 - image)]
    )
    with torch.inference_mode():
        expected = module(torch.from_numpy(normalize(levels, p))).numpy()
    actual = network_input.logits(levels, p)
    assert actual is not None
    np.testing.assert_allclose(actual, expected, rtol=1e-3, atol=1e-4 * np.abs(expected).max())
    assert network_input.logits(levels, replace(p, scale=0.5)) is None
    assert network_input.logits(levels.astype(np.float32) + 0.5, p) is None
    light = np.full((1, p.height, p.width, p.channels), 200, np.uint8)
    assert (network_input.logits(light, p) is None) == (p.invert == "light-background")


def test_a_file_with_preprocessing_on_the_host_takes_all(tmp_path: Path) -> None:
    module = network(COLOR, 1)
    file = exported(COLOR, module, tmp_path, "host")
    network_input = NetworkInput(file, Classifier(file))
    levels = np.random.default_rng(0).integers(0, 256, (2, 12, 10, 3), dtype=np.uint8)
    wanted = replace(COLOR, scale=1.0)
    with torch.inference_mode():
        expected = module(torch.from_numpy(normalize(levels, wanted))).numpy()
    np.testing.assert_allclose(network_input.logits(levels, wanted), expected, rtol=1e-3)


def test_a_network_that_answers_otherwise_alone_is_not_used(tmp_path: Path) -> None:
    """A graph that is cut in another place than is meant: it would be asked in the wrong units."""
    file = renamed(exported(COLOR, network(COLOR, 1), tmp_path), "preprocess/less_mean", "preprocess/more")
    network_input = NetworkInput(file, Classifier(file))
    assert "gives logits that differ" in str(network_input.note)
    levels = np.zeros((1, 12, 10, 3), np.uint8)
    assert network_input.logits(levels, COLOR) is not None
    assert network_input.logits(levels, replace(COLOR, scale=1.0)) is None


def test_a_graph_whose_preprocessing_bears_no_names_is_not_cut(tmp_path: Path) -> None:
    file = renamed(exported(COLOR, network(COLOR, 1), tmp_path), "preprocess/", "before/")
    assert "0 values lead" in str(NetworkInput(file, Classifier(file)).note)
