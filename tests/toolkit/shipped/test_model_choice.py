import json
import os
from pathlib import Path

import pytest

from cnntk.runtime.artifact.protobuf import metadata_entry
from cnntk.runtime.errors import UsageError
from cnntk.shipped import shipped_model
from cnntk.shipped.model_choice import choose_model, model_candidates


@pytest.fixture(autouse=True)
def _no_default(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CNNTK_MODEL", raising=False)


def test_in_this_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert choose_model(None, tmp_path).path.name == "lenet.onnx"
    assert "ships with cnntk" in str(choose_model(None, tmp_path).reason)
    (tmp_path / "only.onnx").touch()
    assert choose_model(None, tmp_path).path == tmp_path / "only.onnx"
    monkeypatch.setenv("CNNTK_MODEL", "chosen.onnx")
    assert choose_model(None, tmp_path).path == Path("chosen.onnx")
    named = choose_model("named.onnx", tmp_path)
    assert (named.path, named.reason) == (Path("named.onnx"), None)


def write_artifact(file: Path, **spec: object) -> None:
    file.write_bytes(shipped_model().read_bytes() + metadata_entry("cnntk", json.dumps(spec)))


def test_the_only_float_artifact_is_chosen(tmp_path: Path) -> None:
    for name in ("a-int8.onnx", "b-int8.onnx"):
        write_artifact(tmp_path / name, quantization={"config": {}})
    (tmp_path / "foreign.onnx").touch()
    with pytest.raises(UsageError, match=r"0 float artifacts in 3 \.onnx files here \(a-int8\.onnx, b-int8"):
        choose_model(None, tmp_path)
    write_artifact(tmp_path / "float.onnx", quantization=None)
    choice = choose_model(None, tmp_path)
    assert (choice.path, choice.reason) == (tmp_path / "float.onnx", "the only float artifact here")
    write_artifact(tmp_path / "other.onnx")
    with pytest.raises(UsageError, match=r"2 float artifacts in 5 \.onnx files here .*; name the model"):
        choose_model(None, tmp_path)


def test_a_quantized_artifact_is_not_chosen(tmp_path: Path) -> None:
    write_artifact(tmp_path / "a-int8.onnx", quantization={"config": {}})
    with pytest.raises(
        UsageError, match=r"0 float artifacts in 1 \.onnx files here \(a-int8\.onnx\), expected"
    ):
        choose_model(None, tmp_path)


@pytest.mark.parametrize(
    "content", [b"", b"not a model", metadata_entry("cnntk", "[1]"), metadata_entry("cnntk", "{")]
)
def test_other_files_are_not_guessed(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.onnx").write_bytes(content)
    assert choose_model(None, tmp_path).reason == "the only .onnx here"
    (tmp_path / "b.onnx").write_bytes(content)
    with pytest.raises(
        UsageError, match=r"0 float artifacts in 2 \.onnx files here \(a\.onnx, b\.onnx\), expected"
    ):
        choose_model(None, tmp_path)


def test_candidates_are_float_artifacts_first_the_newest_in_front(tmp_path: Path) -> None:
    for age, name in enumerate(("b.onnx", "c.onnx", "a.onnx")):
        write_artifact(tmp_path / name, quantization=None)
        os.utime(tmp_path / name, (1000 - age, 1000 - age))
    write_artifact(tmp_path / "0-int8.onnx", quantization={"config": {}})
    (tmp_path / "1.onnx").write_bytes(b"not a model")
    names = [path.name for path in model_candidates(tmp_path)]
    assert names == ["b.onnx", "c.onnx", "a.onnx", "0-int8.onnx", "1.onnx"]
