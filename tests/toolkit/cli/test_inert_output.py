"""What commands print is inert, and no state of the standard streams ends them with a traceback."""

import ast
import csv
import io
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from source_tree import relative, source_files
from spec_mutations import sealed, split_spec

from cnntk.runtime.inert import cell_text, inert
from cnntk.shipped import shipped_model

LABELS = {
    "escape": "\x1b[2J\x1b[1;1H7\nseven.png  8  100.0%",
    "formula": '=HYPERLINK("http://x")',
    "bidi": "\u202egnp.exe",
    "markup": "[red]seven[/red] [link=http://x]y[/link] {task}",
}


@pytest.fixture(params=LABELS)
def label(request: pytest.FixtureRequest) -> str:
    return LABELS[request.param]


@pytest.fixture
def model(label: str, tmp_path: Path) -> Path:
    """The shipped artifact with another name and one label for all classes."""
    graph, spec = split_spec(shipped_model().read_bytes())
    spec |= {"labels": [label] * 10, "name": f"net {label}"}
    file = tmp_path / "odd.onnx"
    file.write_bytes(sealed(graph, json.dumps({**spec, "digest": "0" * 64}).encode()))
    return file


def assert_inert(text: str) -> None:
    assert [line for line in text.split("\n") if inert(line) != line] == []


def test_the_check_fails_on_what_it_looks_for() -> None:
    with pytest.raises(AssertionError):
        assert_inert("a\n\x1b[2J")


@pytest.mark.parametrize("command", ["inspect", "verify", "infer"])
def test_text_and_json(cnntk: Callable, model: Path, label: str, seven: Path, command: str) -> None:
    """The images, too, have such names, and so has one that is missing."""
    image = seven.rename(seven.with_name(f"{label}.png".replace("/", "|")))
    (damaged := image.with_name(f"damaged {image.name}")).write_bytes(b"")
    args = ["infer", "-m", model, image, damaged] if command == "infer" else [command, model]
    if command == "infer":
        missing = cnntk(*args, f"gone {image.name}")
        assert missing.status == 2
        assert_inert(missing.out + missing.err)
    done = cnntk(*args)
    assert done.status in (0, 1)
    assert_inert(done.out + done.err)
    if command != "verify":
        shown = done.out if command == "infer" else done.out.partition("labels")[2]
        assert inert(label)[:10] in shown
    document = cnntk(*args, "--json")
    assert_inert(document.out)
    if command == "infer":
        predictions = document.json["results"][0]["predictions"]
        assert {p["label"] for p in predictions} == {label}


def test_tables_for_spreadsheets(cnntk: Callable, model: Path, label: str, seven: Path) -> None:
    image = seven.rename(seven.with_name(f"{label}.png".replace("/", "|")))
    os.chdir(image.parent)
    done = cnntk("infer", "-m", model, image.name, "--format", "csv")
    assert_inert(done.out)
    assert cnntk("infer", "-m", model, image.name, "-o", "x.csv").status == 0
    assert Path("x.csv").read_text(encoding="utf-8") == done.out
    (row,) = csv.DictReader(io.StringIO(done.out))
    assert row["label_1"][0] not in "=+-@\t\r"
    assert row["file"][0] not in "=+-@\t\r"
    assert cell_text(row["file"]) == inert(image.name)
    assert cell_text(row["label_1"]) == inert(label)
    assert float(row["probability_1"]) > 0
    raw = cnntk("infer", "-m", model, image.name, "--format", "csv", "--keep-formulas")
    (row,) = csv.DictReader(io.StringIO(raw.out))
    assert row["label_1"] == inert(label)


def test_lines_and_parquet_keep_labels(cnntk: Callable, model: Path, label: str, seven: Path) -> None:
    parquet = pytest.importorskip("pyarrow.parquet")
    for name in ("x.jsonl", "x.parquet"):
        assert cnntk("infer", "-m", model, seven, "-o", name).status == 0
    text = Path("x.jsonl").read_text(encoding="utf-8")
    assert_inert(text)
    assert json.loads(text)["predictions"][0]["label"] == label
    assert parquet.read_table("x.parquet").to_pylist()[0]["label_1"] == label


