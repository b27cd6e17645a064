"""A graph by hand whose inner values are known, and images for it."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import digit_nets
import numpy as np
import onnx
import onnx.parser
import onnx_ir as ir
import pytest

from cnntk.data import ArrayImages, open_data
from cnntk.data.batches import Batch, batches_of
from cnntk.data.calibration import CalibrationImages
from cnntk.quantization.calibration import CalibrationData, calibrate, tensors_to_calibrate
from cnntk.quantization.candidates import Original
from cnntk.quantization.histogram import Histogram
from cnntk.runtime.artifact.spec import METADATA_KEY
from cnntk.runtime.engine import Engine

GRAPH = """
<ir_version: 10, opset_import: ["" : 18]>
net (float[N, 2, 4, 4] input) => (float[N, 3] logits)
<float[32, 3] weight, float minus = {-1.0}>
{
    turned = Mul (input, minus)
    relu = Relu (turned)
    flat = Flatten <axis = 1> (relu)
    logits = MatMul (flat, weight)
}
"""


@pytest.fixture
def graph() -> ir.Model:
    """``logits = relu(-input) weight`` for 2x4x4 inputs."""
    proto = onnx.parser.parse_model(GRAPH)
    weight = np.random.RandomState(0).randn(32, 3).astype(np.float32)
    proto.graph.initializer.append(onnx.numpy_helper.from_array(weight, "weight"))
    return ir.from_proto(onnx.shape_inference.infer_shapes(proto))


@pytest.fixture
def pictures() -> np.ndarray:
    """21 inputs, the later ones larger, float32 (21, 2, 4, 4)."""
    noise = np.random.RandomState(1).randn(21, 2, 4, 4).astype(np.float32)
    return noise * np.geomspace(0.01, 50, 21, dtype=np.float32)[:, None, None, None]


@pytest.fixture
def batches() -> Callable[..., list[Batch]]:
    """Cuts an array of inputs into batches."""

    def cut(array: np.ndarray, size: int, labels: Sequence[int | None] | None = None) -> list[Batch]:
        batch_labels = list(labels or [None] * len(array))
        return [
            Batch(
                {"input": array[s : s + size]},
                tuple(f"{i}.png" for i in range(s, min(s + size, len(array)))),
                tuple(batch_labels[s : s + size]),
            )
            for s in range(0, len(array), size)
        ]

    return cut


@pytest.fixture
def histogram_of() -> Callable[[np.ndarray], Histogram]:
    """The histogram of an array's values."""

    def counted(values: np.ndarray) -> Histogram:
        histogram = Histogram("tensor")
        histogram.add(values)
        return histogram

    return counted


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Original:
    file = tmp_path_factory.mktemp("model") / "digits.onnx"
    file.write_bytes(digit_nets.artifact())
    graph = ir.load(file)
    del graph.metadata_props[METADATA_KEY]
    return Original(file, graph, Engine(file, threads=1), file.stat().st_size)


@pytest.fixture(scope="module")
def calibration(original: Original) -> CalibrationData:
    """Calibration of ``original`` with 40 digits."""
    images = open_data("digits").train.images
    assert isinstance(images, ArrayImages)
    batches = batches_of(original.engine, CalibrationImages(images, tuple(range(40))))
    return calibrate(original.model, batches, tensors_to_calibrate(original.model))
