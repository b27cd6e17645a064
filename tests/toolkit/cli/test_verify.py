"""The command by itself, as long as it stands in no list of commands."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import click
import numpy as np
import onnx
import onnx_ir as ir
import pytest
from click.testing import CliRunner, Result
from PIL import Image

from cnntk.cli.verify import verify
from cnntk.data import open_data
from cnntk.exporters import export
from cnntk.exporters.artifact import append_spec, write_hashed
from cnntk.exporters.self_test_vectors import Arrays, self_test_of
from cnntk.runtime.artifact.spec import ModelSpec, TensorSpec
from cnntk.runtime.errors import DataError, UnsupportedArtifact
from cnntk.shipped import shipped_checkpoint, shipped_model


def run(*args: object) -> Result:
    return CliRunner().invoke(verify, [str(a) for a in args], standalone_mode=False)


@pytest.fixture
def sealed_onnx(foreign_onnx: Path, tmp_path: Path) -> Path:
    held = {w.name: onnx.numpy_helper.to_array(w) for w in onnx.load(foreign_onnx).graph.initializer}

    def answers(arrays: Arrays) -> Arrays:
        flat = arrays["input"].reshape(-1, 16).astype(np.float64)
        return {"logits": flat @ held["weight"] + held["bias"]}

    inputs = (TensorSpec("input", "float32", ("N", 1, 4, 4)),)
    spec = ModelSpec("tiny", (), inputs, self_test=self_test_of(answers, answers, specs=inputs))
    path = tmp_path / "sealed.onnx"
    append_spec(path, spec, write_hashed(ir.load(foreign_onnx), path))
    return path


def test_a_sound_file(sealed_onnx: Path) -> None:
    result = run(sealed_onnx)
    assert result.return_value == 0
    assert "digest" in result.stdout
    assert "3 tensors as exported" in result.stdout
    assert "self-test: logits" in result.stdout
    assert result.stdout.splitlines()[-1].split() == ["verdict", "passed"]


def test_damage_is_a_no(sealed_onnx: Path) -> None:
    data = bytearray(sealed_onnx.read_bytes())
    data[len(data) // 2] ^= 1
    sealed_onnx.write_bytes(data)
    result = run(sealed_onnx)
    assert result.return_value == 1
    assert "DIFFERS: bytes were changed" in result.stdout
    assert "FAILED" in result.stdout
    sealed_onnx.write_bytes(data[:200])
    result = run(sealed_onnx, "--json")
    assert result.return_value == 1
    assert json.loads(result.stdout)["holds"] is False
    assert "damaged" in json.loads(result.stdout)["damage"]


def test_another_file_is_a_no(sealed_onnx: Path, foreign_onnx: Path) -> None:
    assert run(sealed_onnx, "--against", foreign_onnx).return_value == 0
    model = onnx.load(foreign_onnx)
    bias = next(t for t in model.graph.initializer if t.name == "bias")
    bias.raw_data = (onnx.numpy_helper.to_array(bias) + np.float32(0.01)).tobytes()
    onnx.save(model, foreign_onnx)
    result = run(sealed_onnx, "--against", foreign_onnx)
    assert result.return_value == 1
    assert "first difference" in result.stdout
    assert "bias, channel 0, 1, 2, by up to 0.01" in " ".join(result.stdout.split())
    data = json.loads(run(sealed_onnx, "--against", foreign_onnx, "--json").stdout)
    assert data["comparison"]["first_difference"]["weights"][0]["tensor"] == "bias"


def test_the_model_that_was_picked_is_named(sealed_onnx: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CNNTK_MODEL", str(sealed_onnx))
    assert "model: sealed.onnx ($CNNTK_MODEL)" in run().stderr


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--weights", "w.pt"], "belong to the source"),
        (["--random"], "belong to the source"),
        (["--wrong"], "No such option"),
        (["--images", "photos", "--against", "x.onnx"], "--images excludes"),
        (["--max-images", "3"], "--max-images belongs to --images"),
        (["--images", "photos", "--max-images", "0"], "not in the range"),
    ],
)
def test_wrong_use(sealed_onnx: Path, options: list[str], message: str) -> None:
    result = run(sealed_onnx, *options)
    assert isinstance(result.exception, click.UsageError)
    assert message in result.exception.format_message()


def test_a_foreign_file_alone_is_wrong_use(foreign_onnx: Path) -> None:
    result = run(foreign_onnx)
    assert isinstance(result.exception, UnsupportedArtifact)
    assert result.exception.exit_status == 2


@pytest.fixture(scope="module")
def digits(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six of each, black on white."""
    test, folder = open_data("digits").test, tmp_path_factory.mktemp("digits")
    for label in range(10):
        (folder / str(label)).mkdir()
        for index in np.flatnonzero(test.labels == label)[:6]:
            pixels = test.images.pixels[index, :, :, 0]  # type: ignore[attr-defined]
            large = Image.fromarray(pixels).resize((80, 80), Image.Resampling.BICUBIC)
            padded = Image.new("L", (140, 140))
            padded.paste(large, (30, 30))
            Image.fromarray(255 - np.asarray(padded)).save(folder / str(label) / f"{index}.png")
    return folder


