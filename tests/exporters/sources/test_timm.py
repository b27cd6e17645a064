import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from cnntk.exporters import export
from cnntk.exporters.options import ExportOptions
from cnntk.exporters.source import Source
from cnntk.exporters.sources import open_source
from cnntk.exporters.sources._timm import preprocessing_of
from cnntk.exporters.sources._torchvision import import_torchvision
from cnntk.models.weights import write_weights
from cnntk.runtime import Engine
from cnntk.runtime.artifact.spec import Preprocessing
from cnntk.runtime.errors import CheckpointError, MissingDependency, UsageError
from cnntk.runtime.preprocessing.preprocess import preprocess

CONFIG = {
    "interpolation": "bicubic",
    "crop_pct": 0.95,
    "crop_mode": "center",
    "mean": (0.5,) * 3,
    "std": (0.25,) * 3,
}


@pytest.fixture(scope="module")
def timm() -> Any:
    try:
        import_torchvision("the test")
    except MissingDependency:
        pytest.skip("torchvision is not installed")
    return pytest.importorskip("timm")


def opened(name: str, **options: Any) -> Source:
    return open_source(f"timm:{name}", ExportOptions(**{"random": True, **options}))


def test_without_timm_the_message_says_what_to_install(timm: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "timm", None)
    with pytest.raises(MissingDependency, match=r"^timm:resnet18 needs timm, which .*pip install timm$"):
        opened("resnet18")


def test_a_network(timm: Any) -> None:
    source = opened("test_resnet.r160_in1k", seed=3)
    assert source.classifier
    assert source.inputs[0].shape == ("N", 3, 160, 160)
    assert source.preprocessing == Preprocessing(
        "rgb",
        160,
        160,
        "shortest",
        "bilinear",
        crop_ratio=160 / 168,
        crop_start="round",
        mean=(0.5, 0.5, 0.5),
        std=(0.5, 0.5, 0.5),
    )
    assert (len(source.labels), source.labels[0]) == (1000, "tench, Tinca tinca")
    assert source.provenance == {"weights": "random, seed 3", "timm": timm.__version__}
    torch.manual_seed(3)
    expected = timm.create_model("test_resnet").eval()
    x = torch.rand(2, 3, 160, 160)
    assert source.module is not None
    torch.testing.assert_close(source.module(x)["output"], expected(x))


def test_export_equals_timm_from_file_to_logits(timm: Any, tmp_path: Path) -> None:
    """timm's own transform and network, against the artifact that takes the image."""
    network = timm.create_model("test_vit", num_classes=7).eval()
    write_weights(network, tmp_path / "weights.safetensors")
    file = tmp_path / "vit.onnx"
    export("timm:test_vit", file, weights=tmp_path / "weights.safetensors", kwargs={"num_classes": 7})
    pixels = np.random.default_rng(0).integers(0, 256, (200, 180, 3), dtype=np.uint8)
    transform = timm.data.create_transform(**timm.data.resolve_model_data_config(network))
    with torch.no_grad():
        expected = network(transform(Image.fromarray(pixels))[None]).numpy()
    actual = Engine(file).run({"image": pixels[None]})["logits"]
    assert actual.shape == (1, 7)
    np.testing.assert_allclose(actual, expected, atol=2e-2 * np.ptp(expected))  # levels may round differently


def test_every_configuration_of_the_registry(timm: Any) -> None:
    """Each of them maps, or is noted in one line: borders, and crops larger than the resized image."""
    declined = []
    for name in timm.list_models():
        defaults = timm.get_pretrained_cfg(name)
        if defaults is None:  # the network has none: a few of older releases
            continue
        config = timm.data.resolve_data_config(pretrained_cfg=defaults.to_dict())
        steps, notes = preprocessing_of(config, config["input_size"])
        if steps is None:
            declined.append((name, config["crop_mode"], config["crop_pct"]))
            assert len(notes) == 1
            assert "\n" not in notes[0]
        else:
            assert (steps.height, steps.width) == config["input_size"][1:]
    assert all(mode == "border" or percent > 1 for _, mode, percent in declined), declined
    assert len(declined) < 0.01 * len(timm.list_models())


@pytest.mark.parametrize("mode", ["center", "squash"])
@pytest.mark.parametrize("size", [(100, 61), (50, 90)])
def test_the_steps_are_those_of_timms_transform(timm: Any, mode: str, size: tuple[int, int]) -> None:
    config = {**CONFIG, "crop_mode": mode, "crop_pct": 0.9, "input_size": (3, 32, 32)}
    pixels = np.random.default_rng(1).integers(0, 256, (*size, 3), dtype=np.uint8)
    expected = timm.data.create_transform(**config)(Image.fromarray(pixels)).numpy()
    steps, _ = preprocessing_of(config, (3, 32, 32))
    assert steps is not None
    np.testing.assert_allclose(preprocess([pixels], steps)[0], expected, atol=1.01 / 255 / 0.25)


