from pathlib import Path

import pytest

from cnntk.runtime.errors import UsageError
from cnntk.shipped.model_choice import choose_model


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


def test_several_are_not_guessed(tmp_path: Path) -> None:
    for name in ("a.onnx", "b.onnx"):
        (tmp_path / name).touch()
    with pytest.raises(UsageError, match=r"2 \.onnx files here \(a\.onnx, b\.onnx\): name one"):
        choose_model(None, tmp_path)