def test_formulas_are_for_csv(cnntk: Callable) -> None:
    for more in (["--format", "json"], ["-o", "x.parquet"], []):
        done = cnntk("infer", "x.png", "--keep-formulas", *more)
        assert (done.status, done.err) == (
            2,
            "cnntk: --keep-formulas belongs to --format csv (see cnntk infer --help)\n",
        )


def test_messages_about_options(cnntk: Callable) -> None:
    for args in (["inspect", "a\x1b[2J\u202e.onnx"], ["infer", "x", "--top", "\x1b[2J"], ["\x1b[2J"]):
        done = cnntk(*args)
        assert done.status == 2
        assert "\\x1b[2J" in done.err
        assert_inert(done.err)
        assert_inert(cnntk(*args, "--debug").err)


@pytest.mark.parametrize(
    ("encoding", "name"),
    [
        ("ascii", r"\u6587x\udcff"),
        ("latin-1", r"\u6587x\udcff"),
        ("cp1252", r"\u6587x\udcff"),
        ("utf-8", r"文×\udcff"),
    ],
)
def test_terminals_of_other_encodings(encoding: str, name: str) -> None:
    environment = {**os.environ, "PYTHONIOENCODING": encoding}
    for args in (["inspect", "--json"], ["infer", "gone 文×\udcff.png"]):
        command = [sys.executable, "-m", "cnntk", *args]
        done = subprocess.run(command, env=environment, capture_output=True, check=False)
        text, errors = done.stdout.decode(encoding), done.stderr.decode(encoding)
        if "--json" in args:
            assert json.loads(text)
        else:
            assert f"gone {name}.png: no such file" in errors.replace("'", "")
        assert "Traceback" not in errors


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
@pytest.mark.parametrize(
    ("redirection", "status", "message"),
    [
        (">&-", 0, ""),
        ("2>&-", 0, ""),
        ("<&-", 0, ""),
        (">&- 2>&- <&-", 0, ""),
        (">/dev/full", 1, "cnntk: standard output: No space left on device\n"),
        ("2>/dev/full", 0, ""),
        ("| true", 0, ""),
        ("2>&1 | true", 0, ""),
    ],
)
def test_closed_and_full_streams(redirection: str, status: int, message: str) -> None:
    command = f"{sys.executable} -m cnntk inspect {shipped_model()} {redirection}; exit ${{PIPESTATUS[0]}}"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (status, message)


def test_the_first_file_that_is_opened_is_not_standard_output(tmp_path: Path) -> None:
    """Where standard output is closed, the system gives its number to the next file."""
    command = f"{sys.executable} -m cnntk export -o {tmp_path / 'm.onnx'} >&- <&-"
    subprocess.run(["bash", "-c", command], capture_output=True, check=True)
    assert (tmp_path / "m.onnx").read_bytes() == shipped_model().read_bytes()


PRINTING = {f"toolkit/{name}.py" for name in ("cli/output", "cli/__init__", "cli/progress")}


def printing(source: str) -> list[int]:
    """Lines that print, or write to a standard stream."""
    lines = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Call):
            called = ast.unparse(node.func)
            if called in ("print", "click.echo", "click.secho") or called.startswith(
                ("sys.stdout.w", "sys.stderr.w")
            ):
                lines.append(node.lineno)
    return lines


def test_one_file_prints() -> None:
    lines = {relative(f): printing(f.read_text(encoding="utf-8")) for f in source_files()}
    assert {file for file, numbers in lines.items() if numbers} == PRINTING
    assert len(lines["toolkit/cli/__init__.py"]) == 1  # the help, which names nothing of others
    assert printing("a\nprint(1)\nsys.stderr.write('')") == [2, 3]