def test_images_of_a_model_whose_preprocessing_is_right(digits: Path) -> None:
    result = run(shipped_model(), "--images", digits)
    assert result.return_value == 0, result.stdout
    assert result.stdout.startswith("no mismatch: none of ")
    assert " better\n" not in result.stdout


def test_images_of_a_model_whose_preprocessing_is_wrong(digits: Path, tmp_path: Path) -> None:
    wrong = tmp_path / "wrong.onnx"
    export(shipped_checkpoint(), wrong, preprocessing={"invert": "never"})
    result = run(wrong, "--images", digits)
    assert result.return_value == 1
    lines = result.stdout.splitlines()
    assert all(len(line) <= 80 for line in lines)
    start = next(i for i, line in enumerate(lines) if line.startswith("variant"))
    verdict, table = " ".join(" ".join(lines[:start]).split()), lines[start:]
    assert table[0].split() == ["variant", "accuracy", "log-lik.", "gained", "lost", "p"]
    assert table[1].startswith("spec")
    assert table[2].startswith("inverted")
    assert table[2].endswith("better")
    assert verdict.startswith("mismatch: inverted scores ")
    assert verdict.endswith("export again with --preprocessing invert=always")
    assert "as good on these images: dark ground" in result.stderr

    result = run(wrong, "--images", digits, "--json", "--max-images", "50")
    assert result.return_value == 1
    data = json.loads(result.stdout)
    assert data["spec"]["images"] == 50
    assert data["verdict"].startswith("mismatch: inverted")
    assert "50 of 60 images are used" in result.stderr


def test_broken_images_are_reported(digits: Path, tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / "3").mkdir(exist_ok=True)
        (tmp_path / "3" / f"{name}.png").write_bytes(b"none")
    result = run(shipped_model(), "--images", tmp_path)
    assert isinstance(result.exception, DataError)
    assert "none of its images can be read" in str(result.exception)
    shutil.copy(next(digits.glob("3/*.png")), tmp_path / "3" / "c.png")
    result = run(shipped_model(), "--images", tmp_path)
    assert result.return_value == 0
    assert all(f"{tmp_path / '3' / name}.png" in result.stderr for name in "ab")
    assert "1 images are too few" in result.stderr


@pytest.mark.parametrize(
    ("names", "message"),
    [
        ((), "contains no labeled image"),
        (("cat", "dog"), "none of its classes is one of the model's: 'cat', 'dog'"),
    ],
)
def test_folders_that_are_of_no_use(names: tuple[str, ...], message: str, tmp_path: Path) -> None:
    for name in names:
        (tmp_path / name).mkdir()
        Image.new("L", (8, 8)).save(tmp_path / name / "1.png")
    result = run(shipped_model(), "--images", tmp_path)
    assert isinstance(result.exception, DataError)
    assert result.exception.exit_status == 2
    assert message in str(result.exception)
    assert "\n" not in str(result.exception)
