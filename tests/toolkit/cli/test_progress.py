import io
import os
import pty
import sys
from collections.abc import Callable, Iterator

import pytest

from cnntk.cli import progress
from cnntk.cli.progress import Bar


@pytest.fixture
def screen(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> Iterator[Callable[[], str]]:
    """What a terminal shows that standard error is connected to; capsys, if asked for, comes before it."""
    ours, theirs = pty.openpty()
    stream = open(theirs, "w", encoding="utf-8")  # noqa: SIM115 - closed below
    monkeypatch.setattr(sys, "stderr", stream)
    monkeypatch.setenv("TERM", "xterm")

    def shown() -> str:
        stream.flush()
        os.set_blocking(ours, False)
        try:
            return os.read(ours, 1 << 16).decode()
        except BlockingIOError:
            return ""

    yield shown
    stream.close()
    os.close(ours)


def run(total: Callable[[], int] = lambda: 3, **options: bool) -> None:
    with Bar("images", total, **options) as bar:
        for done in range(1, 4):
            bar(done)


def test_long_work_on_a_terminal_has_a_bar(
    screen: Callable[[], str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(progress, "_PATIENCE_S", 0)
    monkeypatch.setattr(progress, "_EVERY_S", 0)
    with Bar("images", lambda: 3) as bar:
        for done in range(1, 4):
            bar(done)
            print("row", done)
    shown = screen()
    assert "images" in shown
    assert "3/3" in shown
    assert "row" not in shown, "what is printed meanwhile stays on standard output"
    assert capsys.readouterr().out == "row 1\nrow 2\nrow 3\n"


def test_short_work_has_none_and_does_not_count(screen: Callable[[], str]) -> None:
    run(lambda: pytest.fail("counted"))
    assert screen() == ""


def test_none_where_none_is_wanted(screen: Callable[[], str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress, "_PATIENCE_S", 0)
    run(wanted=False)
    assert screen() == ""


def test_none_where_there_is_no_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress, "_PATIENCE_S", 0)
    stream = io.StringIO()
    monkeypatch.setattr(sys, "stderr", stream)
    run()
    assert stream.getvalue() == ""
