"""Training, from data to checkpoint."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from cnntk.data import Split
from cnntk.models.checkpoint import load_checkpoint, save_checkpoint
from cnntk.runtime.artifact.spec import Network
from cnntk.runtime.codec import as_json
from cnntk.runtime.errors import CheckpointError, DataError, UsageError
from cnntk.runtime.preprocessing.preprocess import preprocess
from cnntk.training import TrainingDiverged, train


def small() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Flatten(), nn.Dropout(0.2), nn.Linear(400, 3))


def short(network: nn.Module, data: Split, output: Path, **options: object):  # type: ignore[no-untyped-def]
    return train(network, data, output=output, **{"epochs": 2, "batch_size": 16, **options})  # type: ignore[arg-type]


def test_digits_learn_and_the_runtime_sees_what_training_saw(tmp_path: Path) -> None:
    report = train("lenet", "digits", output=tmp_path / "run", epochs=20)
    assert report.accuracy > 0.9
    assert (report.status, len(report.history), report.parameters) == ("trained", 20, 61706)
    assert sorted(f.name for f in (tmp_path / "run").iterdir()) == [
        "model.safetensors",
        "report.json",
        "spec.json",
    ]
    checkpoint = load_checkpoint(tmp_path / "run")
    assert checkpoint.spec.labels == tuple("0123456789")
    assert checkpoint.spec.provenance["accuracy"] == report.accuracy
    assert json.loads(json.dumps(as_json(report)))["history"][19]["accuracy"] == report.accuracy
    for paper in (lambda image: image, lambda image: 255 - image):
        assert accuracy_by_the_runtime(tmp_path / "run", paper) == report.accuracy


def accuracy_by_the_runtime(folder: Path, paper: Callable[[np.ndarray], np.ndarray]) -> float:
    """Decoded images through the runtime's own preprocessing, and the network of the checkpoint."""
    from cnntk.data import open_data
    from cnntk.runtime.artifact.spec import Preprocessing

    checkpoint = load_checkpoint(folder)
    test = open_data("digits").test
    images = [paper(image) for image in test.images.take(range(len(test)), Preprocessing("gray", 8, 8))]
    assert checkpoint.spec.preprocessing is not None
    with torch.no_grad():
        logits = checkpoint.module(torch.from_numpy(preprocess(images, checkpoint.spec.preprocessing)))
    return float((logits.argmax(1).numpy() == test.labels).sum()) / len(test)


def test_a_module_is_trained_itself(split: Split, tmp_path: Path) -> None:
    module, reference = small(), Network("mine:small")
    before = module.state_dict()["0.weight"].clone()
    report = short(module, split, tmp_path / "run", epochs=8, network_ref=reference, learning_rate=1e-2)
    assert report.accuracy > 0.9
    assert not torch.equal(module.state_dict()["0.weight"], before)
    assert json.loads((tmp_path / "run" / "spec.json").read_text())["network"]["factory"] == "mine:small"


def test_the_same_arguments_give_the_same_bits_and_another_seed_does_not(
    split: Split, tmp_path: Path
) -> None:
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        train("lenet", split, output=tmp_path / name, epochs=1, seed=seed)
    a, b, c = ((tmp_path / n / "model.safetensors").read_bytes() for n in "abc")
    assert a == b != c
    assert (tmp_path / "a" / "spec.json").read_bytes() == (tmp_path / "b" / "spec.json").read_bytes()


def test_nothing_global_is_left_changed(split: Split, tmp_path: Path) -> None:
    def everything() -> list[object]:
        return [
            torch.get_rng_state().tolist(),
            np.random.get_state()[1].tolist(),  # type: ignore[index]
            torch.get_num_threads(),
            torch.are_deterministic_algorithms_enabled(),
            torch.is_grad_enabled(),
            torch.get_default_dtype(),
        ]

    before = everything()
    train("lenet", split, output=tmp_path / "run", epochs=1)
    assert everything() == before


