import io
import json
from types import SimpleNamespace
from typing import Any

import pytest

from cnntk.cli import COMMANDS, main, output
from cnntk.cli.output import note, print_json, print_sections, problem, warn
from cnntk.runtime.sections import Section


@pytest.mark.parametrize("value", [float("inf"), float("-inf"), float("nan")])
def test_what_json_has_no_number_for_is_null(value: float, capsys: pytest.CaptureFixture[str]) -> None:
    def refuse(name: str) -> Any:
        raise ValueError(name)

    print_json({"a": value, "b": [1.5, (value, "ü", True, 3)], "c": {"d": {"e": value}}, "f": None})
    text = capsys.readouterr().out
    document = json.loads(text, parse_constant=refuse)
    assert document == {"a": None, "b": [1.5, [None, "ü", True, 3]], "c": {"d": {"e": None}}, "f": None}
    assert "ü" in text
    with pytest.raises(ValueError, match=r"NaN|Infinity"):  # what would have been written
        json.loads(json.dumps(value), parse_constant=refuse)


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> Terminal:
    """A terminal of 40 columns in place of both streams."""
    stream = Terminal()
    for name in ("NO_COLOR", "FORCE_COLOR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "40")
    monkeypatch.setattr(output, "sys", SimpleNamespace(stdout=stream, stderr=stream))
    return stream


def test_messages_are_wrapped_with_hanging_indents(terminal: Terminal) -> None:
    note("note: the images have no labels: the limit applies to the expected drop")
    text = "note: the images have no labels: the\n  limit applies to the expected drop\n"
    assert terminal.getvalue() == text


def test_messages_in_a_pipe_are_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    note(f"note: {'word ' * 100}end")
    assert capsys.readouterr().err.count("\n") == 1


@pytest.mark.parametrize(
    ("variables", "is_colored"),
    [
        ({}, True),
        ({"NO_COLOR": ""}, True),
        ({"NO_COLOR": "1"}, False),
        ({"NO_COLOR": "1", "FORCE_COLOR": "1"}, False),
        ({"TERM": "dumb"}, False),
        ({"TERM": "dumb", "FORCE_COLOR": "1"}, True),
    ],
    ids=str,
)
def test_colors_of_a_terminal(
    variables: dict[str, str],
    is_colored: bool,
    terminal: Terminal,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    problem("cnntk: no such file")
    warn("too few images")
    print_sections([Section("", lines=(("verdict", "passed"),), tone="good")])
    red, yellow, green = ("\x1b[31m", "\x1b[33m", "\x1b[32m") if is_colored else ("",) * 3
    reset = "\x1b[0m" if is_colored else ""
    messages = f"{red}cnntk:{reset} no such file\n{yellow}warning:{reset} too few images\n"
    assert terminal.getvalue() == messages
    assert capsys.readouterr().out == f"{green}verdict  passed{reset}\n"


@pytest.mark.parametrize("forced", [False, True])
def test_colors_of_a_pipe(
    forced: bool, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1" if forced else "")
    monkeypatch.delenv("NO_COLOR", raising=False)
    problem("cnntk: no such file")
    assert ("\x1b" in capsys.readouterr().err) is forced


def test_quiet_commands_print_results_and_errors_alone(capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["verify", "--quiet"]) == 0
    out, err = capfd.readouterr()
    assert out.endswith("verdict             passed\n")
    assert err == ""
    assert main(["verify"]) == 0
    assert capfd.readouterr().err.startswith("model: lenet.onnx"), "what --quiet leaves out"
    assert main(["verify", "-q", "no.onnx"]) == 2
    assert capfd.readouterr().err == "cnntk: no.onnx: no such file (expected an ONNX model)\n"


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_can_be_quiet(name: str, capfd: pytest.CaptureFixture[str]) -> None:
    assert main([name, "--help"]) == 0
    assert "-q, --quiet" in capfd.readouterr().out
