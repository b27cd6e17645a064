"""A calibration is that of the images alone, whatever the batch."""

from collections.abc import Callable
from itertools import islice

import numpy as np
import onnx
import onnx.parser
import onnx_ir as ir
import pytest

from cnntk.data.batches import Batch, batches_of
from cnntk.data.calibration import calibration_images
from cnntk.quantization.calibration import Calibration, calibrate
from cnntk.runtime.engine import Engine
from cnntk.runtime.errors import DataError, InputError, UsageError
from cnntk.shipped import shipped_model

Cut = Callable[..., list[Batch]]

TENSORS = ["logits", "relu", "input"]


def test_values_are_counted_as_the_graph_computes_them(
    graph: ir.Model, pictures: np.ndarray, batches: Cut
) -> None:
    found = calibrate(graph, batches(pictures, 4), TENSORS, channels={"relu": 1})
    relu = np.maximum(-pictures, 0)
    assert list(found.histograms) == ["input", "relu", "logits"]
    histogram = found.histograms["relu"]
    assert (histogram.minimum, histogram.maximum) == (0, relu.max())
    assert (histogram.count, histogram.zeros) == (relu.size, (relu == 0).sum())
    assert found.histograms["input"].mean == pytest.approx(pictures.mean(), abs=1e-6)
    assert np.allclose(found.channel_mean("relu"), relu.mean(axis=(0, 2, 3)), rtol=1e-6)
    assert np.array_equal(found.channels["relu"].maximum, relu.max(axis=(0, 2, 3)))
    assert (found.images, found.varied) == (21, True)


def test_the_graph_stays_as_it_was(graph: ir.Model, pictures: np.ndarray, batches: Cut) -> None:
    before = ir.to_proto(graph).SerializeToString()
    calibrate(graph, batches(pictures, 4), TENSORS)
    assert ir.to_proto(graph).SerializeToString() == before


@pytest.mark.parametrize("size", [2, 8, 21])
def test_the_batch_makes_no_difference(
    graph: ir.Model, pictures: np.ndarray, batches: Cut, size: int
) -> None:
    alone = calibrate(graph, batches(pictures, 1), TENSORS, channels={"relu": 1})
    together = calibrate(graph, batches(pictures, size), TENSORS, channels={"relu": 1})
    assert together.to_json() == alone.to_json()
    others = calibrate(graph, batches(pictures + 1, size), TENSORS, channels={"relu": 1})
    assert others.to_json() != alone.to_json()


def test_of_an_artifact_too() -> None:
    """Where onnxruntime's last digits do depend on the batch."""
    model, engine = ir.load(shipped_model()), Engine(shipped_model())
    images = list(calibration_images("digits", 30))
    tensors = ["preprocess/less_mean", "conv2d", "sigmoid_1", "linear", "logits"]
    found = [calibrate(model, batches_of(engine, images, n), tensors).to_json() for n in (1, 7, 8)]
    assert found[0] == found[1] == found[2]
    calibration = Calibration.from_json(found[0], "it")
    assert calibration.classes == dict.fromkeys(range(10), 3)
    # digits are black behind, and inverted where they are not: so the least value is that of black
    assert calibration.histograms["preprocess/less_mean"].count == 30 * 28 * 28


def test_it_goes_on_where_it_stopped(graph: ir.Model, pictures: np.ndarray, batches: Cut) -> None:
    whole = calibrate(graph, batches(pictures, 1), TENSORS, channels={"relu": 1})
    saved: list[str] = []
    calibrate(
        graph,
        batches(pictures[:9], 2),
        TENSORS,
        channels={"relu": 1},
        on_image=lambda c: saved.append(c.to_json()),
    )
    assert len(saved) == 9
    so_far = Calibration.from_json(saved[4], "saved.json")
    assert so_far.images == 5
    rest = islice(batches(pictures, 1), so_far.images, None)
    assert calibrate(graph, rest, TENSORS, channels={"relu": 1}, so_far=so_far).to_json() == whole.to_json()
    assert so_far.to_json() == saved[4]