@pytest.mark.parametrize("optimizer", ["adamw", "sgd"])
@pytest.mark.parametrize("schedule", ["one-cycle", "cosine", "constant"])
def test_optimizers_and_schedules_learn(split: Split, tmp_path: Path, optimizer: str, schedule: str) -> None:
    report = short(small(), split, tmp_path / "run", epochs=10, optimizer=optimizer, schedule=schedule,
                   learning_rate=1e-2, augment=("shift",))  # fmt: skip
    assert report.accuracy > 0.9


def test_weight_decay_counts(split: Split, tmp_path: Path) -> None:
    norms = []
    for decay in (0.0, 10.0):
        module = small()
        short(module, split, tmp_path / str(decay), weight_decay=decay, learning_rate=1e-2)
        norms.append(float(module.state_dict()["4.weight"].norm()))
    assert norms[1] < 0.8 * norms[0]


def test_divergence_is_an_error(split: Split, tmp_path: Path) -> None:
    with pytest.raises(TrainingDiverged, match=r"epoch \d+: the .* --learning-rate than 1e\+30"):
        short(
            small(),
            split,
            tmp_path / "run",
            optimizer="sgd",
            learning_rate=1e30,
            schedule="constant",
            epochs=5,
        )


def test_an_existing_folder_is_refused_before_the_work(split: Split, tmp_path: Path) -> None:
    short(small(), split, tmp_path)
    with pytest.raises(UsageError, match="exists; --resume continues"):
        train("no such network", "no such data", output=tmp_path)
    assert short(small(), split, tmp_path, force=True).status == "trained"


