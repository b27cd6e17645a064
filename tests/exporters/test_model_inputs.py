from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from PIL import Image
from torch import nn

from cnntk.exporters import export
from cnntk.runtime import Classifier, Engine
from cnntk.runtime.artifact.spec import METADATA_KEY, ModelSpec, Preprocessing
from cnntk.runtime.errors import ParityError
from cnntk.runtime.preprocessing.preprocess import preprocess

IMAGE = {"mean": "0.485,0.456,0.406", "std": "0.229,0.224,0.225", "resize": "shortest", "crop_ratio": "0.8"}
SHAPE = (3, 8, 8)


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def noise(height: int, width: int, channels: int = 3) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (height, width, channels), dtype=np.uint8)


def test_the_file_takes_images_of_any_size(small_cnn: nn.Module) -> None:
    report = export(small_cnn, "m.onnx", input_shape=SHAPE, preprocessing=IMAGE)
    engine = Engine("m.onnx")
    (image,) = engine.inputs
    assert (image.name, image.dtype, image.shape) == ("image", "uint8", ("N", "H", "W", "C"))
    assert engine.self_test().holds
    assert any(c.name == "pixels" for c in report.checks)
    for size in ((8, 8), (40, 13), (1, 1), (9, 200)):
        assert np.isfinite(engine.run({"image": noise(*size)[None]})["logits"]).all()


def test_graph_and_host_answer_alike(small_cnn: nn.Module) -> None:
    export(small_cnn, "graph.onnx", input_shape=SHAPE, preprocessing=IMAGE)
    export(small_cnn, "host.onnx", input_shape=SHAPE, preprocessing=IMAGE, preprocess="host")
    for size in ((10, 10), (31, 44), (100, 20)):
        pixels = noise(*size)
        a, b = (Classifier(f)(pixels).probabilities for f in ("graph.onnx", "host.onnx"))
        assert np.abs(a - b).max() < 0.01  # a level or two of some pixels
    alike = noise(10, 10)
    a, b = (Classifier(f)(alike).probabilities for f in ("graph.onnx", "host.onnx"))
    assert np.abs(a - b).max() < 1e-6


def test_one_image_as_array_path_bytes_and_pillow_is_one_answer(small_cnn: nn.Module) -> None:
    export(small_cnn, "m.onnx", input_shape=SHAPE, preprocessing=IMAGE)
    classify = Classifier("m.onnx")
    Image.fromarray(noise(30, 50)).save("a.jpg", quality=90)
    with Image.open("a.jpg") as opened:
        pixels = np.asarray(opened)
        sources = [Path("a.jpg"), Path("a.jpg").read_bytes(), pixels, Image.fromarray(pixels)]
    answers = [classify(source).probabilities for source in sources]
    assert all(np.array_equal(answers[0], a) for a in answers)


def test_a_batch_of_many_sizes_answers_as_each_alone(small_cnn: nn.Module) -> None:
    export(small_cnn, "m.onnx", input_shape=SHAPE, preprocessing=IMAGE)
    classify = Classifier("m.onnx")
    images = [noise(30, 50), noise(8, 8), noise(70, 21), noise(30, 50, 1), noise(10, 10)]
    together = classify.many(images)
    for image, prediction in zip(images, together, strict=True):
        assert np.abs(prediction.probabilities - classify(image).probabilities).max() < 1e-6


def test_a_resize_that_is_another_fails_the_self_test(small_cnn: nn.Module) -> None:
    export(small_cnn, "m.onnx", input_shape=SHAPE, preprocessing={**IMAGE, "interpolation": "bicubic"})
    model = onnx.load("m.onnx")
    (resize,) = [n for n in model.graph.node if n.op_type == "Resize"]
    for a in resize.attribute:
        if a.name == "coordinate_transformation_mode":
            a.s = b"asymmetric"
    entry = next(e for e in model.metadata_props if e.key == METADATA_KEY)
    spec = ModelSpec.from_json(entry.value, "m")
    entry.value = spec.to_json().replace(spec.digest, "")
    engine = Engine(model.SerializeToString())
    result = engine.self_test()
    assert not result.holds
    assert all("H=17" in c.case for c in result.checks if not c.holds)


def test_a_gray_network_reads_color_images_as_the_host_does() -> None:
    from cnntk.shipped import shipped_checkpoint

    export(shipped_checkpoint(), "m.onnx")
    classify = Classifier("m.onnx")
    pixels = noise(28, 28)
    assert classify.read(pixels).shape == (28, 28, 1)
    spec = classify.engine.spec
    assert spec is not None
    assert spec.preprocessing is not None
    export(shipped_checkpoint(), "host.onnx", preprocess="host")
    prepared = preprocess([pixels], spec.preprocessing)
    expected = Engine("host.onnx").run({"input": prepared})["probabilities"][0]
    assert np.abs(classify(pixels).probabilities - expected).max() < 1e-5


def test_a_filter_that_onnx_has_no_operator_for(small_cnn: nn.Module) -> None:
    fields = {"interpolation": "lanczos", "levels": "float32"}
    report = export(small_cnn, "m.onnx", input_shape=SHAPE, preprocessing=fields)
    assert "pixels" in {check.name for check in report.checks}
    spec = Engine("m.onnx").spec
    assert spec is not None
    assert spec.preprocessing is not None
    assert spec.preprocessing.resize_form == "fast"


def test_a_source_that_says_nothing_takes_arrays(small_cnn: nn.Module) -> None:
    report = export(small_cnn, "m.onnx", input_shape=SHAPE)
    assert Engine("m.onnx").inputs[0].dtype == "float32"
    assert any("does not state how images become its input" in note for note in report.notes)


def test_a_graph_that_resizes_otherwise_never_leaves(
    small_cnn: nn.Module, monkeypatch: pytest.MonkeyPatch
) -> None:
    from cnntk.exporters.preprocessing import _resize as resize

    right = resize.resize_attributes
    monkeypatch.setattr(resize, "resize_attributes", lambda kind: {**right(kind), "mode": "cubic"})
    with pytest.raises(ParityError, match=r"pixels: graph and host differ by .* pixel values on .*antialias"):
        export(small_cnn, "m.onnx", input_shape=SHAPE, preprocessing=IMAGE)
    assert not Path("m.onnx").exists()


def test_the_self_test_of_a_small_image_allows_the_rounding_of_a_few_levels() -> None:
    """Two levels in a hundred of a hundred levels may be none at all."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = nn.Sequential(
            nn.Conv2d(1, 4, 3, padding=1), nn.ReLU(), nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(16, 3)
        )
    p = Preprocessing("gray", 12, 10, resize="longest", invert="light-background", mean=(0.13,), std=(0.3,))
    export(network.eval(), "m.onnx", input_shape=(1, 12, 10), preprocessing=p)
    assert Engine("m.onnx").self_test().holds
