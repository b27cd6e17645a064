"""The self-test of a file that resizes exactly: tight limits, float and int8, which see any other resize."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from cnntk import quantize
from cnntk.exporters import export
from cnntk.runtime.artifact.self_test import run_self_test
from cnntk.runtime.artifact.spec import Preprocessing
from cnntk.runtime.engine import Engine
from cnntk.runtime.preprocessing.sampling import resize_filtered, resize_interpolated

P = Preprocessing("rgb", 96, 96, resize="shortest", crop_ratio=0.875, mean=(0.5,) * 3, std=(0.25,) * 3)
Resize = Callable[[np.ndarray, tuple[int, int]], np.ndarray]
Run = Callable[[dict], dict]


def bytes_of(levels: np.ndarray) -> np.ndarray:
    return np.rint(levels).clip(0, 255).astype(np.uint8)


def align_corners(image: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Bilinear, with the outermost pixels of both images at the same place."""
    values = image.astype(float)
    for axis, side in enumerate(size):
        at = np.linspace(0, image.shape[axis] - 1, side)
        low = np.floor(at).astype(int)
        high = np.minimum(low + 1, image.shape[axis] - 1)
        share = (at - low).reshape([-1 if i == axis else 1 for i in range(3)])
        values = values.take(low, axis) * (1 - share) + values.take(high, axis) * share
    return bytes_of(values)


RESIZES: dict[str, Resize] = {
    "another interpolation": lambda image, size: resize_filtered(image, size, "bicubic"),
    "align corners": align_corners,
    "no antialias": lambda image, size: bytes_of(resize_interpolated(image, size, cubic=False)),
    "crop off by one": lambda image, size: np.roll(resize_filtered(image, size, "bilinear"), 1, axis=0),
    "axes swapped": lambda image, size: resize_filtered(image.swapaxes(0, 1), size, "bilinear"),
}


@pytest.fixture(scope="module")
def artifact(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(0)
    layers = [nn.Conv2d(3, 8, 5, stride=3), nn.ReLU(), nn.Conv2d(8, 8, 3, stride=2), nn.ReLU()]
    network = nn.Sequential(*layers, nn.Flatten(), nn.Linear(8 * 15 * 15, 10))
    file = tmp_path_factory.mktemp("resize") / "network.onnx"
    export(network, file, input_shape=(3, 96, 96), preprocessing=P)
    return file


def resized_case(engine: Engine) -> int:
    usual = engine.spec.preprocessing.fitted_size
    cases = engine.spec.self_test.cases
    return next(i for i, case in enumerate(cases) if (case.sizes["H"], case.sizes["W"]) != usual)


def with_resize(engine: Engine, resize: Resize, run: Run | None = None) -> Run:
    """Runs the engine, or something else, on images that something else has resized already."""
    p, run = engine.spec.preprocessing, run or engine.run

    def run_resized(inputs: dict) -> dict:
        images = [resize(image, p.resized_size(*image.shape[:2])) for image in inputs["image"]]
        return run({"image": np.stack(images)})

    return run_resized


def assert_faults_are_seen(engine: Engine) -> None:
    def pillow(image: np.ndarray, size: tuple[int, int]) -> np.ndarray:
        return resize_filtered(image, size, "bilinear")

    assert engine.self_test().holds
    assert run_self_test(with_resize(engine, pillow), engine.spec, "pillow").holds
    for name, resize in RESIZES.items():
        result = run_self_test(with_resize(engine, resize), engine.spec, name)
        assert not result.holds, name


def test_another_resize_is_seen(artifact: Path) -> None:
    engine = Engine(artifact)
    assert engine.spec.preprocessing.resize_form == "exact"
    assert_faults_are_seen(engine)


def test_the_limit_of_resized_images_is_that_of_the_others(artifact: Path, tmp_path: Path) -> None:
    engine = Engine(artifact)
    cases, at = engine.spec.self_test.cases, resized_case(engine)
    others = [case.bounds["logits"] for i, case in enumerate(cases) if i != at and case.pattern == "noise"]
    assert cases[at].bounds["logits"] < 3 * max(others)


def test_openvino_runs_the_file(artifact: Path) -> None:
    """Each case is a compiled model's first one, where OpenVINO 2026.4 needs a Reshape behind the If."""
    openvino = pytest.importorskip("openvino")
    model = openvino.Core().read_model(artifact)

    def run(inputs: dict) -> dict:
        compiled = openvino.compile_model(model, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
        return {value.get_any_name(): array.copy() for value, array in compiled(inputs).items()}

    engine = Engine(artifact)
    assert run_self_test(run, engine.spec, "openvino").holds
    no_antialias = with_resize(engine, RESIZES["no antialias"], run)
    assert not run_self_test(no_antialias, engine.spec, "no antialias").holds


@pytest.mark.slow
def test_another_resize_is_seen_in_int8(artifact: Path, tmp_path: Path) -> None:
    output = tmp_path / "int8.onnx"
    report = quantize(
        artifact, calibration="digits", output=output, calibration_images=20, prefer="size", max_drop=100
    )
    assert report.changed
    assert_faults_are_seen(Engine(output))
