import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest


@pytest.fixture
def text_png(tmp_path: Path) -> Path:
    path = tmp_path / "text.png"
    path.write_text("hello")
    return path


def test_a_table_by_default(cnntk: Callable, seven: Path) -> None:
    done = cnntk("infer", seven)
    assert done.status == 0
    header, row = done.out.splitlines()
    assert header.split() == ["image", "class", "prob", "then"]
    assert row.split()[:2] == [str(seven), "7"]
    assert "the LeNet that ships with cnntk" in done.err


def test_one_object_a_line(cnntk: Callable, seven: Path) -> None:
    done = cnntk("infer", seven, seven, "--format", "json", "--top", "2")
    first, second = map(json.loads, done.out.splitlines())
    assert first == second
    assert first["file"] == str(seven)
    assert [set(p) for p in first["predictions"]] == [{"label", "probability"}] * 2
    assert first["predictions"][0]["label"] == "7"


def test_one_document(cnntk: Callable, seven: Path) -> None:
    results = cnntk("infer", seven, "--json").json["results"]
    assert results[0]["predictions"][0]["label"] == "7"


def test_the_good_are_answered_and_the_bad_named(cnntk: Callable, seven: Path, text_png: Path) -> None:
    done = cnntk("infer", text_png, seven, "gone.png")
    assert done.status == 1
    assert str(seven) in done.out
    assert f"cnntk: {text_png}: is no image" in done.err
    assert "cnntk: gone.png: no such file" in done.err
    lines = cnntk("infer", text_png, seven, "--format", "json").out.splitlines()
    assert [set(json.loads(line)) for line in lines] == [{"file", "error"}, {"file", "predictions"}]


def test_a_bad_image_alone(cnntk: Callable, text_png: Path) -> None:
    done = cnntk("infer", text_png)
    assert (done.status, done.out) == (1, "")


def test_folders_and_patterns(cnntk: Callable, seven: Path) -> None:
    folder = seven.parent / "many"
    (folder / "sub").mkdir(parents=True)
    for name in ("b.png", "a.PNG", "sub/c.png", ".hidden.png"):
        (folder / name).write_bytes(seven.read_bytes())
    (folder / "notes.txt").write_text("no image")
    lines = cnntk("infer", folder, "--format", "json").out.splitlines()
    files = [json.loads(line)["file"] for line in lines]
    assert files == [str(folder / n) for n in ("a.PNG", "b.png", "sub/c.png")]
    assert len(cnntk("infer", folder / "*.png", "--format", "json").out.splitlines()) == 1


@pytest.mark.parametrize(("name", "message"), [("*.png", "no file fits"), (".", "holds no image")])
def test_nothing_to_classify(cnntk: Callable, name: str, message: str) -> None:
    done = cnntk("infer", name)
    assert done.status == 2
    assert message in done.err


def test_standard_input(seven: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "cnntk", "infer", "-", "--format", "json"]
    done = subprocess.run(command, input=seven.read_bytes(), capture_output=True, check=True, cwd=tmp_path)
    found = json.loads(done.stdout)
    assert found["file"] == "-"
    assert found["predictions"][0]["label"] == "7"


def test_a_model_that_takes_no_images(cnntk: Callable, seven: Path, foreign_onnx: Path) -> None:
    done = cnntk("infer", "-m", foreign_onnx, seven)
    assert done.status == 2
    assert "does not say how an image becomes its input" in done.err
