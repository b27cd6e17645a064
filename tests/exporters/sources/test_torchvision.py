import re
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
from cnntk.exporters.sources._torchvision import import_torchvision
from cnntk.models.weights import write_weights
from cnntk.runtime import Engine
from cnntk.runtime.artifact.spec import Preprocessing
from cnntk.runtime.errors import CheckpointError, MissingDependency, UsageError


@pytest.fixture(scope="module")
def models() -> Any:
    try:
        return import_torchvision("the test").models
    except MissingDependency:
        return pytest.skip("torchvision is not installed")


def opened(name: str, **options: Any) -> Source:
    return open_source(f"torchvision.models:{name}", ExportOptions(**{"random": True, **options}))


def test_without_torchvision_the_message_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torchvision", None)
    with pytest.raises(
        MissingDependency, match=r"^torchvision\.models:vgg11 needs torchvision, which is not inst"
    ):
        opened("vgg11")


def test_a_network(models: Any) -> None:
    source = opened("squeezenet1_1", seed=2)
    assert source.classifier
    assert source.inputs[0].shape == ("N", 3, 224, 224)
    assert source.preprocessing == Preprocessing(
        "rgb",
        224,
        224,
        "shortest",
        crop_ratio=224 / 256,
        crop_start="round",
        mean=(0.485, 0.456, 0.406),
        std=(0.229, 0.224, 0.225),
    )
    assert (len(source.labels), source.labels[0], source.notes) == (1000, "tench", ())
    torch.manual_seed(2)
    expected = models.squeezenet1_1().eval()
    x = torch.rand(2, 3, 64, 64)
    assert source.module is not None
    torch.testing.assert_close(source.module(x)["output"], expected(x))


