"""A training that was stopped, killed or broken off goes on to the same weights, bit for bit."""

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from torch import nn

from cnntk.data import Split
from cnntk.runtime.errors import UsageError
from cnntk.training import EpochResult, TrainReport, train
from cnntk.training.progress import TrainProgress

# Everything that is random or has a memory: dropout, batch norm, shuffling, augmentation, the optimizer.
NETWORK = """
from torch import nn

def net(num_classes, in_channels, image_size):
    return nn.Sequential(
        nn.Conv2d(in_channels, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(),
        nn.Dropout(0.3), nn.Linear(8 * (image_size // 2) ** 2, 64), nn.ReLU(), nn.Linear(64, num_classes),
    )
"""
EPOCHS = 12


@pytest.fixture(scope="module")
def network(tmp_path_factory: pytest.TempPathFactory) -> str:
    file = tmp_path_factory.mktemp("networks") / "nets.py"
    file.write_text(NETWORK)
    return f"{file}:net"


class StopAfter(TrainProgress):
    """Breaks off like Ctrl-C: after an epoch, or inside of the one that follows."""

    def __init__(self, epoch: int, inside: bool) -> None:
        self.at, self.inside, self.done = epoch, inside, 0
        self.notes: list[str] = []

    def epoch(self, result: EpochResult) -> None:
        self.done = result.epoch
        if self.done == self.at and not self.inside:
            raise KeyboardInterrupt

    def step(self, step: int, loss: float, accuracy: float) -> None:
        if self.done == self.at and self.inside:
            raise KeyboardInterrupt

    def note(self, text: str) -> None:
        self.notes.append(text)


def short(network: str, split: Split, output: Path, **options: object) -> TrainReport:
    arguments = {"epochs": 3, "batch_size": 16, "augment": ("shift", "flip"), "progress": False, **options}
    return train(network, split, output=output, **arguments)  # type: ignore[arg-type]


def weights(folder: Path) -> tuple[bytes, bytes]:
    return (folder / "model.safetensors").read_bytes(), (folder / "spec.json").read_bytes()


@pytest.mark.parametrize("optimizer", ["adamw", "sgd"])
@pytest.mark.parametrize("schedule", ["one-cycle", "constant"])
def test_stopped_anywhere(network: str, split: Split, tmp_path: Path, optimizer: str, schedule: str) -> None:
    how = {"optimizer": optimizer, "schedule": schedule}
    short(network, split, tmp_path / "whole", **how)
    for epoch, inside in ((0, True), (1, False), (1, True), (3, False)):
        folder = tmp_path / f"{epoch}{inside}"
        stop = StopAfter(epoch, inside)
        with pytest.raises(KeyboardInterrupt):
            short(network, split, folder, progress=stop, **how)
        assert (folder / "training.safetensors").exists()
        assert stop.notes == [f"stopped after epoch {epoch}; continue with the same command and --resume"]
        report = short(network, split, folder, resume=True, **how)
        assert weights(folder) == weights(tmp_path / "whole")
        assert not (folder / "training.safetensors").exists()
        assert [e.epoch for e in report.history] == [1, 2, 3]
        assert report.status == ("resumed" if epoch else "trained")


@pytest.fixture
def stopped(network: str, split: Split, tmp_path: Path) -> Path:
    with pytest.raises(KeyboardInterrupt):
        short(network, split, tmp_path / "stopped", progress=StopAfter(1, inside=False))
    return tmp_path / "stopped"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"epochs": 4}, "was started with --epochs 3, not 4; leave it out"),
        ({"seed": 1}, "was started with --seed 0, not 1"),
        ({"augment": ()}, "was started with --augment shift flip, not none"),
        ({"learning_rate": 0.5}, r"was started with --learning-rate 0\.001, not 0\.5"),
    ],
)
def test_other_options_are_refused(
    network: str, split: Split, stopped: Path, options: dict[str, object], message: str
) -> None:
    before = sorted(f.name for f in stopped.iterdir())
    with pytest.raises(UsageError, match=message):
        short(network, split, stopped, resume=True, **options)
    assert sorted(f.name for f in stopped.iterdir()) == before


