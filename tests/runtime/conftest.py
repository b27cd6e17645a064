"""An artifact as an export leaves it, small enough to try every byte of it."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
import pytest
import torch
from torch import nn

from cnntk.exporters import export
from cnntk.exporters.artifact import append_spec, write_hashed
from cnntk.exporters.self_test_vectors import Arrays, self_test_of
from cnntk.runtime.artifact.spec import Layer, ModelSpec, TensorSpec


@pytest.fixture
def sealed_onnx(foreign_onnx: Path, tmp_path: Path) -> Path:
    """The tiny classifier with fingerprints, self-test and digest."""
    weights = {w.name: onnx.numpy_helper.to_array(w) for w in onnx.load(foreign_onnx).graph.initializer}
    path = tmp_path / "sealed.onnx"
    inputs = (TensorSpec("input", "float32", ("N", 1, 4, 4)),)

    def answers(arrays: Arrays, dtype: type[np.floating]) -> Arrays:
        flat = arrays["input"].reshape(-1, 16).astype(dtype)
        return {"logits": flat @ weights["weight"].astype(dtype) + weights["bias"].astype(dtype)}

    spec = ModelSpec(
        name="tiny",
        labels=("dark", "light", "left"),
        inputs=inputs,
        layers=tuple(
            Layer(name, op, ("N", 3), 0, 0)
            for name, op in (("flatten", "Flatten"), ("fc", "Gemm"), ("head/softmax", "Softmax"))
        ),
        self_test=self_test_of(
            lambda x: answers(x, np.float64),
            lambda x: answers(x, np.float32),
            specs=inputs,
            probabilities=True,
        ),
    )
    written = write_hashed(ir.load(foreign_onnx), path)
    assert append_spec(path, spec, written) == replace(
        spec, fingerprints=written.fingerprints, digest=path.read_bytes()[-66:-2].decode()
    )
    return path


class Wide(nn.Module):
    """One layer of 96 KiB, which goes beside the file, behind a convolution of 0.4 KiB, which does not."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3, padding=1)
        self.fc = nn.Linear(4 * 8 * 8, 96)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.fc(self.conv(x).relu().flatten(1))


@pytest.fixture(scope="session")
def exported_pair(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An artifact with its large weights beside it; not to be changed."""
    path = tmp_path_factory.mktemp("pair") / "wide.onnx"
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = Wide().eval()
    export(network, path, input_shape=(3, 8, 8), preprocess="none", external_data=True)
    return path


@pytest.fixture
def pair(exported_pair: Path, tmp_path: Path) -> Path:
    """A copy of it, to be changed."""
    for file in exported_pair.parent.iterdir():
        shutil.copy(file, tmp_path)
    return tmp_path / exported_pair.name