def test_every_entry_of_every_classifier_maps(models: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    network = torch.nn.Linear(1, 1)
    monkeypatch.setattr(models, "get_model", lambda *args, **kwargs: network)  # building all takes minutes
    for name in models.list_models(module=models):
        for entry in models.get_model_weights(name):
            source = opened(name, kwargs={"weights": entry.name})
            transforms, steps = entry.transforms(), source.preprocessing
            assert steps is not None
            assert (steps.height, steps.width) == (transforms.crop_size[0],) * 2
            assert steps.edges == (transforms.resize_size[0],) * 2
            assert steps.interpolation == transforms.interpolation.value
            assert (list(steps.mean), list(steps.std)) == (transforms.mean, transforms.std)
            assert source.labels == tuple(entry.meta["categories"] or ())


def test_export_equals_torchvision_from_file_to_logits(models: Any, tmp_path: Path) -> None:
    """torchvision's own transforms and network, against the artifact that takes the image."""
    network = models.mobilenet_v3_small(width_mult=0.3).eval()
    weights = tmp_path / "weights.safetensors"
    write_weights(network, weights)
    file = tmp_path / "network.onnx"
    export(
        "torchvision.models:mobilenet_v3_small",
        file,
        weights=weights,
        kwargs={"width_mult": 0.3},
        input_shape=(3, 64, 64),
    )
    pixels = np.random.default_rng(0).integers(0, 256, (100, 90, 3), dtype=np.uint8)
    transforms = models.MobileNet_V3_Small_Weights.DEFAULT.transforms(crop_size=64, resize_size=73)
    with torch.no_grad():
        expected = network(transforms(Image.fromarray(pixels))[None]).numpy()
    actual = Engine(file).run({"image": pixels[None]})["logits"]
    np.testing.assert_allclose(actual, expected, atol=2e-2 * np.ptp(expected))  # levels may round differently


@pytest.mark.parametrize(
    ("file", "kwargs", "edge"),
    [
        ("resnet50-0676ba61.pth", {}, 256),
        ("resnet50-11ad3fa6.pth", {}, 232),
        ("mine.pth", {}, 232),
        ("mine.pth", {"weights": "IMAGENET1K_V1"}, 256),
    ],
)
def test_the_file_or_the_user_names_the_entry(
    models: Any, file: str, kwargs: dict[str, Any], edge: int, tmp_path: Path
) -> None:
    torch.save(models.resnet50(width_per_group=8).state_dict(), tmp_path / file)
    fields = {"width_per_group": 8, **kwargs}
    source = opened("resnet50", random=False, weights=tmp_path / file, kwargs=fields)
    assert source.preprocessing is not None
    assert source.preprocessing.edges == (edge, edge)
    notes = () if file != "mine.pth" or kwargs else source.notes
    assert source.notes == notes
    assert all(
        n.startswith("preprocessing and labels are those of ResNet50_Weights.IMAGENET1K_V2") for n in notes
    )


def test_the_users_classes_have_no_labels(models: Any) -> None:
    assert opened("squeezenet1_1", kwargs={"num_classes": 5}).labels == ()


@pytest.mark.parametrize("name", ["googlenet", "inception_v3"])
def test_networks_that_transform_their_input_do_so(models: Any, name: str) -> None:
    """As with torchvision's own weights: ImageNet's normalization becomes -1..1 in the network."""
    module = opened(name).module
    assert module is not None
    assert module.transform_input  # type: ignore[union-attr]
    x = torch.zeros(1, 3, 96, 96)
    assert list(module(x)) == ["output"]


def test_a_transformer_follows_the_input(models: Any) -> None:
    source = opened("vit_b_16", input_shape=(3, 32, 32))
    assert source.preprocessing is not None
    assert source.preprocessing.edges == (37, 37)
    assert source.module is not None
    assert source.module(torch.zeros(1, 3, 32, 32))["output"].shape == (1, 1000)


def test_weights_of_densenets_have_old_names(models: Any, tmp_path: Path) -> None:
    fields = {"bn_size": 1, "num_classes": 3}
    network = models.densenet121(**fields).eval()
    old = {
        re.sub(r"(denselayer\d+\.(?:norm|conv))([12])", r"\1.\2", name): value
        for name, value in network.state_dict().items()
        if not name.endswith("num_batches_tracked")
    }
    assert "features.denseblock1.denselayer1.norm.1.weight" in old
    path = tmp_path / "densenet121-a639ec97.pth"
    torch.save(old, path)
    source = opened("densenet121", random=False, weights=path, kwargs=fields)
    x = torch.rand(1, 3, 64, 64)
    assert source.module is not None
    torch.testing.assert_close(source.module(x)["output"], network(x))


def test_weights_of_another_network_are_refused(models: Any, tmp_path: Path) -> None:
    write_weights(models.squeezenet1_0(), tmp_path / "weights.safetensors")
    with pytest.raises(CheckpointError, match="belongs to another network"):
        opened("squeezenet1_1", random=False, weights=tmp_path / "weights.safetensors")


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        (
            "squezenet1_1",
            {},
            "has no such classifier; did you mean 'squeezenet1_1'. see torchvision.models.list",
        ),
        (
            "fasterrcnn_resnet50_fpn",
            {},
            "fpn: an object detector; expected an image classifier of torchvision",
        ),
        ("fcn_resnet50", {}, "fcn_resnet50: a segmentation network; expected"),
        ("r3d_18", {}, "r3d_18: a video network; expected"),
        ("raft_small", {}, "raft_small: an optical flow network; expected"),
        (
            "quantized_resnet18",
            {},
            "a quantized network; export the float one and use cnntk quantize; expected",
        ),
        ("vgg11", {"random": False}, "torchvision.models:vgg11: pass its weights"),
        ("vgg11", {"input_shape": (1, 64, 64)}, "networks take 3 channels, --input has 1"),
        ("resnet18", {"kwargs": {"depth": 3}}, "torchvision.models:resnet18: can't be built: .*depth"),
        (
            "resnet18",
            {"kwargs": {"weights": "V9"}},
            "weights=V9: no such entry; expected one of IMAGENET1K_V1",
        ),
    ],
)
def test_refusals_are_one_line(models: Any, name: str, options: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message) as error:
        opened(name, **options)
    assert "\n" not in str(error.value)
