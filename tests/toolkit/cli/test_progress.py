import io
import os
import pty
import re
import time
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import TextIO

import pytest

from cnntk.cli import progress
from cnntk.cli.progress import ProgressLine, StageProgress, duration_text, hide_live_line

ERASED = "\r\x1b[K"


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


def _connect(stream: TextIO, monkeypatch: pytest.MonkeyPatch) -> None:
    """Pytest replaces ``sys.stderr`` after fixtures have run."""
    monkeypatch.setattr(progress, "sys", SimpleNamespace(stderr=stream))


@pytest.fixture
def screen(monkeypatch: pytest.MonkeyPatch) -> Iterator[Screen]:
    monkeypatch.setenv("TERM", "xterm")
    terminal = Screen()
    _connect(terminal.stream, monkeypatch)
    yield terminal
    terminal.close()


@pytest.fixture
def log(monkeypatch: pytest.MonkeyPatch) -> io.StringIO:
    stream = io.StringIO()
    _connect(stream, monkeypatch)
    return stream


@pytest.fixture
def long_work(monkeypatch: pytest.MonkeyPatch) -> None:
    """All work is long enough to be shown at once."""
    for name in ("LIVE_DELAY_S", "LIVE_EVERY_S", "LOG_EVERY_S", "_MIN_RATE_S"):
        monkeypatch.setattr(progress, name, 0.001)


def run(total: Callable[[], int] = lambda: 3, **options: bool) -> None:
    with ProgressLine("images", total, **options) as line:
        for done in range(1, 4):
            time.sleep(0.002)
            line(done)


@pytest.mark.usefixtures("long_work")
def test_long_work_on_a_terminal_has_a_live_line(screen: Screen, capsys: pytest.CaptureFixture[str]) -> None:
    with ProgressLine("images", lambda: 3) as line:
        for done in range(1, 4):
            time.sleep(0.002)
            line(done)
            print("row", done)
    shown = screen.shown(until="3 of 3")
    assert re.search(r"images: 2 of 3 \(66 %\), [\d.]+/s, 0 s left", shown)
    assert "\n" not in shown, "one line"
    assert "row" not in shown, "what is printed meanwhile stays on standard output"
    assert capsys.readouterr().out == "row 1\nrow 2\nrow 3\n"
    assert (shown + screen.shown(until="" if shown.endswith(ERASED) else ERASED)).endswith(ERASED)


@pytest.mark.usefixtures("long_work")
def test_it_goes_where_something_is_printed_and_comes_back(screen: Screen) -> None:
    with ProgressLine("images", lambda: 3) as line:
        time.sleep(0.002)
        line(1)
        assert not screen.shown(until="1 of 3").endswith(ERASED)
        hide_live_line()
        assert screen.shown(until=ERASED) == ERASED
        time.sleep(0.002)
        line(2)
        assert "2 of 3" in screen.shown(until="2 of 3")


@pytest.mark.usefixtures("long_work")
def test_it_is_no_wider_than_the_terminal(screen: Screen) -> None:
    with ProgressLine("x" * 300) as line:
        time.sleep(0.002)
        line(1)
    assert len(max(screen.shown(until="x" * 79).split(ERASED), key=len)) == 79


def test_short_work_has_none_and_does_not_count(screen: Screen) -> None:
    run(lambda: pytest.fail("counted"))
    assert screen.shown() == ""


@pytest.mark.usefixtures("long_work")
def test_none_where_none_is_wanted(screen: Screen) -> None:
    run(wanted=False)
    with StageProgress(wanted=False) as stages:
        stages("reading")
        stages("writing", 1, 2)
    assert screen.shown() == ""


@pytest.mark.usefixtures("long_work")
def test_a_log_has_a_line_now_and_then(log: io.StringIO) -> None:
    run()
    assert re.fullmatch(
        r"images: 1 of 3 \(33 %\), .*\nimages: 2 of 3 .*\nimages: 3 of 3 .* 0 s left\n", log.getvalue()
    )


def test_a_log_has_none_of_short_work(log: io.StringIO) -> None:
    run()
    assert log.getvalue() == ""


@pytest.mark.usefixtures("long_work")
def test_what_was_done_before_is_no_part_of_the_rate(log: io.StringIO) -> None:
    line = ProgressLine("images", unit="files")
    line(1_000_000, 2_000_000)
    time.sleep(0.05)
    line(1_000_001, 2_000_000)
    last = log.getvalue().splitlines()[-1]
    assert last.startswith("images: 1,000,001 of 2,000,000 files (50 %), ")
    assert float(last.split(", ")[-2].removesuffix("/s")) <= 20
    assert " h " in last


@pytest.mark.usefixtures("long_work")
def test_stages_that_count_nothing_show_their_time(log: io.StringIO) -> None:
    with StageProgress() as stages:
        stages("reading")
        end = time.monotonic() + 60
        while "reading" not in log.getvalue() and time.monotonic() < end:
            time.sleep(0.005)
        stages("converting", 1, 2)
        time.sleep(0.005)
        stages("converting", 2, 2)
    lines = log.getvalue().splitlines()
    assert lines[0] == "reading, 0 s"
    assert lines[-1].startswith("converting: 2 of 2 (100 %)")


@pytest.mark.usefixtures("long_work")
def test_without_ticks_a_terminal_has_the_stage_alone(screen: Screen) -> None:
    with StageProgress(ticks=False) as stages:
        stages("measuring latency")
        time.sleep(0.02)
    expected = f"{ERASED}measuring latency ...{ERASED}"
    assert screen.shown(until=expected) == expected


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.2, "0 s"),
        (59.4, "59 s"),
        (59.6, "1 min"),
        (125, "2 min 5 s"),
        (3600, "1 h"),
        (12_030, "3 h 20 min"),
    ],
)
def test_durations(seconds: float, text: str) -> None:
    assert duration_text(seconds) == text
