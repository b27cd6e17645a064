import os
import shlex
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from cnntk.runtime import Engine

MINE = """
from torch import nn

def make(classes=3, bias=True):
    return nn.Sequential(nn.Flatten(), nn.Linear(12, classes, bias=bias))
"""


def test_the_shipped_lenet_with_no_argument(cnntk: Callable) -> None:
    done = cnntk("export")
    assert done.status == 0
    assert done.out.startswith("lenet.onnx (")
    assert Engine("lenet.onnx").spec.name == "lenet"
    again = cnntk("export")
    assert again.status == 2
    assert "exists already" in again.err
    assert cnntk("export", "--force", "--json").json["path"] == "lenet.onnx"
    assert cnntk("export", "--random").status == 2


def test_tells_what_was_shown(cnntk: Callable) -> None:
    done = cnntk("export", "lenet", "--random", "-o", "trial.onnx")
    assert done.status == 0
    for word in ("trial.onnx", "61,706", "classifier", "simplified", "parity: ", "(limit", "same argmax"):
        assert word in done.out
    first = done.err.splitlines()[0]
    assert first.startswith("note: the file takes arrays only: the source does not state how images become")
    report = cnntk("export", "lenet", "--random", "-o", "trial.onnx", "--force", "--json").json
    assert report["parity"][0]["holds"] is True


def test_the_command_in_the_first_note_works(cnntk: Callable) -> None:
    """The source does not state its preprocessing: what is printed can be copied, with all other options."""
    Path("my models.py").write_text(MINE)
    done = cnntk("export", "my models.py:make", "--input", "3x2x2", "--random", "-o", "out.onnx")
    first = done.err.splitlines()[0]
    command = shlex.split(first.partition("; like: ")[2])
    assert command[:2] == ["cnntk", "export"]
    done = cnntk(*command[1:])
    assert done.status == 0, done.err
    assert "--preprocessing" not in done.err
    assert Engine("out.onnx").inputs[0].name == "image"
    assert (
        "--preprocessing"
        not in cnntk("export", "my models.py:make", *command[3:-3], "--preprocess", "none").err
    )


def test_a_preset_and_a_field(cnntk: Callable) -> None:
    Path("mine.py").write_text(MINE)
    args = ("export", "mine.py:make", "--input", "3x2x2", "--random", "-o", "out.onnx")
    assert cnntk(*args, "--preprocessing", "clip", "--preprocessing", "mean=0.5").status == 0
    p = Engine("out.onnx").spec.preprocessing
    assert (p.mean, p.interpolation, p.std[0]) == ((0.5,) * 3, "bicubic", 0.26862954)
    done = cnntk(*args, "--force", "--preprocessing", "imagnet")
    assert (done.status, "did you mean imagenet" in done.err) == (2, True)


def test_a_factory_of_the_current_folder(cnntk: Callable, tmp_path: Path) -> None:
    Path("my_models.py").write_text(MINE)
    labels = tmp_path / "labels.txt"
    labels.write_text("a\nb\nä\n4th\n", encoding="utf-8")
    args = ("--input", "3x2x2", "--random", "--kwargs", "classes=4", "--kwargs", "bias=false")
    done = cnntk("export", "my_models:make", *args, "--labels", labels)
    assert done.status == 0, done.err
    spec = Engine("make.onnx").spec
    assert spec.labels == ("a", "b", "ä", "4th")
    assert spec.network.kwargs == {"classes": 4, "bias": False}
    done = cnntk("export", "my_models.py:make", *args, "--force")
    assert done.status == 0, done.err


def test_what_a_network_prints_is_not_in_the_json(cnntk: Callable) -> None:
    Path("loud.py").write_text(
        "from torch import nn\n"
        "class Loud(nn.Linear):\n"
        "    def forward(self, x): print('shape', x.shape); return super().forward(x)\n"
    )
    kwargs = ("--kwargs", "in_features=4", "--kwargs", "out_features=3")
    done = cnntk("export", "loud.py:Loud", "--input", "x=4", "--random", *kwargs, "--json")
    assert done.json["name"] == "Loud"
    assert "shape torch.Size" in done.err


@pytest.mark.parametrize("content", [b"", b"\xff\xfe\x00"])
def test_labels_that_are_none(cnntk: Callable, content: bytes) -> None:
    Path("labels.txt").write_bytes(content)
    done = cnntk("export", "lenet", "--random", "--labels", "labels.txt")
    assert done.status == 2
    assert "labels.txt" in done.err
    assert os.listdir() == ["labels.txt"]


