import csv
import json
import os
import shlex
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
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
    done = cnntk("infer", text_png, seven)
    assert done.status == 1
    assert str(seven) in done.out
    assert f"cnntk: {text_png}: not a readable image" in done.err
    assert "cnntk: 1 of 2 images could not be read\n" in done.err
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


def test_a_missing_file_is_wrong_use(cnntk: Callable, seven: Path) -> None:
    done = cnntk("infer", seven, "gone.png", "-o", "out.csv")
    assert (done.status, os.listdir()) == (2, [])
    assert "cnntk: gone.png: no such file\n" in done.err


def test_a_file_that_states_no_preprocessing(cnntk: Callable, seven: Path, foreign_onnx: Path) -> None:
    done = cnntk("infer", "-m", foreign_onnx, seven)
    assert done.status == 2
    assert "does not state how images become its input input (float32 [N, 1, 4, 4])" in done.err
    command = done.err.splitlines()[-1].removeprefix("For example: cnntk ")
    assert command == f"infer -m {foreign_onnx} {seven} --preprocessing mnist"
    done = cnntk(*shlex.split(command))
    assert (done.status, len(done.out.splitlines())) == (0, 2)
    assert "probabilities is taken as probabilities (rows non-negative, sum 1 within" in done.err


def test_labels_for_a_file_that_has_only_numbers(
    cnntk: Callable, seven: Path, foreign_onnx: Path, tmp_path: Path
) -> None:
    labels = tmp_path / "labels.txt"
    labels.write_text("dark\nlight\nleft\n")
    options = ("-m", foreign_onnx, "--preprocessing", "unit", "--labels", labels)
    done = cnntk("infer", seven, *options)
    assert done.status == 0
    assert done.out.splitlines()[1].split()[1] == "light"
    assert cnntk("infer", seven, *options, "-o", "rows.csv").status == 0
    assert "light" in Path("rows.csv").read_text()
    labels.write_text("dark\nlight\n")
    done = cnntk("infer", seven, *options)
    assert done.status == 2
    assert "--labels: 2 labels, but " in done.err
    assert "foreign.onnx has 3 classes" in done.err
    done = cnntk("infer", seven, *options, "-o", "arrays.npz")
    assert done.status == 2
    assert "--labels: arrays have no labels" in done.err


def test_labels_that_contradict_the_file(
    cnntk: Callable, seven: Path, tiny_onnx: Path, tmp_path: Path
) -> None:
    labels = tmp_path / "labels.txt"
    labels.write_text("dark\nlight\nleft\n")
    assert cnntk("infer", "-m", tiny_onnx, seven, "--labels", labels).status == 0
    labels.write_text("light\ndark\nleft\n")
    done = cnntk("infer", "-m", tiny_onnx, seven, "--labels", labels)
    assert done.status == 2
    assert "tiny.onnx: states its own labels ('dark', 'light', 'left', ...), others than" in done.err


def test_an_artifact_that_states_its_own(cnntk: Callable, seven: Path) -> None:
    done = cnntk("infer", seven, "--preprocessing", "unit,std=0.5")
    assert done.status == 2
    assert "lenet.onnx: states its own preprocessing, with " in done.err
    assert cnntk("infer", seven, "--preprocessing", "color=gray").status == 0


def detector(path: Path, **inputs: list) -> Path:
    """A graph of two outputs that are no classes."""
    nodes = [
        onnx.helper.make_node("GlobalMaxPool", ["x"], ["peaks"]),
        onnx.helper.make_node("Shape", ["x"], ["shape"]),
    ]
    values = [onnx.helper.make_tensor_value_info(n, 1, shape) for n, shape in inputs.items()]
    outputs = [
        onnx.helper.make_tensor_value_info("peaks", 1, None),
        onnx.helper.make_tensor_value_info("shape", 7, [4]),
    ]
    graph = onnx.helper.make_graph(nodes, "g", values, outputs)
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 18)], ir_version=10)
    onnx.save(model, path)
    return path


