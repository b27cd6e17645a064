"""The command by itself, as long as it stands in no list of commands."""

from __future__ import annotations

import json
from pathlib import Path

import click
import numpy as np
import onnx
import onnx_ir as ir
import pytest
from click.testing import CliRunner, Result

from cnntk.cli.verify import verify
from cnntk.exporters.artifact import append_spec, write_hashed
from cnntk.exporters.vectors import Arrays, self_test_of
from cnntk.runtime.errors import UnsupportedArtifact
from cnntk.runtime.spec import ModelSpec, TensorSpec


def run(*args: object) -> Result:
    return CliRunner().invoke(verify, [str(a) for a in args], standalone_mode=False)


@pytest.fixture
def sealed_onnx(foreign_onnx: Path, tmp_path: Path) -> Path:
    held = {w.name: onnx.numpy_helper.to_array(w) for w in onnx.load(foreign_onnx).graph.initializer}

    def answers(arrays: Arrays) -> Arrays:
        flat = arrays["input"].reshape(-1, 16).astype(np.float64)
        return {"logits": flat @ held["weight"] + held["bias"]}

    inputs = (TensorSpec("input", "float32", ("N", 1, 4, 4)),)
    spec = ModelSpec("tiny", (), inputs, self_test=self_test_of(answers, answers, inputs))
    path = tmp_path / "sealed.onnx"
    append_spec(path, spec, write_hashed(ir.load(foreign_onnx), path))
    return path


def test_a_sound_file(sealed_onnx: Path) -> None:
    result = run(sealed_onnx)
    assert result.return_value == 0
    assert "digest" in result.stdout
    assert "3 tensors as exported" in result.stdout
    assert "self-test: logits" in result.stdout
    assert result.stdout.splitlines()[-1].split() == ["verdict", "holds"]
    assert run(sealed_onnx, "--self").return_value == 0


def test_damage_is_a_no(sealed_onnx: Path) -> None:
    data = bytearray(sealed_onnx.read_bytes())
    data[len(data) // 2] ^= 1
    sealed_onnx.write_bytes(data)
    result = run(sealed_onnx)
    assert result.return_value == 1
    assert "DIFFERS: bytes were changed" in result.stdout
    assert "DOES NOT HOLD" in result.stdout
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
    assert "first differs" in result.stdout
    assert "bias, channel 0, 1, 2, by up to 0.01" in result.stdout
    data = json.loads(run(sealed_onnx, "--against", foreign_onnx, "--json").stdout)
    assert data["comparison"]["diverges"]["weights"][0]["tensor"] == "bias"


def test_the_model_that_was_picked_is_named(sealed_onnx: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CNNTK_MODEL", str(sealed_onnx))
    assert "model: sealed.onnx ($CNNTK_MODEL)" in run().stderr


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--self", "--against", "x.onnx"], "exclude each other"),
        (["--weights", "w.pt"], "belong to the source"),
        (["--random"], "belong to the source"),
        (["--wrong"], "No such option"),
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
