from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import FrozenInstanceError
from pathlib import Path

import pytest
import torch
from torch import nn

from cnntk.models.zoo import Recipe, build, find, names
from cnntk.runtime.artifact.spec import Network
from cnntk.runtime.errors import UsageError

BUILT_IN = ("lenet", "alexnet", "vgg11", "vgg13", "vgg16", "vgg19", "nin")

PLUGIN = """
from cnntk.models.zoo import Recipe, ZooEntry

def make(num_classes=10, in_channels=1, image_size=8):
    from torch import nn

    return nn.Sequential(nn.Flatten(), nn.Linear(in_channels * image_size**2, num_classes))

recipe = Recipe("sgd", 0.1, 0.0, 0.9, 1, 8, "constant")
tiny = ZooEntry("tiny", "acme_nets:make", (1, 8, 8), recipe)
misnamed = ZooEntry("other", "acme_nets:make", (1, 8, 8), recipe)
number = 3
"""


def test_the_names() -> None:
    assert names()[: len(BUILT_IN)] == BUILT_IN


@pytest.mark.parametrize("name", BUILT_IN)
def test_every_entry_builds_and_takes_its_input(name: str) -> None:
    entry = find(name)
    channels, height, width = entry.input_shape
    arguments = {"num_classes": 4, "in_channels": channels, "image_size": height}
    with torch.device("meta"):
        network = build(Network(name, arguments))
        assert network(torch.empty(2, channels, height, width)).shape == (2, 4)
    assert repr(network) == repr(build_on_meta(Network(entry.factory, arguments)))


def build_on_meta(network: Network) -> nn.Module:
    with torch.device("meta"):
        return build(network)


def test_the_recipes() -> None:
    assert find("lenet").recipe == Recipe(
        optimizer="adamw",
        learning_rate=1e-2,
        weight_decay=1e-2,
        momentum=0.9,
        epochs=12,
        batch_size=128,
        schedule="one-cycle",
        augment=("shift",),
        init="xavier",
    )
    assert {find(name).recipe.optimizer for name in BUILT_IN[1:]} == {"sgd"}
    with pytest.raises(FrozenInstanceError):
        find("lenet").recipe.epochs = 1  # type: ignore[misc]


@pytest.mark.parametrize(
    ("field", "value"),
    [("optimizer", "adam"), ("schedule", "step"), ("init", "zero"), ("augment", ("crop",))],
)
def test_a_recipe_with_an_unknown_choice_is_refused(field: str, value: object) -> None:
    arguments = {"optimizer": "sgd", "schedule": "cosine", "init": "normal", "augment": (), field: value}
    with pytest.raises(ValueError, match=rf"Recipe.{field} = .*; choose one of"):
        Recipe(learning_rate=1, weight_decay=0, momentum=0, epochs=1, batch_size=1, **arguments)  # type: ignore[arg-type]


def test_an_unknown_name_is_refused_with_a_close_one() -> None:
    with pytest.raises(UsageError, match=r"'lenett'; did you mean 'lenet'.*lenet, alexnet, vgg11"):
        find("lenett")
    with pytest.raises(UsageError, match="'qqq'; the zoo has lenet"):
        build(Network("qqq"))


def install(folder: Path, distribution: str, points: str, module: str = PLUGIN) -> None:
    """What pip leaves behind: a module, and a .dist-info that says which entry points it offers."""
    info = folder / f"{distribution}-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {distribution}\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(f"[cnntk.models]\n{points}\n")
    (folder / "acme_nets.py").write_text(module)


def ask(folder: Path, code: str) -> str:
    preamble = (
        "from cnntk.models import build, find, names\n"
        "from cnntk.runtime.errors import UsageError\n"
        "from cnntk.runtime.artifact.spec import Network\n"
    )
    body = f"try: print({code})\nexcept UsageError as error: print('UsageError:', error)"
    env = {**os.environ, "PYTHONPATH": str(folder)}
    run = subprocess.run(
        [sys.executable, "-c", preamble + body], env=env, capture_output=True, text=True, check=False
    )
    assert run.returncode == 0, run.stderr
    return run.stdout.strip()


def test_another_distribution_adds_a_network(tmp_path: Path) -> None:
    install(tmp_path, "acme", "tiny = acme_nets:tiny")
    answer = ask(
        tmp_path, "names()[-1], find('tiny').input_shape, build(Network('tiny', {'num_classes': 3}))[1]"
    )
    assert answer == "tiny (1, 8, 8) Linear(in_features=64, out_features=3, bias=True)"


@pytest.mark.parametrize(
    ("points", "message"),
    [
        ("tiny = acme_nets:missing", "'tiny' of acme 1.0 (acme_nets:missing) can't be loaded"),
        ("tiny = no_such_module:tiny", "'tiny' of acme 1.0 (no_such_module:tiny) can't be loaded"),
        ("tiny = acme_nets:number", "is 3, expected a ZooEntry"),
        ("tiny = acme_nets:misnamed", "expected a ZooEntry"),
    ],
)
def test_a_broken_one_harms_itself_alone(tmp_path: Path, points: str, message: str) -> None:
    install(tmp_path, "acme", points)
    answer = ask(tmp_path, "find('tiny')")
    assert answer.startswith("UsageError:")
    assert message in answer
    assert ask(tmp_path, "find('lenet').name") == "lenet"


def test_a_name_provided_twice_is_refused(tmp_path: Path) -> None:
    install(tmp_path, "acme", "tiny = acme_nets:tiny")
    install(tmp_path, "bolt", "tiny = acme_nets:tiny")
    answer = ask(tmp_path, "names()")
    assert "'tiny' is provided by" in answer
    assert "acme 1.0" in answer
    assert "bolt 1.0" in answer


def test_a_built_in_name_is_refused(tmp_path: Path) -> None:
    install(tmp_path, "acme", "lenet = acme_nets:tiny")
    assert "'lenet' is provided by cnntk itself and by acme 1.0 (acme_nets:tiny)" in ask(
        tmp_path, "find('lenet')"
    )
