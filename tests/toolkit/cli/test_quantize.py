from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import click
import digit_nets
import pytest
from click.testing import CliRunner, Result

from cnntk.benchmark.compare import Comparison
from cnntk.cli import main
from cnntk.cli.inspect import inspect
from cnntk.cli.quantize import quantize
from cnntk.quantization import pipeline, search
from cnntk.runtime.errors import UsageError
from cnntk.shipped import shipped_model


def run(*args: object) -> Result:
    return CliRunner().invoke(quantize, [str(a) for a in args], standalone_mode=False)


@pytest.fixture
def digits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    file = tmp_path / "digits.onnx"
    file.write_bytes(digit_nets.artifact())
    return file


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Callable[[float], None]:
    """Sets the ratio of all speed comparisons."""
    ratios = [2.0]
    evaluator_class = pipeline.CandidateEvaluator

    def create(*args: object, **kwargs: object) -> object:
        kwargs["compare_calls"] = lambda *_: Comparison(
            ratios[0], 0.99 * ratios[0], 1.01 * ratios[0], ratios[0], 1.0, 60
        )
        return evaluator_class(*args, **kwargs)  # type: ignore[arg-type]

    monkeypatch.setattr(pipeline, "CandidateEvaluator", create)
    return lambda ratio: ratios.__setitem__(0, ratio)


def test_the_printed_result(digits: Path, clock: object) -> None:
    result = run(digits, "--calibration", "digits", "--calibration-images", 40)
    assert result.return_value == 0, result.output
    assert "wrote" in result.stdout
    assert "digits-int8.onnx" in result.stdout
    joined = " ".join(result.stdout.split())
    assert "2.00x faster than the original (95 % interval 1.98x to 2.02x, 1.00 ms vs 2.00 ms)" in joined
    assert "drop " in result.stdout
    assert "every CPU" in result.stdout
    assert "9: only 32768 weights" in result.stdout
    assert max(map(len, result.stdout.splitlines())) <= 80
    assert "warning: calibration: only 40 images" in result.stderr


def test_where_nothing_is_better_no_file_is_written(digits: Path, clock: Callable[[float], None]) -> None:
    clock(0.5)
    result = run(digits, "--calibration", "digits", "--calibration-images", 40)
    assert result.return_value == 1
    assert f"nothing:ship{digits}asitis(--copy" in "".join(result.stdout.split())
    assert "selected because" not in result.stdout
    assert not list(Path().glob("*-int8.onnx"))
    result = run(digits, "--calibration", "digits", "--calibration-images", 40, "--json")
    document = json.loads(result.stdout)
    assert (result.return_value, document["changed"], document["path"]) == (1, False, None)
    assert document["file_to_ship"] == str(digits)


def test_a_copy_on_request(digits: Path, clock: Callable[[float], None]) -> None:
    clock(0.5)
    result = run(digits, "--calibration", "digits", "--calibration-images", 40, "-o", "x.onnx", "--copy")
    assert result.return_value == 0
    assert "unchanged" in " ".join(result.stdout.split())
    assert "2.00x slower than the original" in " ".join(result.stdout.split())
    assert max(map(len, result.stdout.splitlines())) <= 80
    assert Path("x.onnx").read_bytes() == digits.read_bytes()


def test_inspect_shows_the_quantization(digits: Path, clock: object) -> None:
    run(digits, "--calibration", "digits", "--calibration-images", 40)
    shown = " ".join(CliRunner().invoke(inspect, ["digits-int8.onnx"]).stdout.split())
    assert "quantized 2 layers float32, 3 layers int8" in shown
    assert "2.00x faster than the original (95 % interval 1.98x to 2.02x) on" in shown
    assert "portable to every CPU" in shown
    assert "onnxruntime's integer operators" in shown


