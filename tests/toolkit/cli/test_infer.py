import csv
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image


@pytest.fixture
def text_png(tmp_path: Path) -> Path:
    path = tmp_path / "text.png"
    path.write_text("hello")
    return path


def test_a_table_by_default(cnntk: Callable, seven: Path) -> None:
    done = cnntk("infer", seven)
    assert done.status == 0
    header, row = done.out.splitlines()
    assert header.split() == ["image", "class", "prob", "next", "best"]
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
    assert f"cnntk: {text_png}: not a readable image" in done.err
    assert "cnntk: gone.png: no such file" in done.err
    assert "cnntk: 2 of 3 images could not be read\n" in done.err
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
    left_out = "note: left out: 1 file that is not an image (1 .txt)\n"
    assert cnntk("infer", folder).err.endswith(left_out)
    assert cnntk("infer", folder, "-o", "out.csv").err.endswith(left_out)
    assert "left out" not in cnntk("infer", folder / "*.png").err
    assert len(cnntk("infer", folder / "*.png", "--format", "json").out.splitlines()) == 1


@pytest.mark.parametrize(("name", "message"), [("*.png", "no file matches"), (".", "contains no image")])
def test_nothing_to_classify(cnntk: Callable, name: str, message: str) -> None:
    done = cnntk("infer", name)
    assert done.status == 2
    assert message in done.err


def test_standard_input(seven: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "cnntk", "infer", "-", "--format", "json"]
    done = subprocess.run(command, input=seven.read_bytes(), capture_output=True, check=True, cwd=tmp_path)
    document = json.loads(done.stdout)
    assert document["file"] == "-"
    assert document["predictions"][0]["label"] == "7"


def test_a_model_that_takes_no_images(cnntk: Callable, seven: Path, foreign_onnx: Path) -> None:
    done = cnntk("infer", "-m", foreign_onnx, seven)
    assert done.status == 2
    assert "has no preprocessing in its spec" in done.err


def test_csv(cnntk: Callable, seven: Path, text_png: Path) -> None:
    done = cnntk("infer", seven, text_png, "--format", "csv", "--top", "1")
    assert done.status == 1
    header, first, second = csv.reader(done.out.splitlines())
    assert header == ["file", "error", "label_1", "probability_1"]
    assert (first[0], first[2], float(first[3]) > 0.9) == (str(seven), "7", True)
    assert (second[0], "not a readable image" in second[1], second[2:]) == (str(text_png), True, ["", ""])


def test_into_a_file(cnntk: Callable, seven: Path, text_png: Path) -> None:
    done = cnntk("infer", seven, seven, "-o", "out.json")
    assert (done.status, done.out) == (0, "")
    assert "wrote out.json: 2 images" in done.err
    lines = Path("out.json").read_text().splitlines()
    assert lines == cnntk("infer", seven, seven, "--format", "json").out.splitlines()
    again = cnntk("infer", seven, "-o", "out.json")
    assert (again.status, Path("out.json").read_text().splitlines()) == (2, lines)
    assert "out.json: exists already; --force replaces it" in again.err
    forced = cnntk("infer", seven, text_png, "-o", "out.json", "--force", "--json")
    assert forced.status == 1
    assert forced.json == {"path": "out.json", "images": 2, "failed": 1, "resumed": 0}
    assert "1 of 2 images could not be read; their rows say why" in forced.err


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--resume"], "--resume needs --output FILE"),
        (["--force"], "--force needs --output FILE"),
        (["--format", "parquet"], "--format parquet needs --output FILE"),
        (["--format", "csv", "--json"], "--json prints one JSON document"),
        (["--format", "table", "-o", "x.csv"], "--format table does not go with --output"),
        (["-o", "x.txt"], "x.txt: name it .json, .csv or .parquet"),
    ],
)
def test_options_that_do_not_go_together(
    cnntk: Callable, seven: Path, options: list[str], message: str
) -> None:
    done = cnntk("infer", seven, *options)
    assert (done.status, done.out) == (2, "")
    assert message in done.err


def test_a_limit_and_what_was_done_to_an_image(cnntk: Callable, seven: Path, tmp_path: Path) -> None:
    done = cnntk("infer", seven, "--max-megapixels", "0.01")
    assert done.status == 1
    assert "140x140 is over 0.01 megapixels; scale it down first, or raise --max-megapixels\n" in done.err
    cnntk("infer", seven, "--max-megapixels", "0.01", "-o", "large.json")
    assert "raise --max-megapixels" in Path("large.json").read_text()
    see_through = tmp_path / "glass.png"
    Image.open(seven).convert("LA").save(see_through)
    frames = [Image.open(seven), Image.new("L", (140, 140))]
    frames[0].save(tmp_path / "two.gif", save_all=True, append_images=frames[1:])
    assert f"note: {tmp_path}/two.gif: the first of 2 frames" in cnntk("infer", tmp_path / "two.gif").err
    assert "note: " not in cnntk("infer", seven).err


def test_pages_of_a_table_are_one_table(
    cnntk: Callable, seven: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = [seven] * 5
    whole = cnntk("infer", *files).out
    monkeypatch.setattr("cnntk.cli.infer._PAGE", 2)
    assert cnntk("infer", *files).out == whole
    assert len(whole.splitlines()) == 6


def test_a_name_that_is_no_text(cnntk: Callable, seven: Path) -> None:
    odd = os.fsdecode(b"\xff.png")
    Path(odd).write_bytes(seven.read_bytes())
    assert "'\\udcff.png'" in cnntk("infer", odd).out
    assert json.loads(cnntk("infer", odd, "--format", "json").out)["file"] == odd
    assert cnntk("infer", odd, "--format", "csv").out.splitlines()[1].startswith("\\udcff.png,,7,")


NAMES = (b"-a.png", b"[b].png", b"\xe9.png", b"c\td.png", b"e\nf.png", b'"g".png', b"%20.png")


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8:surrogateescape", "ascii"])
def test_names_of_any_bytes_are_a_row_each(encoding: str, seven: Path, tmp_path: Path) -> None:
    """Whatever standard output makes of bytes that are not text, its lines are JSON and UTF-8."""
    folder = tmp_path / "names"
    folder.mkdir()
    for name in NAMES:
        Path(os.fsdecode(os.fsencode(folder) + b"/" + name)).write_bytes(seven.read_bytes())

    def rows(*options: str) -> list[str]:
        command = [sys.executable, "-m", "cnntk", "infer", str(folder), *options]
        variables = {**os.environ, "PYTHONIOENCODING": encoding}
        done = subprocess.run(command, capture_output=True, check=True, cwd=tmp_path, env=variables)
        return done.stdout.decode().splitlines()

    lines = [json.loads(line) for line in rows("--format", "json")]
    assert sorted(os.path.basename(os.fsencode(line["file"])) for line in lines) == sorted(NAMES)
    assert json.loads("\n".join(rows("--json")))["results"] == lines
    assert len(rows()) == 1 + len(NAMES)
