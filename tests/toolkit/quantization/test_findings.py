"""What ranges should not be trusted for is told."""

from collections.abc import Callable

import numpy as np
import onnx_ir as ir
import pytest

from cnntk.data.batches import Batch
from cnntk.quantization.calibration import Calibration, calibrate
from cnntk.quantization.findings import find_suspicious
from cnntk.runtime.errors import DataError

Found = Callable[..., Calibration]


@pytest.fixture
def calibrated(graph: ir.Model, batches: Callable[..., list[Batch]]) -> Found:
    """A calibration with ``count`` images of noise, which ``change`` may spoil."""

    def run(count: int, change: Callable[[np.ndarray], None] | None = None, classes: int = 2) -> Calibration:
        noise = np.random.RandomState(0).randn(count, 2, 4, 4).astype(np.float32)
        if change is not None:
            change(noise)
        labels = [i % classes for i in range(count)] if classes else None
        return calibrate(graph, batches(noise, 8, labels), ["input", "relu", "logits"])

    return run


def test_sound_images_bring_no_warning(calibrated: Found) -> None:
    assert find_suspicious(calibrated(100)) == ()
    assert find_suspicious(calibrated(100, classes=0)) == ()


@pytest.mark.parametrize("count", [0, 1, 9])
def test_too_few_are_an_error(calibrated: Found, count: int) -> None:
    with pytest.raises(DataError, match=f"calibration: {count} images, at least 10 are needed"):
        find_suspicious(calibrated(count))


def test_few_are_a_warning(calibrated: Found) -> None:
    (line,) = find_suspicious(calibrated(10))
    assert line.startswith("calibration: 10 images are few; with 100")


def test_one_class_is_a_warning(calibrated: Found) -> None:
    (line,) = find_suspicious(calibrated(100, classes=1))
    assert "all labeled images are of one class, number 0" in line


def test_equal_images_are_an_error(calibrated: Found) -> None:
    def all_alike(images: np.ndarray) -> None:
        images[:] = images[0]

    with pytest.raises(DataError, match="all 100 images are equal to the network"):
        find_suspicious(calibrated(100, all_alike))


def test_a_dead_layer_is_named(calibrated: Found) -> None:
    def positive(images: np.ndarray) -> None:
        np.abs(images, out=images)

    lines = find_suspicious(calibrated(100, positive))
    assert [line.partition(":")[0] for line in lines] == ["relu", "logits"]
    assert all("is 0 everywhere in all images: a dead layer" in line for line in lines)


def test_an_outlier_is_named(calibrated: Found) -> None:
    def one_far_out(images: np.ndarray) -> None:
        images[50, 0, 0, 0] = 1e6

    lines = find_suspicious(calibrated(800, one_far_out))
    assert [line.partition(":")[0] for line in lines] == ["input"]
    assert "99.99 % of its values lie between" in lines[0]
