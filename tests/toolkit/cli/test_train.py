"""``cnntk train``, as a user runs it."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from cnntk.cli import main
from cnntk.cli.train import train
from cnntk.training.augment import AUGMENTATIONS
from cnntk.training.schedule import SCHEDULES


def run(capfd: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    status = main(["train", *arguments])
    return status, *capfd.readouterr()


def test_the_whole_way(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    status, out, err = run(capfd, "--epochs", "1")
    assert status == 0
    for text in (
        "lenet: 61,706 parameters",
        "digits: 1,438 images",
        "runs/lenet-digits",
        "cnntk export runs/lenet-digits",
    ):
        assert text in out
    assert not err or err.startswith("epoch 1/1  loss "), "nothing, unless it took 10 s"
    status, out, err = run(capfd, "--epochs", "1", "--resume", "--json")
    assert (status, json.loads(out)["status"]) == (0, "finished before")
    assert err == "runs/lenet-digits: the training is finished, there is nothing to resume\n"
    status, out, err = run(capfd)
    assert (status, out) == (2, "")
    assert err.startswith("cnntk: runs/lenet-digits: exists;")


def test_options_arrive(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    status, out, _ = run(
        capfd, "lenet", "--data", "digits", "-o", str(tmp_path / "run"), "--epochs", "1", "--lr", "0.5",
        "--batch-size", "256", "--optimizer", "sgd", "--weight-decay", "0.1", "--schedule", "cosine",
        "--augment", "none", "--image-size", "16", "--init", "normal", "--seed", "7", "--json",
    )  # fmt: skip
    assert status == 0
    settings = json.loads(out)["settings"]
    expected = {
        "epochs": 1, "batch_size": 256, "optimizer": "sgd", "learning_rate": 0.5, "weight_decay": 0.1,
        "schedule": "cosine", "augment": [], "image_size": 16, "init": "normal", "seed": 7, "device": "cpu",
    }  # fmt: skip
    assert {name: settings[name] for name in expected} == expected


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["lenett"], "unknown network 'lenett'"),
        (["gone.py"], "gone.py: no such file"),
        (["--data", "digit"], "data 'digit': expected one of digits, mnist:DIR"),
        (["--data", "."], "data '.': is a folder; with a folder per class it is folder:."),
        (["--data", "mnist:/nowhere"], "/nowhere: no such folder"),
        (["--optimizer", "adam"], "'adam' is not one of 'adamw', 'sgd'"),
        (["--epochs", "0"], "0 is not in the range x>=1"),
        (["--epochs", "many"], "'many' is not a valid integer"),
        (["--dropout", "2"], "2.0 is not in the range 0<=x<=1"),
        (["--dropout", "0.5"], "dropout"),
        (["--augment", "none", "--augment", "flip"], "excludes all others"),
        (["--device", "gpu"], "unknown device 'gpu'"),
        (["--freeze"], "name its checkpoint with --body"),
        (["--body", "/nowhere"], "/nowhere"),
        (["--resume"], "nothing to resume"),
        (["--resume", "--force"], "exclude each other"),
        (["--image-size", "4"], "lenet"),
        (["--color", "red"], "No such option"),
    ],
    ids=" ".join,
)
def test_wrong_use_is_one_line_and_status_2(
    arguments: list[str], message: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    status, out, err = run(capfd, *arguments, "-o", str(tmp_path / "run"))
    assert (status, out) == (2, "")
    assert message in err
    assert err.count("\n") == 1
    assert not (tmp_path / "run").exists()


def test_resume_alone_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert run(capfd, "--epochs", "1", "--seed", "5", "--image-size", "16", "-o", "run")[0] == 0
    status, out, _ = run(capfd, "--resume", "-o", "run", "--json")
    assert (status, json.loads(out)["status"]) == (0, "finished before")
    status, out, err = run(capfd, "--resume", "-o", "run", "--image-size", "20")
    assert (status, out) == (2, "")
    assert err.startswith("cnntk: run: was started with --image-size 16, not 20; leave it out to continue")


def test_divergence_is_status_1(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    status, out, err = run(
        capfd, "-o", str(tmp_path / "run"), "--optimizer", "sgd", "--lr", "1e38", "--schedule", "constant"
    )
    assert (status, out) == (1, "")
    assert "--learning-rate" in err
    assert err.endswith("and --force\n")


def test_choices_are_those_of_the_library() -> None:
    choices = {p.name: tuple(p.type.choices) for p in train.params if hasattr(p.type, "choices")}
    assert choices == {
        "optimizer": ("adamw", "sgd"),
        "schedule": tuple(SCHEDULES),
        "augment": (*AUGMENTATIONS, "none"),
        "init": ("xavier", "normal"),
    }


def test_help_loads_nothing_heavy() -> None:
    program = (
        "import sys; from cnntk.cli import main; main(['train', '--help']); "
        "print([m for m in ('numpy', 'torch', 'rich', 'PIL') if m in sys.modules], file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stderr == "[]\n"
    assert "runs/NET-DATA" in done.stdout