def test_wrong_use_leaves_no_folder(split: Split, tmp_path: Path) -> None:
    module = nn.Sequential(nn.Flatten(), nn.Linear(144, 10))
    with pytest.raises(UsageError, match=r"its output for 2 images is \[2, 10\]"):
        short(module, split, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_nothing_to_train(split: Split, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="has no parameter to train"):
        short(small().requires_grad_(False), split, tmp_path / "run")


def test_photos_of_any_size(tmp_path: Path) -> None:
    for name, color in (("red", (250, 9, 9)), ("blue", (9, 9, 250))):
        (tmp_path / "photos" / name).mkdir(parents=True)
        for i in range(10):
            Image.new("RGB", (20 + i, 30 - i), color).save(tmp_path / "photos" / name / f"{i}.png")
    data = f"folder:{tmp_path / 'photos'}"
    report = train("lenet", data, output=tmp_path / "run", epochs=40)
    assert (report.accuracy, report.data, report.test_images) == (1.0, "folder:photos", 4)
    spec = load_checkpoint(tmp_path / "run").spec
    assert spec.preprocessing is not None
    assert (spec.labels, spec.preprocessing.resize, spec.preprocessing.color) == (
        ("blue", "red"),
        "shortest",
        "rgb",
    )
    (tmp_path / "photos" / "red" / "3.png").write_bytes(b"")
    with pytest.raises(DataError, match=r"3\.png: is empty"):
        train("lenet", data, output=tmp_path / "other")


@pytest.mark.parametrize("freeze", [True, False])
def test_a_body_with_a_new_head(split: Split, tmp_path: Path, freeze: bool) -> None:
    train("lenet", "digits", output=tmp_path / "body", epochs=1)
    report = train(data=split, body=tmp_path / "body", freeze=freeze, epochs=1, output=tmp_path / "run")
    body, new = (load_checkpoint(tmp_path / name) for name in ("body", "run"))
    weights = new.module.state_dict()
    unchanged = [
        torch.equal(weights[f"body.{n}"], w)
        for n, w in body.module.state_dict().items()
        if f"body.{n}" in weights
    ]
    assert len(unchanged) == 8
    assert all(unchanged) if freeze else not any(unchanged)
    assert report.trainable_parameters == (84 * 3 + 3 if freeze else report.parameters)
    assert new.spec.preprocessing == body.spec.preprocessing, "as the body was trained"
    assert new.spec.labels == split.classes


def test_what_does_not_go_with_a_body(split: Split, tmp_path: Path) -> None:
    train("lenet", split, output=tmp_path / "body", epochs=1)
    with pytest.raises(UsageError, match="its network is lenet, not nin"):
        train("nin", split, body=tmp_path / "body", output=tmp_path / "run")
    with pytest.raises(UsageError, match="a body keeps its image size"):
        train(data=split, body=tmp_path / "body", image_size=32, output=tmp_path / "run")
    short(small(), split, tmp_path / "unnamed")
    with pytest.raises(CheckpointError, match="names no network"):
        train(data=split, body=tmp_path / "unnamed", output=tmp_path / "run")


def test_the_default_folder(split: Split, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert train("lenet", split, epochs=1).checkpoint == "runs/lenet-noise"
    assert (tmp_path / "runs" / "lenet-noise" / "spec.json").is_file()


def test_without_torch() -> None:
    program = """
import sys
sys.modules["torch"] = None
import cnntk
try:
    cnntk.train
except cnntk.CnntkError as error:
    print(error)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == 'training needs torch and safetensors; run: pip install "cnntk[train]"\n'


def test_a_checkpoint_of_another_kind_is_no_body(split: Split, tmp_path: Path) -> None:
    from cnntk.models.zoo import build
    from cnntk.runtime.artifact.spec import ModelSpec, TensorSpec

    network = Network("lenet", {"num_classes": 3})
    spec = ModelSpec(
        "bare", ("a", "b", "c"), (TensorSpec("input", "float32", ("N", 1, 28, 28)),), network=network
    )
    save_checkpoint(tmp_path / "bare", build(network), spec)
    with pytest.raises(CheckpointError, match="its spec has no preprocessing"):
        train(data=split, body=tmp_path / "bare", output=tmp_path / "run")


CUSTOM_NETWORK = """
import torch
from torch import nn

class Net(nn.Module):
    def __init__(self, num_classes):
        super().__init__()
        self.stem = nn.Linear(144, 8)
        self.head = nn.Linear(8, num_classes)

    def forward(self, images):
        return self.head(torch.relu(self.stem(images.flatten(1))))
"""


@pytest.mark.parametrize("custom", [False, True], ids=["the zoo's", "one's own"])
def test_a_body_of_a_body(split: Split, tmp_path: Path, custom: bool) -> None:
    from cnntk.models.zoo import build

    (tmp_path / "nets.py").write_text(CUSTOM_NETWORK)
    network = f"{tmp_path / 'nets.py'}:Net" if custom else "lenet"
    train(network, split, output=tmp_path / "0", epochs=1)
    for number, freeze in ((1, True), (2, False)):
        body = tmp_path / str(number - 1)
        output = tmp_path / str(number)
        options = {"freeze": freeze, "epochs": 1, "trust": custom}
        report = train(data=split, body=body, output=output, **options)
        assert (report.trainable_parameters < report.parameters) is freeze
        (command,) = [text for label, text in report.sections()[0].lines if label == "next"]
        assert command == f"cnntk export {output}{' --trust' if custom else ''}"
    before, frozen, last = (load_checkpoint(tmp_path / str(i), trust=custom) for i in (0, 1, 2))
    name = "stem.weight" if custom else "0.weight"
    first = before.module.state_dict()[name]
    assert torch.equal(frozen.module.state_dict()[f"body.{name}"], first)
    assert not torch.equal(last.module.state_dict()[f"body.{name}"], first)
    again = build(last.spec.network)
    again.load_state_dict(last.module.state_dict())
    p = last.spec.preprocessing
    images = torch.rand(2, p.channels, p.height, p.width)
    assert torch.equal(again.eval()(images), last.module(images))
    program = torch.export.export(last.module, (images,))
    torch.testing.assert_close(program.module()(images), last.module(images))