def test_a_center_crop() -> None:
    steps, notes = preprocessing_of(CONFIG, (3, 224, 224))
    assert notes == ()
    assert steps is not None
    assert (steps.resize, steps.crop_ratio, steps.edges) == ("shortest", 224 / 235, (235, 235))


def test_a_stretch() -> None:
    steps, _ = preprocessing_of({**CONFIG, "crop_mode": "squash", "crop_pct": 0.9}, (3, 192, 192))
    assert steps is not None
    assert (steps.resize, steps.edges) == ("stretch", (213, 213))


@pytest.mark.parametrize(
    ("config", "channels"),
    [({"crop_mode": "border"}, 3), ({"interpolation": "random"}, 3), ({"crop_pct": 1.15}, 3), ({}, 1)],
)  # fmt: skip
def test_what_has_no_counterpart_is_noted(config: dict[str, Any], channels: int) -> None:
    steps, (note,) = preprocessing_of({**CONFIG, **config}, (channels, 8, 8))
    assert steps is None
    assert "can't be expressed in cnntk, so the file takes arrays only" in note


def test_the_test_size_has_its_own_crop(timm: Any) -> None:
    name = "resnet50.a1_in1k"
    config = timm.get_pretrained_cfg(name)
    assert (config.crop_pct, config.test_input_size, config.test_crop_pct) == (0.95, (3, 288, 288), 1.0)
    steps = opened(name, input_shape=(3, 288, 288)).preprocessing
    assert steps is not None
    assert steps.crop_ratio == 1.0


def test_the_network_follows_the_input(timm: Any) -> None:
    source = opened("test_vit", input_shape=(1, 96, 96))
    assert source.module is not None
    assert source.module(torch.zeros(2, 1, 96, 96))["output"].shape == (2, 1000)


def test_the_input_follows_the_network(timm: Any) -> None:
    assert opened("test_resnet", kwargs={"in_chans": 1}).inputs[0].shape == ("N", 1, 160, 160)
    assert opened("test_vit", kwargs={"img_size": 96}).inputs[0].shape == ("N", 3, 96, 96)
    assert opened("test_vit", kwargs={"img_size": [96, 64]}).inputs[0].shape == ("N", 3, 96, 64)


def test_the_users_classes_have_no_labels(timm: Any) -> None:
    source = opened("test_vit", kwargs={"num_classes": 7})
    assert (source.classifier, source.labels, source.notes) == (True, (), ())


def test_features_are_no_classes(timm: Any) -> None:
    source = opened("test_vit", kwargs={"num_classes": 0})
    assert (source.classifier, source.labels) == (False, ())
    assert source.notes == ("it has no classes, so it is no classifier (--head classifier makes it one)",)
    config = {"num_classes": 512}  # an image tower of CLIP
    source = opened("test_vit", kwargs={"pretrained_cfg_overlay": config})
    assert not source.classifier
    assert source.notes[0].startswith("timm does not say that its 512 outputs are classes")


def test_weights_with_other_names(timm: Any, tmp_path: Path) -> None:
    """timm's filter reads the names of open_clip, in which it ships some networks."""
    network = timm.create_model("test_vit").eval()
    path = tmp_path / "weights.pth"
    torch.save({"model": {f"visual.trunk.{k}": v for k, v in network.state_dict().items()}}, path)
    source = opened("test_vit", random=False, weights=path)
    x = torch.rand(1, 3, 160, 160)
    assert source.module is not None
    torch.testing.assert_close(source.module(x)["output"], network(x))


def test_weights_of_another_network_are_refused(timm: Any, tmp_path: Path) -> None:
    write_weights(timm.create_model("test_vit"), tmp_path / "weights.safetensors")
    with pytest.raises(CheckpointError, match=r"belongs to another network: tensor .* is missing"):
        opened("test_resnet", random=False, weights=tmp_path / "weights.safetensors")


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("resnet81", {}, r"timm:resnet81: timm .* has no such network; did you mean 'resnet.*'\?"),
        ("test_vit.nonsense", {}, r"timm:test_vit\.nonsense: can't be built: Invalid pretrained tag"),
        ("test_vit", {"kwargs": {"depth_": 3}}, r"timm:test_vit: can't be built: .*depth_"),
        ("test_vit", {"random": False}, "timm:test_vit: pass its weights"),
    ],
)
def test_refusals_are_one_line(timm: Any, name: str, options: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message) as error:
        opened(name, **options)
    assert "\n" not in str(error.value)
