"""Progress on standard error."""

import pytest

from cnntk.cli import progress, train
from cnntk.cli.train import EpochProgress
from cnntk.training.report import EpochResult

RESULT = EpochResult(1, 0.5, 0.75, 0.8, 2.0)


def test_lines_show_epoch_loss_and_accuracy(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(progress, "LOG_EVERY_S", 0)
    shown = EpochProgress()
    shown.begin(3, 10, 0)
    shown.epoch(RESULT)
    shown.step(5, 0.6, 0.7)
    shown.note("a [note]")
    shown.end()
    out, err = capsys.readouterr()
    assert out == ""
    first, second, note = err.splitlines()[1:]
    assert first.startswith("epoch 1/3  loss 0.5000  training 75.00%  test 80.00%: 10 of 30 steps")
    assert second.startswith("epoch 2/3  loss 0.6000  training 70.00%  test 80.00%: 15 of 30 steps")
    assert note == "a [note]"


def test_short_trainings_show_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    shown = EpochProgress()
    shown.begin(1, 2, 0)
    for step in (1, 2):
        shown.step(step, 0.6, 0.7)
    shown.epoch(RESULT)
    shown.end()
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize(("limit_s", "warned"), [(1e-9, True), (3600, False)])
def test_long_trainings_are_announced_after_their_first_steps(
    limit_s: float, warned: bool, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(train, "LONG_S", limit_s)
    monkeypatch.setattr(train, "_MEASURED_S", 0)
    shown = EpochProgress()
    shown.begin(12, 1000, 2)
    shown.step(1, 0.6, 0.7)
    assert capsys.readouterr().err == "", "the first step also waits for memory"
    for step in (2, 4, 8):
        shown.step(step, 0.6, 0.7)
    err = capsys.readouterr().err
    assert err.count("warning: this training takes about ") == warned
    assert ("for each of 10,000 steps" in err and "--max-images N" in err) is warned