NETWORK = """
import torch
from torch import nn

def make(dtype="float32"):
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.Flatten(), nn.Linear(144, 5)).to(getattr(torch, dtype))
"""
MAKE = ("export", "net.py:make", "--input", "3x8x8", "--random", "--force")


def test_weights_beside_the_file(cnntk: Callable) -> None:
    done = cnntk("export", "lenet", "--random", "--external-data", "-o", "m.onnx")
    assert done.status == 0, done.err
    (data,) = Path().glob("m.????????.data")
    assert f"{data} (192.0 kB): its large weights; keep both files in one folder" in " ".join(
        done.out.split()
    )
    assert f"{data} (192.0 kB), an external data file" in cnntk("inspect", "m.onnx").out
    sound = cnntk("verify", "m.onnx")
    assert sound.status == 0
    assert "12 tensors as exported" in sound.out
    assert cnntk("verify", "m.onnx", "--against", "m.onnx").status == 0
    whole = data.read_bytes()
    data.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    damaged = cnntk("verify", "m.onnx", "--json")
    assert damaged.status == 1
    assert damaged.json["digest"] == "differs"
    assert len(damaged.json["changed"]) == 1
    assert damaged.json["changed"][0]["layer"]
    for command in (("bench", "m.onnx"), ("inspect", "m.onnx")):
        assert f"{data}: is damaged" in cnntk(*command).err
    data.unlink()
    gone = cnntk("verify", "m.onnx", "--json")
    assert gone.status == 1
    assert "No such file" in gone.json["damage"]
    assert cnntk("export", "--external-data").status == 2


def test_another_precision(cnntk: Callable) -> None:
    Path("net.py").write_text(NETWORK)
    done = cnntk(*MAKE, "--dtype", "float16")
    assert done.status == 0, done.err
    assert "float32 to float16 changes outputs by at most" in done.out
    assert "note: cast from float32 to float16 by --dtype" in done.err
    engine = Engine("make.onnx")
    assert (engine.inputs[0].dtype, engine.outputs[0].dtype) == ("float16", "float32")
    done = cnntk(*MAKE, "--kwargs", "dtype=bfloat16")
    assert done.status == 0, done.err
    assert "note: the network is in bfloat16, for which onnxruntime's CPU provider has no kernels" in done.err
    done = cnntk(*MAKE, "--dtype", "float64")
    assert done.status == 1
    assert "no float64 kernel on the CPU for Conv" in done.err
    assert cnntk(*MAKE, "--dtype", "bfloat16").status == 2


def test_samples(cnntk: Callable, tmp_path: Path) -> None:
    Path("net.py").write_text(NETWORK)
    np.savez("s.npz", input=np.random.default_rng(0).random((6, 3, 8, 8), np.float32))
    done = cnntk(*MAKE, "--samples", "s.npz", "--json")
    assert done.status == 0, done.err
    assert {"sample 1", "sample 4"} <= {row["kind"] for row in done.json["parity"]}
    assert "samples: 4 of 6 used as inputs: number 1," in cnntk(*MAKE, "--samples", "s.npz").out
    np.savez("s.npz", input=np.zeros((6, 1, 8, 8), np.float32))
    done = cnntk(*MAKE, "--samples", "s.npz")
    assert (done.status, len(done.err.splitlines())) == (2, 1)
    assert "s.npz: array 'input': expected float32 [n, 3, 8, 8], got float32 [6, 1, 8, 8]" in done.err
    Path("photos").mkdir()
    done = cnntk(*MAKE, "--samples", "photos")
    assert (done.status, "photos: contains no image" in done.err) == (2, True)


def test_a_folder_of_samples_for_a_checkpoint(cnntk: Callable, seven: Path) -> None:
    from cnntk.shipped import shipped_checkpoint

    args = ("-o", "m.onnx", "--preprocess", "host", "--samples", seven.parent)
    done = cnntk("export", shipped_checkpoint(), *args)
    assert done.status == 0, done.err
    assert "samples: 1 of 1 used as inputs: seven.png" in done.out
    done = cnntk("export", "lenet", "--random", "--samples", seven.parent)
    assert done.status == 2
    assert "lenet has no preprocessing for images; pass arrays, as an .npz with input: float32" in done.err