def test_inspect_shows_standard_operators(digits: Path, clock: object) -> None:
    result = run(digits, "--calibration", "digits", "--calibration-images", 40, "--format", "portable")
    assert result.return_value == 0
    assert "operators standard ONNX operators" in " ".join(result.stdout.split())
    shown = " ".join(CliRunner().invoke(inspect, ["digits-int8.onnx"]).stdout.split())
    assert "quantized 2 layers float32, 3 layers int8" in shown
    assert "standard ONNX operators, 8-bit integers between QuantizeLinear and DequantizeLinear" in shown
    assert "com.microsoft" not in shown


def test_json_and_the_page(digits: Path, clock: object) -> None:
    result = run(
        digits, "--calibration", "digits", "--calibration-images", 40, "--json", "--report", "r.html"
    )
    data = json.loads(result.stdout)
    assert data["changed"]
    assert data["setup"]["options"]["calibration"] == "digits"
    assert "<svg" in Path("r.html").read_text()
    assert "report: r.html" in result.stderr
    assert "of the limit" in Path("r.html").read_text()


def test_a_dry_run_writes_nothing(digits: Path) -> None:
    result = run(digits, "--calibration", "digits", "--dry-run")
    assert result.return_value == 0
    assert "would take" in result.stdout
    assert max(map(len, result.stdout.splitlines())) <= 80
    assert [p.name for p in digits.parent.iterdir()] == ["digits.onnx"]
    data = json.loads(run(digits, "--calibration", "digits", "--dry-run", "--json").stdout)
    assert data["setup"]["evaluation_images"] == 359


def test_the_shipped_lenet_by_default(
    tmp_path: Path, clock: Callable[[float], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    clock(0.5)
    result = run("--calibration", "digits", "--calibration-images", 40, "--copy")
    assert result.return_value == 0
    assert "the LeNet that ships with cnntk" in result.stderr
    assert Path("lenet-int8.onnx").read_bytes() == shipped_model().read_bytes()


def test_an_interrupted_search_is_reported(digits: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(search, "_SMALL_SHARE", 0.5)  # so that there is a layer to try at the end
    evaluator_class, timed = pipeline.CandidateEvaluator, []

    def compare_calls(*_: object) -> Comparison:
        timed.append(1)
        if len(timed) > 1:
            raise KeyboardInterrupt
        return Comparison(2.0, 1.9, 2.1, 2.0, 1.0, 60)

    monkeypatch.setattr(
        pipeline,
        "CandidateEvaluator",
        lambda *a, **k: evaluator_class(*a, **{**k, "compare_calls": compare_calls}),
    )
    result = run(digits, "--calibration", "digits", "--calibration-images", 40)
    assert result.return_value == 130
    assert "the search was interrupted" in result.stderr
    assert Path("digits-int8.onnx").exists()


@pytest.mark.parametrize(
    ("args", "message"),
    [
        ((), "Missing option '--calibration'"),
        (("--calibration", "digits", "--dry-run", "--report", "r.html"), "measures nothing"),
        (("--calibration", "digits", "--max-drop", "-1"), "--max-drop"),
        (("--calibration", "digits", "--preprocessing", "mean"), "name=value"),
    ],
    ids=["no data", "dry run with a report", "negative", "image"],
)
def test_wrong_use(digits: Path, args: tuple[str, ...], message: str) -> None:
    result = run(digits, *args)
    error = result.exception
    assert isinstance(error, click.UsageError | UsageError)
    assert message in (error.format_message() if isinstance(error, click.UsageError) else str(error))


def test_a_report_that_cannot_be_written_is_refused_at_once(digits: Path) -> None:
    result = run(digits, "--calibration", "digits", "--report", "nowhere/r.html")
    assert "nowhere" in str(result.exception)
    assert [p.name for p in digits.parent.iterdir()] == ["digits.onnx"]


def test_it_is_a_command(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["quantize", "nothing.onnx", "--calibration", "digits"]) == 2
    assert capsys.readouterr().err == "cnntk: nothing.onnx: no such file (expected an ONNX model)\n"
