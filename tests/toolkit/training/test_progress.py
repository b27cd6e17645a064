"""Progress on standard error."""

import pytest

from cnntk.training.progress import EpochBar, EpochLines, for_stderr
from cnntk.training.report import EpochResult

RESULT = EpochResult(1, 0.5, 0.75, 0.8, 2.0)


def test_lines(capsys: pytest.CaptureFixture[str]) -> None:
    lines = EpochLines()
    lines.begin(3, 10, 0)
    lines.step(5, 0.6, 0.7)
    lines.epoch(RESULT)
    lines.end()
    out, err = capsys.readouterr()
    assert (out, err) == ("", "epoch 1/3  loss 0.5000  training 75.00%  test 80.00%  2.0 s\n")


def test_the_bar_shows_epoch_loss_and_accuracy(capsys: pytest.CaptureFixture[str]) -> None:
    bar = EpochBar()
    bar.begin(3, 10, 0)
    bar.epoch(RESULT)
    bar.step(5, 0.6, 0.7)
    bar.note("a [note]")
    bar.end()
    out, err = capsys.readouterr()
    assert out == ""
    text = " ".join(err.split())
    for part in ("epoch 2/3", "loss 0.6000", "15/30", "a [note]"):
        assert part in text


def test_no_terminal_no_bar() -> None:
    assert isinstance(for_stderr(), EpochLines)
