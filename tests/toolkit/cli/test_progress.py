import io
import os
import pty
import sys
import time
from collections.abc import Callable, Iterator

import pytest

from cnntk.cli import progress
from cnntk.cli.progress import ProgressBar

ERASED = "\x1b[2K"


class Screen:
    """A terminal, which standard error can be connected to."""

    def __init__(self) -> None:
        self._controller, terminal = pty.openpty()
        os.set_blocking(self._controller, False)
        self.stream = open(terminal, "w", encoding="utf-8")  # noqa: SIM115 - closed by the fixture

    def shown(self, until: str = "") -> str:
        """What it shows that it did not before; waits until it holds ``until``."""
        self.stream.flush()
        screen_text, end = self._read(), time.monotonic() + 60
        while until not in screen_text and time.monotonic() < end:
            time.sleep(0.01)
            screen_text += self._read()
        return screen_text

    def _read(self) -> str:
        try:
            return os.read(self._controller, 1 << 16).decode()
        except BlockingIOError:
            return ""

    def close(self) -> None:
        self.stream.close()
        os.close(self._controller)


@pytest.fixture
def screen(monkeypatch: pytest.MonkeyPatch) -> Iterator[Screen]:
    monkeypatch.setenv("TERM", "xterm")
    terminal = Screen()
    yield terminal
    terminal.close()


def run(total: Callable[[], int] = lambda: 3, **options: bool) -> None:
    with ProgressBar("images", total, **options) as bar:
        for done in range(1, 4):
            bar(done)


def test_long_work_on_a_terminal_has_a_bar(
    screen: Screen, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(progress, "_DELAY_S", 0)
    monkeypatch.setattr(progress, "_EVERY_S", 0)
    monkeypatch.setattr(sys, "stderr", screen.stream)
    with ProgressBar("images", lambda: 3) as bar:
        for done in range(1, 4):
            bar(done)
            print("row", done)
    shown = screen.shown(until="3/3")
    assert "images" in shown
    assert "3/3" in shown
    assert "row" not in shown, "what is printed meanwhile stays on standard output"
    assert capsys.readouterr().out == "row 1\nrow 2\nrow 3\n"


def test_it_goes_where_something_is_printed_and_comes_back(
    screen: Screen, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(progress, "_DELAY_S", 0)
    monkeypatch.setattr(progress, "_EVERY_S", 0)
    monkeypatch.setattr(sys, "stderr", screen.stream)
    with ProgressBar("images", lambda: 3) as bar:
        bar(1)
        assert not screen.shown().endswith(ERASED)
        bar.hide()
        assert screen.shown().endswith(ERASED)
        bar(2)
        assert "2/3" in screen.shown()


def test_short_work_has_none_and_does_not_count(screen: Screen, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stderr", screen.stream)
    run(lambda: pytest.fail("counted"))
    assert screen.shown() == ""


def test_none_where_none_is_wanted(screen: Screen, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress, "_DELAY_S", 0)
    monkeypatch.setattr(sys, "stderr", screen.stream)
    run(wanted=False)
    assert screen.shown() == ""


def test_none_where_there_is_no_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress, "_DELAY_S", 0)
    stream = io.StringIO()
    monkeypatch.setattr(sys, "stderr", stream)
    run()
    assert stream.getvalue() == ""


def test_long_work_without_a_terminal_has_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress, "_LINE_S", 0)
    stream = io.StringIO()
    monkeypatch.setattr(sys, "stderr", stream)
    run()
    lines = stream.getvalue().splitlines()
    assert [line.partition(",")[0] for line in lines] == [f"images: {n} of 3" for n in (1, 2, 3)]
    assert all(line.endswith(" left") and "/s" in line for line in lines)
    run(wanted=False)
    assert stream.getvalue().splitlines() == lines


@pytest.mark.parametrize(
    ("done", "total", "seconds", "text"),
    [
        (4000, 10_000, 5.0, "4,000 of 10,000, 800/s, 8 s left"),
        (1, 40, 3.2, "1 of 40, 0.31/s, 2 min 5 s left"),
        (1, 3601, 1.0, "1 of 3,601, 1/s, 1 h 0 min left"),
        (7, None, 1.0, "7, 7/s"),
        (0, 9, 1.0, "0 of 9, 0/s"),
    ],
)
def test_the_line(done: int, total: int | None, seconds: float, text: str) -> None:
    assert progress.progress_text(done, total, seconds) == text
