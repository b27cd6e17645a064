"""A calibration depends on the images alone, whatever the batch."""

from collections.abc import Callable
from itertools import islice

import numpy as np
import onnx
import onnx.parser
import onnx_ir as ir
import pytest

from cnntk.data.batches import Batch, batches_of
from cnntk.data.calibration import calibration_images
from cnntk.quantization.calibration import CalibrationData, calibrate, check_calibration
from cnntk.runtime.engine import Engine
from cnntk.runtime.errors import DataError, InputError, UsageError
from cnntk.shipped import shipped_model

Cut = Callable[..., list[Batch]]

TENSORS = ["logits", "relu", "input"]


def test_statistics_are_those_of_the_computed_values(
    graph: ir.Model, pictures: np.ndarray, batches: Cut
) -> None:
    calibration = calibrate(graph, batches(pictures, 4), TENSORS, channels={"relu": 1})
    relu = np.maximum(-pictures, 0)
    assert list(calibration.histograms) == ["input", "relu", "logits"]
    histogram = calibration.histograms["relu"]
    assert (histogram.minimum, histogram.maximum) == (0, relu.max())
    assert (histogram.count, histogram.zeros) == (relu.size, (relu == 0).sum())
    assert np.allclose(calibration.channels["relu"].mean, relu.mean(axis=(0, 2, 3)), rtol=1e-6)
    assert np.array_equal(calibration.channels["relu"].maximum, relu.max(axis=(0, 2, 3)))
    assert (calibration.images, calibration.images_differ) == (21, True)


def test_the_graph_is_not_changed(graph: ir.Model, pictures: np.ndarray, batches: Cut) -> None:
    before = ir.to_proto(graph).SerializeToString()
    calibrate(graph, batches(pictures, 4), TENSORS)
    assert ir.to_proto(graph).SerializeToString() == before


@pytest.mark.parametrize("size", [2, 8, 21])
def test_the_batch_makes_no_difference(
    graph: ir.Model, pictures: np.ndarray, batches: Cut, size: int
) -> None:
    alone = calibrate(graph, batches(pictures, 1), TENSORS, channels={"relu": 1})
    together = calibrate(graph, batches(pictures, size), TENSORS, channels={"relu": 1})
    assert together.to_text() == alone.to_text()
    others = calibrate(graph, batches(pictures + 1, size), TENSORS, channels={"relu": 1})
    assert others.to_text() != alone.to_text()


def test_the_batch_makes_no_difference_for_an_artifact() -> None:
    """Here onnxruntime's last digits depend on the batch."""
    model, engine = ir.load(shipped_model()), Engine(shipped_model())
    images = list(calibration_images("digits", 30))
    tensors = ["preprocess/less_mean", "conv2d", "sigmoid_1", "linear", "logits"]
    texts = [calibrate(model, batches_of(engine, images, n), tensors).to_text() for n in (1, 7, 8)]
    assert texts[0] == texts[1] == texts[2]
    calibration = CalibrationData.from_text(texts[0], "it")
    assert calibration.classes == dict.fromkeys(range(10), 3)
    # Digits have a black background, and are inverted if not: the least value is that of black.
    assert calibration.histograms["preprocess/less_mean"].count == 30 * 28 * 28


def test_a_calibration_resumes(graph: ir.Model, pictures: np.ndarray, batches: Cut) -> None:
    whole = calibrate(graph, batches(pictures, 1), TENSORS, channels={"relu": 1})
    saved: list[str] = []
    calibrate(
        graph,
        batches(pictures[:9], 2),
        TENSORS,
        channels={"relu": 1},
        on_image=lambda c: saved.append(c.to_text()),
    )
    assert len(saved) == 9
    earlier = CalibrationData.from_text(saved[4], "saved.json")
    assert earlier.images == 5
    rest = islice(batches(pictures, 1), earlier.images, None)
    assert (
        calibrate(graph, rest, TENSORS, channels={"relu": 1}, resume_from=earlier).to_text()
        == whole.to_text()
    )
    assert earlier.to_text() == saved[4]


def test_a_calibration_resumes_with_the_same_tensors_only(
    graph: ir.Model, pictures: np.ndarray, batches: Cut
) -> None:
    earlier = calibrate(graph, batches(pictures, 8), ["relu"])
    with pytest.raises(UsageError, match="'logits' is in one of them only; calibrate from the start"):
        calibrate(graph, batches(pictures, 8), ["relu", "logits"], resume_from=earlier)
    with pytest.raises(UsageError, match="'relu' is in one of them only"):
        calibrate(graph, batches(pictures, 8), ["relu"], channels={"relu": 1}, resume_from=earlier)


@pytest.mark.parametrize("wrong", [np.nan, np.inf])
def test_the_first_tensor_and_the_image_of_a_nan_are_named(
    graph: ir.Model, pictures: np.ndarray, batches: Cut, wrong: float
) -> None:
    pictures[13, 1, 2, 3] = -wrong
    with pytest.raises(DataError, match=r"^relu: contains (nan|inf) for image 13\.png"):
        calibrate(graph, batches(pictures, 4), ["logits", "relu"])