def test_a_model_that_is_no_classifier(cnntk: Callable, seven: Path, text_png: Path, tmp_path: Path) -> None:
    model = detector(tmp_path / "peaks.onnx", x=[1, 3, 8, 8])
    args = ("infer", "-m", model, seven, text_png, "--preprocessing", "none")
    done = cnntk(*args)
    assert done.status == 1
    header, first, second = (line.split() for line in done.out.splitlines())
    assert header == ["image", "output", "shape", "dtype", "min", "mean", "max"]
    assert first[1:4] == ["peaks", "1x3x1x1", "float32"]
    assert second[1:] == ["shape", "4", "int64", "1", "5", "8"]
    assert (
        "peaks.onnx: is not a classifier: its output peaks has the shape 1x3x1x1 for a batch of 1" in done.err
    )
    rows = [json.loads(line) for line in cnntk(*args, "--format", "json").out.splitlines()]
    assert rows[0]["outputs"]["shape"] == {
        "shape": [4],
        "dtype": "int64",
        "min": 1.0,
        "mean": 5.0,
        "max": 8.0,
    }
    assert (
        cnntk(*args, "--format", "csv").out.splitlines()[0].startswith("file,error,peaks_shape,peaks_dtype")
    )
    done = cnntk(*args, "-o", "out.npz")
    assert "1 of 2 images could not be read; their entries say why" in done.err
    with np.load("out.npz") as arrays:
        assert arrays.files == [f"{seven}/peaks", f"{seven}/shape", f"{text_png}/error"]


def test_a_model_that_takes_no_images(cnntk: Callable, seven: Path, tmp_path: Path) -> None:
    """What is printed runs."""
    model = detector(tmp_path / "two.onnx", x=["N", 3, "H", 8], age=["N"])
    done = cnntk("infer", "-m", model, seven)
    assert done.status == 2
    message, *lines = done.err.splitlines()
    assert "two.onnx: takes 2 inputs (x, age), not one image, so it takes arrays only. In Python:" in message
    assert len(lines) == 3
    variables: dict = {}
    exec("\n".join(lines), variables)
    assert variables["outputs"]["shape"].tolist() == [1, 3, 224, 8]


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
    text = Path("out.json").read_text()
    lines = cnntk("infer", seven, seven, "--format", "json").out.splitlines()
    assert json.loads(text) == [json.loads(line) for line in lines]
    assert cnntk("infer", seven, seven, "-o", "out.jsonl").status == 0
    assert Path("out.jsonl").read_text().splitlines() == lines
    again = cnntk("infer", seven, "-o", "out.json")
    assert (again.status, Path("out.json").read_text()) == (2, text)
    assert "out.json: exists already; --force replaces it" in again.err
    forced = cnntk("infer", seven, text_png, "-o", "out.json", "--force", "--json")
    assert forced.status == 1
    summary = {"path": "out.json", "images": 2, "failed": 1, "resumed": 0, "finished_before": False}
    assert forced.json == summary
    assert "1 of 2 images could not be read; their entries say why" in forced.err
    finished = cnntk("infer", seven, "-o", "out.jsonl", "--resume")
    assert (finished.status, "with a row for" in finished.err) == (2, True)
    finished = cnntk("infer", seven, seven, "-o", "out.jsonl", "--resume")
    assert (finished.status, "has rows for all 2 images already; nothing to do" in finished.err) == (0, True)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--resume"], "--resume needs --output FILE"),
        (["--force"], "--force needs --output FILE"),
        (["--format", "parquet"], "--format parquet needs --output FILE"),
        (["--format", "csv", "--json"], "--json prints one JSON document"),
        (["--format", "table", "-o", "x.csv"], "--format table does not go with --output"),
        (["-o", "x.txt"], "x.txt: name it .json, .jsonl, .csv"),
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


def test_the_choice_among_models_is_listed_as_commands(cnntk: Callable, seven: Path) -> None:
    """Each of them can be copied."""
    for name in ("a b.onnx", "c.onnx"):
        assert cnntk("export", "-o", name).status == 0
    done = cnntk("infer", seven, "--top", "1")
    assert (done.status, done.out) == (2, "")
    message, *commands = done.err.splitlines()
    assert "found 2 float artifacts in 2 .onnx files here" in message
    assert sorted(shlex.split(line)[-1] for line in commands) == ["a b.onnx", "c.onnx"]
    for line in commands:
        assert cnntk(*shlex.split(line)[1:]).status == 0
    assert cnntk("inspect").err.splitlines()[-1].startswith("cnntk inspect ")
