import json
from pathlib import Path

import pytest
import torch
from torch import nn

from cnntk.models.checkpoint import load_checkpoint, save_checkpoint
from cnntk.models.lenet import lenet
from cnntk.models.trust import WITH_NEW_HEAD
from cnntk.runtime.artifact.spec import ModelSpec, Network, TensorSpec
from cnntk.runtime.errors import CheckpointError, UsageError

NETS = """
from pathlib import Path
from torch import nn
Path({ran!r}).touch()

def net():
    return nn.Linear(4, 3)
"""


@pytest.fixture
def ran(tmp_path: Path) -> Path:
    return tmp_path / "RAN"


def checkpoint(folder: Path, module: nn.Module, network: Network) -> Path:
    inputs = (TensorSpec("input", "float32", ("N", 4)),)
    save_checkpoint(folder, module, ModelSpec(name="net", labels=(), inputs=inputs, network=network))
    return folder


@pytest.fixture
def factory(tmp_path: Path, ran: Path) -> str:
    (tmp_path / "nets.py").write_text(NETS.format(ran=str(ran)))
    return f"{tmp_path / 'nets.py'}:net"


@pytest.mark.parametrize("below", ["no head", "a new head", "two new heads"])
def test_a_factory_runs_only_with_trust_or_by_its_name(
    tmp_path: Path, factory: str, ran: Path, below: str
) -> None:
    network = Network(factory)
    for _ in range(["no head", "a new head", "two new heads"].index(below)):
        network = Network(
            WITH_NEW_HEAD, {"body": network.factory, "body_kwargs": network.kwargs, "num_classes": 3}
        )
    folder = checkpoint(tmp_path / "run", nn.Linear(4, 3), network)
    with pytest.raises(UsageError, match=rf"spec\.json: names '{factory}' .*; look into it first: --trust"):
        load_checkpoint(folder)
    with pytest.raises(UsageError, match="which is code outside cnntk's zoo, so it is not run"):
        load_checkpoint(folder, named="nets.py:other")
    assert not ran.exists()
    if below == "no head":
        assert isinstance(load_checkpoint(folder, trust=True).module, nn.Linear)
        assert ran.exists()
        assert isinstance(load_checkpoint(folder, named=factory).module, nn.Linear)


@pytest.mark.parametrize(
    "factory",
    ["cnntk.models.factory:construct", "cnntk.models.lenet:lenet", "timm:resnet18", "a.pt2", WITH_NEW_HEAD],
)
def test_other_names_are_no_names_of_the_zoo(tmp_path: Path, factory: str) -> None:
    folder = checkpoint(tmp_path / "run", nn.Linear(4, 3), Network(factory, {"reference": "mine:net"}))
    with pytest.raises(UsageError, match=rf"names '{factory}' to build its network|unknown network"):
        load_checkpoint(folder)


@pytest.mark.parametrize("trust", [False, True])
def test_the_standard_library_never_runs(tmp_path: Path, ran: Path, trust: bool) -> None:
    network = Network("os:system", {"command": f"touch {ran}"})
    folder = checkpoint(tmp_path / "run", nn.Linear(4, 3), network)
    message = "standard library, which is never run" if trust else "code outside cnntk's zoo"
    with pytest.raises(UsageError, match=message):
        load_checkpoint(folder, trust=trust)
    assert not ran.exists()


@pytest.mark.parametrize("sizes", [{"num_classes": 10**9}, {"image_size": 10**6}, {"num_classes": 10**25}])
def test_a_network_is_not_larger_than_its_weights(tmp_path: Path, sizes: dict[str, int]) -> None:
    folder = checkpoint(tmp_path / "run", lenet(), Network("lenet", sizes))
    with pytest.raises((CheckpointError, UsageError)) as refusal:
        load_checkpoint(folder)
    assert "\n" not in str(refusal.value)
    text = json.loads((folder / "spec.json").read_text())
    (folder / "spec.json").write_text(json.dumps({**text, "network": {"factory": "lenet", "kwargs": {}}}))
    assert torch.is_tensor(load_checkpoint(folder).module(torch.zeros(1, 1, 28, 28)))
