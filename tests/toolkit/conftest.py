"""Small models that measuring has to do with."""

from __future__ import annotations

from pathlib import Path

import onnx
import pytest


@pytest.fixture
def batch_of_3(foreign_onnx: Path, tmp_path: Path) -> Path:
    """The tiny classifier with its batch fixed at 3."""
    model = onnx.load(foreign_onnx)
    for value in (*model.graph.input, *model.graph.output):
        value.type.tensor_type.shape.dim[0].dim_value = 3
    path = tmp_path / "three.onnx"
    onnx.save(model, path)
    return path
