"""An artifact as an export leaves it, small enough to try every byte of it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
import pytest

from cnntk.exporters.artifact import append_spec, write_hashed
from cnntk.exporters.vectors import Arrays, self_test_of
from cnntk.runtime.spec import Layer, ModelSpec, TensorSpec


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
            lambda x: answers(x, np.float64), lambda x: answers(x, np.float32), inputs, probabilities=True
        ),
    )
    written = write_hashed(ir.load(foreign_onnx), path)
    assert append_spec(path, spec, written) == replace(
        spec, fingerprints=written.fingerprints, digest=path.read_bytes()[-66:-2].decode()
    )
    return path