def test_classes_are_counted(graph: ir.Model, pictures: np.ndarray, batches: Cut) -> None:
    labels = [0] * 10 + [3] * 10 + [None]
    assert calibrate(graph, batches(pictures, 4, labels), ["relu"]).classes == {0: 10, 3: 10}


def test_equal_images_are_noticed(graph: ir.Model, pictures: np.ndarray, batches: Cut) -> None:
    same = np.repeat(pictures[:1], 5, axis=0)
    assert not calibrate(graph, batches(same, 2), ["relu"]).images_differ
    same[4, 0, 0, 0] += 1
    assert calibrate(graph, batches(same, 2), ["relu"]).images_differ


def test_a_fixed_batch_is_filled(batches: Cut, pictures: np.ndarray) -> None:
    text = """<ir_version: 10, opset_import: ["" : 18]>
    net (float[4, 2, 4, 4] input) => (float[4, 2, 4, 4] relu) { relu = Relu (input) }"""
    model = ir.from_proto(onnx.parser.parse_model(text))
    calibration = calibrate(model, batches(pictures, 8), ["relu"], channels={"relu": 1})
    relu = np.maximum(pictures, 0)
    assert calibration.histograms["relu"].maximum == relu.max()
    assert np.allclose(calibration.channels["relu"].mean, relu.mean(axis=(0, 2, 3)), rtol=1e-6)


@pytest.mark.parametrize(
    ("tensor", "message"),
    [("weight", "a weight"), ("gone", "the graph has no value of this name")],
)
def test_unknown_tensors_are_refused(graph: ir.Model, tensor: str, message: str) -> None:
    with pytest.raises(UsageError, match=f"tensor '{tensor}': {message}"):
        calibrate(graph, [], [tensor])


def test_wrong_batches_and_axes_are_refused(graph: ir.Model, pictures: np.ndarray, batches: Cut) -> None:
    with pytest.raises(InputError, match=r"expected input: float32 \[N, 2, 4, 4\]; got input: float64"):
        calibrate(graph, batches(pictures.astype(np.float64), 4), TENSORS)
    with pytest.raises(UsageError, match=r"tensor 'logits': has no axis 2; its shape is \[1, 3\]"):
        calibrate(graph, batches(pictures, 4), TENSORS, channels={"logits": 2})


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ('"version": 2', '"version": 1'),
        ('"images"', '"pictures"'),
        ('"counts": [', '"counts": [-1, '),
        ("{", "["),
    ],
    ids=["version", "field", "counts", "no JSON"],
)
def test_damaged_json_is_refused(
    graph: ir.Model, pictures: np.ndarray, batches: Cut, old: str, new: str
) -> None:
    text = calibrate(graph, batches(pictures, 4), TENSORS, channels={"relu": 1}).to_text()
    assert CalibrationData.from_text(text, "it").to_text() == text
    with pytest.raises(DataError, match=r"^saved\.json: not a valid calibration .* calibrate from the start"):
        CalibrationData.from_text(text.replace(old, new, 1), "saved.json")


Calibrated = Callable[..., CalibrationData]


@pytest.fixture
def calibrated(graph: ir.Model, batches: Callable[..., list[Batch]]) -> Calibrated:
    """A calibration with ``count`` images of noise, which ``change`` may spoil."""

    def run(
        count: int, change: Callable[[np.ndarray], None] | None = None, classes: int = 2
    ) -> CalibrationData:
        noise = np.random.RandomState(0).randn(count, 2, 4, 4).astype(np.float32)
        if change is not None:
            change(noise)
        labels = [i % classes for i in range(count)] if classes else None
        return calibrate(graph, batches(noise, 8, labels), ["input", "relu", "logits"])

    return run


def test_good_images_cause_no_warning(calibrated: Calibrated) -> None:
    assert check_calibration(calibrated(100)) == ()
    assert check_calibration(calibrated(100, classes=0)) == ()


@pytest.mark.parametrize("count", [0, 1, 9])
def test_too_few_images_are_refused(calibrated: Calibrated, count: int) -> None:
    with pytest.raises(DataError, match=f"calibration: {count} images; at least 10 are needed"):
        check_calibration(calibrated(count))


def test_few_images_cause_a_warning(calibrated: Calibrated) -> None:
    (line,) = check_calibration(calibrated(10))
    assert line.startswith("calibration: only 10 images")


def test_one_class_causes_a_warning(calibrated: Calibrated) -> None:
    (line,) = check_calibration(calibrated(100, classes=1))
    assert "all labeled images are of class 0" in line


def test_equal_images_are_refused(calibrated: Calibrated) -> None:
    def make_equal(images: np.ndarray) -> None:
        images[:] = images[0]

    with pytest.raises(DataError, match="all 100 images are equal for the network"):
        check_calibration(calibrated(100, make_equal))


def test_a_dead_layer_is_named(calibrated: Calibrated) -> None:
    def positive(images: np.ndarray) -> None:
        np.abs(images, out=images)

    lines = check_calibration(calibrated(100, positive))
    assert [line.partition(":")[0] for line in lines] == ["relu", "logits"]
    assert all("is 0 everywhere in all images: a dead layer" in line for line in lines)
