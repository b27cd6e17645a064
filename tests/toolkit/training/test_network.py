"""From what the user names to what is trained."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from cnntk.data import Dataset, FileImages, Split
from cnntk.runtime.artifact.spec import Network
from cnntk.runtime.errors import UsageError
from cnntk.training.network import TrainPlan, plan_for
from cnntk.training.options import TrainOptions


def plan(network: str | Network | nn.Module | None, split: Split, **options: object) -> TrainPlan:
    return plan_for(network, split, TrainOptions(**options))  # type: ignore[arg-type]


def test_lenet_is_the_default_and_gray_stays_gray(split: Split) -> None:
    result = plan(None, split)
    assert result.network == Network("lenet", {"num_classes": 3, "in_channels": 1, "image_size": 28})
    assert (result.preprocessing.color, result.preprocessing.height) == ("gray", 28)


def test_color_comes_from_the_data(make_split: Callable[..., Split]) -> None:
    result = plan("lenet", make_split(channels=3), image_size=32)
    assert result.network == Network("lenet", {"num_classes": 3, "in_channels": 3, "image_size": 32})
    assert result.preprocessing.color == "rgb"


def test_networks_for_photos_see_gray_data_in_three_channels(split: Split) -> None:
    result = plan("nin", split)
    assert result.network is not None
    assert (result.preprocessing.color, result.preprocessing.height) == ("rgb", 224)
    assert result.network.kwargs["in_channels"] == 3


def test_dropout_is_an_argument(split: Split) -> None:
    module = plan("alexnet", split, dropout=0.25, image_size=80).build("xavier", 3)
    assert {m.p for m in module.modules() if isinstance(m, nn.Dropout)} == {0.25}
    with pytest.raises(UsageError, match="dropout"):
        plan("lenet", split, dropout=0.25).build("xavier", 3)


def test_init(split: Split) -> None:
    torch.manual_seed(0)
    weight = plan("lenet", split).build("normal", 3).get_parameter("7.weight")
    assert float(weight.detach().std()) == pytest.approx(0.01, rel=0.05)


def test_unknown_names(split: Split) -> None:
    with pytest.raises(UsageError, match="unknown network 'lenett'"):
        plan("lenett", split)


@pytest.mark.parametrize("arguments", ["num_classes", "num_classes, in_channels, image_size", "**all"])
def test_a_factory_gets_what_it_takes(split: Split, tmp_path: Path, arguments: str) -> None:
    file = tmp_path / "nets.py"
    file.write_text(
        "from torch import nn\n"
        f"def small({arguments}): return nn.Sequential(nn.Flatten(), nn.Linear(144, 3))\n"
    )
    result = plan(f"{file}:small", split)
    assert (result.name, result.preprocessing.height, result.preprocessing.color) == ("small", 12, "gray")
    assert result.build("xavier", 3)(torch.zeros(1, 1, 12, 12)).shape == (1, 3)


def test_a_network_with_arguments(split: Split) -> None:
    result = plan(Network("lenet", {"num_classes": 3, "in_channels": 3, "image_size": 20}), split)
    assert (result.preprocessing.color, result.preprocessing.width) == ("rgb", 20)


def test_a_module_is_trained_as_it_is(split: Split) -> None:
    module = nn.Sequential(nn.Conv2d(3, 2, 3), nn.Flatten(), nn.Linear(200, 3))
    result = plan(module, split)
    assert result.build("xavier", 3) is module
    assert (result.network, result.name, result.preprocessing.color) == (None, "Sequential", "rgb")
    with pytest.raises(UsageError, match="--init does not apply to a module"):
        plan(module, split, init="normal")


def test_classes_have_to_fit(split: Split) -> None:
    module = nn.Sequential(nn.Flatten(), nn.Linear(144, 10))
    with pytest.raises(
        UsageError, match=r"Sequential: its output for 2 images is \[2, 10\]; expected \[2, 3\]"
    ):
        plan(module, split).build("xavier", 3)


def test_sizes_have_to_fit(split: Split) -> None:
    module = nn.Sequential(nn.Flatten(), nn.Linear(100, 3))
    with pytest.raises(UsageError, match="Sequential: fails on images of shape 1x12x12"):
        plan(module, split).build("xavier", 3)


def test_sizes_that_differ_need_a_word(tmp_path: Path) -> None:
    from PIL import Image

    paths = tuple(tmp_path / f"{i}.png" for i in range(2))
    for path in paths:
        Image.new("L", (8, 9)).save(path)
    dataset = Dataset(FileImages(paths), np.arange(2, dtype=np.int64), ("a", "b"))
    photos = Split("folder:photos", dataset, dataset, resize="shortest")
    with pytest.raises(UsageError, match="the images of folder:photos may differ in size; choose the"):
        plan(nn.Flatten(), photos)
    assert plan(nn.Flatten(), photos, image_size=7).preprocessing.height == 7


def test_a_body_has_to_be_there_to_be_frozen(split: Split) -> None:
    with pytest.raises(
        UsageError, match="--freeze keeps the weights of a body: name its checkpoint with --body"
    ):
        plan(None, split, freeze=True)
    assert plan(None, split, freeze=False).name == "lenet"


def test_a_file_is_recorded_with_its_whole_path(
    split: Split, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "nets.py").write_text("from torch import nn\ndef net(): return nn.Flatten()\n")
    monkeypatch.chdir(tmp_path)
    reference = Network(f"{tmp_path / 'nets.py'}:net")
    assert plan("nets.py:net", split).network == reference
    assert plan_for(nn.Flatten(), split, TrainOptions(), Network("nets.py:net")).network == reference
    assert plan_for(nn.Flatten(), split, TrainOptions(), Network("nets:net")).network == Network("nets:net")


def test_a_forward_may_raise_anything(split: Split) -> None:
    class Broken(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return {}["x"]

    with pytest.raises(
        UsageError, match=r"fails on images of shape 1x12x12: KeyError: 'x' \(.*test_network\.py:"
    ):
        plan(Broken(), split).build("xavier", 3)


def test_a_module_in_a_file_with_lazy_layers(split: Split, tmp_path: Path) -> None:
    file = tmp_path / "nets.py"
    file.write_text("from torch import nn\nnet = nn.Sequential(nn.Flatten(), nn.LazyLinear(3))\n")
    result = plan(f"{file}:net", split)
    assert result.network == Network(f"{file}:net", {})
    assert result.build("xavier", 3)[1].weight.shape == (3, 144)


COURSE = """
from torch import nn
LeNet = nn.Sequential(
    nn.Conv2d(1, 2, 5, padding=2), nn.AvgPool2d(2), nn.Conv2d(2, 4, 5), nn.AvgPool2d(2),
    nn.Flatten(), nn.Linear(4 * 5 * 5, 3))