def test_other_data_is_refused(network: str, split: Split, stopped: Path) -> None:
    changed = Split(split.name, split.test, split.train)
    with pytest.raises(UsageError, match="its data has changed since it was started"):
        short(network, changed, stopped, resume=True)
    with pytest.raises(UsageError, match="was started with --data noise, not other"):
        short(network, Split("other", split.train, split.test), stopped, resume=True)


def test_another_network_is_refused(split: Split, stopped: Path) -> None:
    with pytest.raises(UsageError, match=r"was started with NET .*nets\.py:net, not lenet"):
        short("lenet", split, stopped, resume=True)


def test_a_finished_run_says_so(network: str, split: Split, tmp_path: Path) -> None:
    first = short(network, split, tmp_path)
    before = weights(tmp_path)
    listener = StopAfter(-1, inside=False)
    again = short(network, split, tmp_path, resume=True, progress=listener)
    assert listener.notes == [f"{tmp_path}: the training is finished, there is nothing to resume"]
    assert (again.status, again.history, weights(tmp_path)) == ("finished before", first.history, before)
    with pytest.raises(UsageError, match="was started with --epochs 3, not 9"):
        short(network, split, tmp_path, resume=True, epochs=9)


def test_a_module_goes_on(split: Split, tmp_path: Path) -> None:
    def module() -> nn.Module:
        torch.manual_seed(0)
        return nn.Sequential(nn.Flatten(), nn.Dropout(0.5), nn.Linear(144, 3))

    def run(folder: Path, **options: object) -> nn.Module:
        trained = module()
        train(trained, split, output=folder, **{"epochs": 3, "progress": False, **options})  # type: ignore[arg-type]
        return trained

    whole = run(tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "part", progress=StopAfter(2, inside=False))
    resumed = run(tmp_path / "part", resume=True)
    assert torch.equal(whole.state_dict()["2.weight"], resumed.state_dict()["2.weight"])
    assert weights(tmp_path / "whole") == weights(tmp_path / "part")


def command(network: str, folder: Path, seed: int = 0, resume: bool = False) -> list[str]:
    program = (
        "import cnntk, torch; torch.set_num_threads(1); "
        f"cnntk.train({network!r}, 'digits', output={str(folder)!r}, epochs={EPOCHS}, seed={seed}, "
        f"augment=('shift', 'flip'), resume={resume})"
    )
    return [sys.executable, "-c", program]


def started(folder: Path) -> bool:
    return folder.is_dir()


def kill_somewhere(arguments: list[str], folder: Path, delay_s: float) -> None:
    """Starts a training and kills it with SIGKILL, some time after its folder appeared."""
    process = subprocess.Popen(arguments)
    while not started(folder) and process.poll() is None:
        time.sleep(0.002)
    time.sleep(delay_s)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()


@pytest.mark.slow
def test_killed_at_random_times(network: str, tmp_path: Path) -> None:
    whole, other, killed = (tmp_path / name for name in ("whole", "other", "killed"))
    subprocess.run(command(network, whole), check=True)
    subprocess.run(command(network, other, seed=1), check=True)
    chance = random.Random(0)
    kills = 0
    for delay_s in (0.0, chance.uniform(0.05, 0.5), chance.uniform(1.5, 4.0)):
        if not (killed / "report.json").exists():
            kill_somewhere(command(network, killed, resume=kills > 0), killed, delay_s)
            kills += 1
    if not (killed / "report.json").exists():
        subprocess.run(command(network, killed, resume=True), check=True)
    assert kills >= 2
    assert weights(killed) == weights(whole)
    assert weights(other)[0] != weights(whole)[0]
    assert sorted(f.name for f in killed.iterdir()) == ["model.safetensors", "report.json", "spec.json"]
