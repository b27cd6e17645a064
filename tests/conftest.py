"""Small real models and images that tests share."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnx.parser
import pytest

from cnntk.runtime.artifact.spec import METADATA_KEY, ModelSpec, Preprocessing, TensorSpec
from cnntk.runtime.session.cuda import cuda_problem, cuda_state
from cnntk.runtime.session.devices import import_onnxruntime

# First of all imports of onnxruntime: its telemetry has a thread, which children made by fork do not survive.
onnxruntime = import_onnxruntime()

SIZE = 4
LABELS = ("dark", "light", "left")

GRAPH = """
<ir_version: 10, opset_import: ["" : 18]>
tiny (float[N, 1, 4, 4] input) => (float[N, 3] logits, float[N, 3] probabilities)
<float[16, 3] weight, float[3] bias>
{
    flat = Flatten <axis = 1> (input)
    logits = Gemm (flat, weight, bias)
    probabilities = Softmax <axis = -1> (logits)
}
"""


def tiny_weights() -> tuple[np.ndarray, np.ndarray]:
    """A classifier by hand: dark images, light ones, and those that are light on the left."""
    left = np.where(np.arange(16) % 4 < 2, 1.0, -1.0)
    weight = np.stack([np.full(16, -1.0), np.full(16, 1.0), 2 * left], axis=1)
    return weight.astype(np.float32), np.array([8, -8, 0], dtype=np.float32)


def tiny_spec() -> ModelSpec:
    return ModelSpec(
        name="tiny",
        labels=LABELS,
        inputs=(TensorSpec("input", "float32", ("N", 1, SIZE, SIZE)),),
        preprocessing=Preprocessing(color="gray", height=SIZE, width=SIZE, interpolation="nearest"),
    )


def tiny_model(spec: ModelSpec | None) -> onnx.ModelProto:
    model = onnx.parser.parse_model(GRAPH)
    for name, value in zip(("weight", "bias"), tiny_weights(), strict=True):
        model.graph.initializer.append(onnx.numpy_helper.from_array(value, name))
    if spec is not None:
        model.metadata_props.add(key=METADATA_KEY, value=spec.to_json())
    return model


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Tests that need a GPU say why they are not run."""
    if item.get_closest_marker("gpu") is not None:
        problem = cuda_problem(cuda_state(onnxruntime))
        if problem is not None:
            pytest.skip(f"no CUDA: {problem}")


@pytest.fixture
def tiny_onnx(tmp_path: Path) -> Path:
    """An artifact that takes gray 4x4 images."""
    path = tmp_path / "tiny.onnx"
    path.write_bytes(tiny_model(tiny_spec()).SerializeToString())
    return path


@pytest.fixture
def foreign_onnx(tmp_path: Path) -> Path:
    """The same graph as somebody else would have saved it."""
    path = tmp_path / "foreign.onnx"
    path.write_bytes(tiny_model(None).SerializeToString())
    return path
