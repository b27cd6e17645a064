"""A resumed training has the options of the interrupted one where they are left out."""

from pathlib import Path
from typing import Any

import pytest
from torch import nn

from cnntk.data import Split
from cnntk.runtime.errors import UsageError
from cnntk.training import train
from cnntk.training.progress import TrainProgress
from cnntk.training.report import EpochResult
from cnntk.training.resuming import check_unchanged, data_location

NETWORK = """
from torch import nn

def net(num_classes, image_size, dropout=0.5):
    return nn.Sequential(nn.Flatten(), nn.Dropout(dropout), nn.Linear(image_size**2, num_classes))
"""


class Stop(TrainProgress):
    def epoch(self, result: EpochResult) -> None:
        raise KeyboardInterrupt


@pytest.fixture
def interrupted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Stopped after one epoch, with nothing left at its default."""
    (tmp_path / "nets.py").write_text(NETWORK)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(KeyboardInterrupt):
        train(
            "nets.py:net", "digits", output="run", epochs=2, batch_size=256, optimizer="sgd",
            learning_rate=0.01, weight_decay=0.1, schedule="cosine", augment=("zoom",), image_size=9,
            init="normal", dropout=0.25, seed=3, progress=Stop(),
        )  # fmt: skip
    return tmp_path / "run"


def test_no_option_has_to_be_repeated(interrupted: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (interrupted.parent / "elsewhere").mkdir()
    monkeypatch.chdir(interrupted.parent / "elsewhere")
    with pytest.raises(UsageError, match=r"run: names '.*nets\.py:net' .* it is not run; look into it first"):
        train(output=interrupted, resume=True)
    report = train(output=interrupted, resume=True, trust=True)
    assert (report.status, len(report.history), report.network) == ("resumed", 2, "net")
    assert report.settings["network_arguments"] == {"num_classes": 10, "image_size": 9, "dropout": 0.25}
    assert (report.settings["seed"], report.settings["augment"]) == (3, ["zoom"])
    assert train(output=interrupted, resume=True, trust=True).status == "finished before"


def test_repeated_options_are_the_same(interrupted: Path) -> None:
    report = train("nets.py:net", "digits", output=interrupted, seed=3, dropout=0.25, resume=True)
    assert report.status == "resumed"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"dropout": 0.5}, r"was started with --dropout 0\.25, not 0\.5"),
        ({"image_size": 8}, "was started with --image-size 9, not 8"),
        ({"network": "lenet"}, r"was started with NET .*nets\.py:net, not lenet"),
        ({"seed": 0}, "was started with --seed 3, not 0"),
        ({"augment": ()}, "was started with --augment zoom, not none"),
    ],
    ids=str,
)
def test_what_differs_is_named_as_the_user_says_it(
    interrupted: Path, options: dict[str, Any], message: str
) -> None:
    with pytest.raises(UsageError, match=message) as raised:
        train(output=interrupted, resume=True, trust=True, **options)
    assert "{" not in str(raised.value)


def test_a_body_is_resumed(split: Split, tmp_path: Path) -> None:
    train("lenet", split, output=tmp_path / "body", epochs=1)
    with pytest.raises(KeyboardInterrupt):
        train(
            data=split,
            body=tmp_path / "body",
            freeze=True,
            epochs=2,
            output=tmp_path / "run",
            progress=Stop(),
        )
    with pytest.raises(UsageError, match="was started with --freeze on, not off"):
        train(data=split, freeze=False, output=tmp_path / "run", resume=True)
    with pytest.raises(UsageError, match="was started with --data noise; pass the data again"):
        train(output=tmp_path / "run", resume=True)
    report = train(data=split, output=tmp_path / "run", resume=True)
    assert (report.status, report.trainable_parameters) == ("resumed", 84 * 3 + 3)


def test_a_module_has_to_be_passed_again(split: Split, tmp_path: Path) -> None:
    module = nn.Sequential(nn.Flatten(), nn.Linear(144, 3))
    with pytest.raises(KeyboardInterrupt):
        train(module, split, output=tmp_path / "run", epochs=2, progress=Stop())
    with pytest.raises(UsageError, match="started with a module of your own, Sequential; pass it again"):
        train(data=split, output=tmp_path / "run", resume=True)
    assert train(module, split, output=tmp_path / "run", resume=True).status == "resumed"


def test_a_body_that_changed() -> None:
    before = {"network_arguments": {"body": "lenet", "body_kwargs": {"a": 1}}}
    after = {"network_arguments": {"body": "lenet", "body_kwargs": {"a": 2}}}
    with pytest.raises(UsageError, match="its --body has changed since it was started"):
        check_unchanged(after, before, Path("run"))
    check_unchanged(before, before, Path("run"))


def test_data_may_move(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, split: Split) -> None:
    monkeypatch.chdir(tmp_path)
    assert (data_location("digits"), data_location("mnist:a"), data_location(split)) == (
        "digits",
        f"mnist:{tmp_path}/a",
        None,
    )
    check_unchanged({"data_location": "mnist:/a"}, {"data_location": "mnist:/b"}, Path("run"))