Lazy = nn.Sequential(nn.LazyConv2d(2, 9), nn.MaxPool2d(3), nn.Flatten(), nn.LazyLinear(3))

class NiN(nn.Module):
    def __init__(self):
        super().__init__()
        self.net = nn.Sequential(nn.LazyConv2d(3, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten())
"""


@pytest.mark.parametrize(("name", "size"), [("LeNet", 28), ("Lazy", 28), ("NiN", 8)])
@pytest.mark.filterwarnings("ignore:.*its only network is taken:UserWarning")
def test_images_are_resized_to_what_a_network_takes(
    make_split: Callable[..., Split], tmp_path: Path, name: str, size: int
) -> None:
    (tmp_path / "notes.py").write_text(COURSE)
    images = make_split(size=8)
    result = plan(f"{tmp_path}/notes.py:{name}", images)
    assert result.preprocessing.height == size
    assert ("resized from 8 to 28 pixels" in result.note) is (size == 28)
    result.build("xavier", 3)
    chosen = plan(f"{tmp_path}/notes.py:{name}", images, image_size=32)
    assert (chosen.preprocessing.height, chosen.note) == (32, "")


def test_the_channels_of_an_instance_are_its_own(make_split: Callable[..., Split], tmp_path: Path) -> None:
    (tmp_path / "notes.py").write_text(COURSE)
    for name, channels in (("LeNet", 1), ("Lazy", 3)):
        result = plan(f"{tmp_path}/notes.py:{name}", make_split(channels=3, size=28))
        assert result.preprocessing.channels == channels