def test_it_goes_on_with_the_same_tensors_only(graph: ir.Model, pictures: np.ndarray, batches: Cut) -> None:
    so_far = calibrate(graph, batches(pictures, 8), ["relu"])
    with pytest.raises(UsageError, match="'logits' is in one of them only; calibrate from the start"):
        calibrate(graph, batches(pictures, 8), ["relu", "logits"], so_far=so_far)
    with pytest.raises(UsageError, match="'relu' is in one of them only"):
        calibrate(graph, batches(pictures, 8), ["relu"], channels={"relu": 1}, so_far=so_far)


@pytest.mark.parametrize("wrong", [np.nan, np.inf])
def test_the_first_tensor_and_the_image_of_a_nan_are_named(
    graph: ir.Model, pictures: np.ndarray, batches: Cut, wrong: float
) -> None:
    pictures[13, 1, 2, 3] = -wrong
    with pytest.raises(DataError, match=r"^relu: holds (nan|inf) for image 13\.png"):
        calibrate(graph, batches(pictures, 4), ["logits", "relu"])


def test_classes_are_counted(graph: ir.Model, pictures: np.ndarray, batches: Cut) -> None:
    labels = [0] * 10 + [3] * 10 + [None]
    assert calibrate(graph, batches(pictures, 4, labels), ["relu"]).classes == {0: 10, 3: 10}


def test_equal_images_are_noticed(graph: ir.Model, pictures: np.ndarray, batches: Cut) -> None:
    same = np.repeat(pictures[:1], 5, axis=0)
    assert not calibrate(graph, batches(same, 2), ["relu"]).varied
    same[4, 0, 0, 0] += 1
    assert calibrate(graph, batches(same, 2), ["relu"]).varied


def test_a_fixed_batch_is_filled(batches: Cut, pictures: np.ndarray) -> None:
    text = """<ir_version: 10, opset_import: ["" : 18]>
    net (float[4, 2, 4, 4] input) => (float[4, 2, 4, 4] relu) { relu = Relu (input) }"""
    model = ir.from_proto(onnx.parser.parse_model(text))
    found = calibrate(model, batches(pictures, 8), ["relu"], channels={"relu": 1})
    relu = np.maximum(pictures, 0)
    assert found.histograms["relu"].maximum == relu.max()
    assert np.allclose(found.channel_mean("relu"), relu.mean(axis=(0, 2, 3)), rtol=1e-6)


@pytest.mark.parametrize(
    ("tensor", "told"),
    [("weight", "is a weight"), ("gone", "the graph has no value of this name")],
)
def test_tensors_that_are_none_are_refused(graph: ir.Model, tensor: str, told: str) -> None:
    with pytest.raises(UsageError, match=f"tensor '{tensor}': {told}"):
        calibrate(graph, [], [tensor])


def test_wrong_batches_and_axes_are_refused(graph: ir.Model, pictures: np.ndarray, batches: Cut) -> None:
    with pytest.raises(InputError, match=r"expected input: float32 \[N, 2, 4, 4\]; got input: float64"):
        calibrate(graph, batches(pictures.astype(np.float64), 4), TENSORS)
    with pytest.raises(UsageError, match=r"tensor 'logits': has no axis 2; it is \[1, 3\]"):
        calibrate(graph, batches(pictures, 4), TENSORS, channels={"logits": 2})
    with pytest.raises(UsageError, match="relu: its channels were not counted, only those of: logits"):
        calibrate(graph, batches(pictures, 4), TENSORS, channels={"logits": 1}).channel_mean("relu")


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ('"calibration": 1', '"calibration": 2'),
        ('"images"', '"pictures"'),
        ('"counts": [', '"counts": [-1, '),
        ("{", "["),
    ],
    ids=["version", "field", "counts", "no JSON"],
)
def test_damaged_json_is_refused(
    graph: ir.Model, pictures: np.ndarray, batches: Cut, old: str, new: str
) -> None:
    text = calibrate(graph, batches(pictures, 4), TENSORS, channels={"relu": 1}).to_json()
    assert Calibration.from_json(text, "it").to_json() == text
    with pytest.raises(DataError, match=r"^saved\.json: is no sound calibration .* calibrate from the start"):
        Calibration.from_json(text.replace(old, new, 1), "saved.json")
