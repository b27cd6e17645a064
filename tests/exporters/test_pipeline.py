import json
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from cnntk.exporters import export
from cnntk.runtime import Classifier, Engine
from cnntk.runtime.codec import as_json
from cnntk.runtime.errors import CaptureError, CheckpointError, ExportCheckError, UsageError

RANDOM_MASK = """
class Mask(nn.Module):
    def forward(self, x):
        return torch.rand_like(x.mean(dim=(2, 3))) + x.mean(dim=(2, 3))

def make():
    return Mask()
"""

LINEAR = """
def make(classes=4):
    return nn.Sequential(nn.Flatten(), nn.Linear(3 * 8 * 8, classes))
"""


@pytest.fixture(autouse=True)
def _in_an_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")


def test_a_zoo_network_with_random_weights() -> None:
    report = export("lenet", random=True)
    assert report.path == "lenet.onnx"
    assert all(p.holds for p in report.parity)
    assert (report.head, report.opset, report.ir_version) == ("classifier", 18, 10)
    assert report.size_bytes == os.path.getsize("lenet.onnx")
    json.dumps(as_json(report))
    spec = Engine("lenet.onnx").spec
    assert spec is not None
    assert spec.labels == tuple("0123456789")
    assert spec.check_results["parity"][0]["holds"] is True
    assert spec.network.factory == "lenet"
    assert os.listdir() == ["lenet.onnx"]


def test_stages_are_reported_in_order() -> None:
    stages: list[str] = []
    export("lenet", "stages.onnx", random=True, progress=stages.append)
    assert stages[0] == "opening the source"
    assert stages[-1] == "running torch and onnxruntime on test inputs"
    assert len(set(stages)) == len(stages) == 4


def test_the_same_seed_gives_the_same_bytes() -> None:
    for name, seed in [("a.onnx", 1), ("b.onnx", 1), ("c.onnx", 2)]:
        export("lenet", name, random=True, seed=seed)
    a, b, c = (Path(n).read_bytes() for n in ("a.onnx", "b.onnx", "c.onnx"))
    assert a == b != c


def test_a_factory_with_weights_and_labels(as_factory: Callable[[str], str], tmp_path: Path) -> None:
    source = as_factory(LINEAR)
    network = nn.Sequential(nn.Flatten(), nn.Linear(192, 6))
    torch.save(network.state_dict(), tmp_path / "w.pt")
    labels = list("abcdef")
    report = export(
        source, input_shape=(3, 8, 8), kwargs={"classes": 6}, weights=str(tmp_path / "w.pt"), labels=labels
    )
    assert report.path == "make.onnx"
    engine = Engine("make.onnx")
    assert engine.spec.labels == tuple(labels)
    x = np.random.default_rng(0).random((5, 3, 8, 8), dtype=np.float32)
    expected = network(torch.from_numpy(x)).detach().numpy()
    np.testing.assert_allclose(engine.run({"input": x})["logits"], expected, atol=1e-5)


def test_a_module_left_in_training_mode_is_put_into_evaluation(small_cnn: nn.Module) -> None:
    expected = small_cnn(torch.ones(1, 3, 8, 8)).detach().numpy()
    export(small_cnn.train(), "m.onnx", input_shape=(3, 8, 8))
    result = Engine("m.onnx").run({"input": np.ones((1, 3, 8, 8), np.float32)})["logits"]
    np.testing.assert_allclose(result, expected, atol=1e-5)


def test_a_model_that_is_no_classifier(two_outputs: nn.Module) -> None:
    report = export(two_outputs, "two.onnx", input_shape=(3, 8, 8))
    assert report.head == "none"
    assert {p.output for p in report.parity} == {"output", "output_1"}
    assert len(Engine("two.onnx").outputs) == 2


def test_disagreement_writes_no_file(as_factory: Callable[[str], str]) -> None:
    with pytest.raises(ExportCheckError, match=r"RandomUniformLike .*mine\.py:7.* draws at random"):
        export(as_factory(RANDOM_MASK), "random.onnx", input_shape=(3, 8, 8), random=True)
    assert os.listdir() == []


def test_what_can_not_be_captured_writes_no_file(branching: nn.Module) -> None:
    with pytest.raises(CaptureError, match=r"conftest\.py:\d+"):
        export(branching, "b.onnx", input_shape=(3, 8, 8))
    assert os.listdir() == []


def test_an_existing_file_stays_without_force() -> None:
    Path("lenet.onnx").write_bytes(b"mine")
    with pytest.raises(UsageError, match="exists already; --force"):
        export("lenet", random=True)
    assert Path("lenet.onnx").read_bytes() == b"mine"
    export("lenet", random=True, force=True)
    assert Engine("lenet.onnx").spec.name == "lenet"


def test_labels_of_several_classes_are_reported() -> None:
    for labels, count in (("abcdefghij", 0), ("aacdefghii", 1)):
        report = export("lenet", f"{labels}.onnx", random=True, labels=list(labels))
        notes = [note for note in report.notes if "2 of the labels name several classes ('a', 'i')" in note]
        assert len(notes) == count


@pytest.mark.parametrize(
    ("source", "options", "error", "message"),
    [
        ("lenet", {}, UsageError, "pass its weights"),
        ("lenet", {"random": True, "weights": "w.pt"}, UsageError, "exclude each other"),
        ("lenett", {"random": True}, UsageError, "lenet"),
        ("lenet", {"random": True, "labels": ["a"]}, UsageError, "1 labels, but lenet has 10 logits"),
        ("lenet", {"random": True, "labels": ["a\0", *"abcdefghi"]}, UsageError, "the character NUL"),
        ("lenet", {"random": True, "labels": ["\ud800", *"abcdefghi"]}, UsageError, "not valid Unicode"),
        ("lenet", {"random": True, "input_shape": (1, 28, 3)}, UsageError, "12"),
        ("torch.nn:Flatten", {"random": True}, UsageError, "--input 3x224x224"),
        ("no.such:thing", {"random": True, "input_shape": (3, 8, 8)}, UsageError, "no"),
        ("lenet", {"weights": "gone.pt"}, UsageError, "gone.pt"),
        (".", {}, (UsageError, CheckpointError), "model.safetensors|spec.json"),
    ],
)
def test_wrong_use(source: str, options: dict, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        export(source, **options)
    assert os.listdir() == []


def test_the_exported_classifier_is_ready_for_images_when_the_source_knows_how() -> None:
    from cnntk.shipped import shipped_checkpoint

    export(shipped_checkpoint(), "again.onnx")
    seven = np.zeros((28, 28), np.uint8)
    seven[4:6, 6:22] = seven[6:24, 18:21] = 255
    assert Classifier("again.onnx")(seven).best.label == "7"
