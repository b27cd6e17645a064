"""``cnntk train``."""

from __future__ import annotations

import time
from typing import Any

import click

from cnntk.cli.options import add_options, command, json_option, option, to_options
from cnntk.cli.output import is_quiet, note, show, warn
from cnntk.cli.progress import ProgressLine, duration_text
from cnntk.runtime.sections import number
from cnntk.training.arguments import check_arguments
from cnntk.training.options import TrainOptions
from cnntk.training.progress import TrainProgress
from cnntk.training.report import EpochResult

LONG_S = 600.0
"""Expected time in s from which a training is announced as long."""

_MEASURED_S = 2.0
"""Time over which steps are measured for that at least, after the first."""


@command(
    "cnntk train lenet --data digits",
    "cnntk train model.py:net --data folder:photos --image-size 32 --epochs 2 -o runs/photos",
)
@click.argument("network", required=False, metavar="[NET]")
@option(
    "--data",
    metavar="DATA",
    group="Data",
    help="Labeled images: digits (default), mnist:DIR, fashion-mnist:DIR, cifar10:DIR, or folder:DIR with "
    "a folder per class.",
)
@option(
    "-o",
    "--output",
    metavar="FOLDER",
    group="Output",
    help="Folder of the checkpoint (default: runs/NET-DATA).",
)
@add_options(TrainOptions)
@json_option
def train(network: str | None, data: str | None, output: str | None, as_json: bool, **values: Any) -> None:
    """Train NET: a network of the zoo (default: lenet), path/file.py:NAME or package.module:NAME.

    NAME is a function or class that builds a network, or a network; path/file.py alone lists the commands
    for its networks.

    Options that are left out follow the recipe of the network, or with --resume the training that is resumed.
    Writes a checkpoint: a folder that cnntk export reads.
    """
    options = to_options(TrainOptions, values)
    check_arguments(network, data, output, options)
    from cnntk.training import train as train_network

    progress = TrainProgress() if is_quiet() else EpochProgress()
    show(train_network(network, data, output, options, progress=progress), as_json)


class EpochProgress(TrainProgress):
    """A line with the steps, their rate and the time left, and with loss and accuracy so far.

    A training that will take over `LONG_S` is announced after its first steps.
    """

    def __init__(self) -> None:
        self._line = ProgressLine("training", unit="steps")
        self._epochs = self._steps = self._done = 0
        self._first: tuple[int, float] | None = None
        self._is_estimated = False
        self._test = ""

    def begin(self, epochs: int, steps: int, done: int) -> None:
        """Starts the line."""
        self._line = ProgressLine("training", unit="steps")
        self._epochs, self._steps, self._done = epochs, steps, done
        self._line(done * steps, epochs * steps)

    def step(self, step: int, loss: float, accuracy: float) -> None:
        """Updates the line, and estimates the duration once."""
        self._show(self._done + 1, self._done * self._steps + step, loss, accuracy)
        if not self._is_estimated:
            self._estimate(step)

    def epoch(self, result: EpochResult) -> None:
        """Adds the accuracy on the test images to the line."""
        self._done, self._test = result.epoch, f"  test {result.accuracy:.2%}"
        self._show(result.epoch, self._done * self._steps, result.loss, result.train_accuracy)

    def note(self, text: str) -> None:
        """Prints a message for the user."""
        note(text)

    def end(self) -> None:
        """Removes the line."""
        self._line.hide()

    def _show(self, epoch: int, steps: int, loss: float, accuracy: float) -> None:
        text = f"epoch {epoch}/{self._epochs}  loss {loss:.4f}  training {accuracy:.2%}{self._test}"
        self._line.name = text
        self._line(steps, self._epochs * self._steps)

    def _estimate(self, step: int) -> None:
        """The first step is not measured: it also waits for memory and for kernels to be chosen."""
        now = time.monotonic()
        if self._first is None:
            self._first = (step, now)
            return
        first, started = self._first
        if now - started < _MEASURED_S and step < self._steps:
            return
        self._is_estimated = True
        step_s = (now - started) / max(step - first, 1)
        left_s = step_s * ((self._epochs - self._done) * self._steps - step)
        if left_s > LONG_S:
            warn(
                f"this training takes about {duration_text(left_s)}, {number(step_s)} s for each of "
                f"{(self._epochs - self._done) * self._steps:,} steps; --epochs N, --max-images N, a smaller "
                "--image-size or --device cuda make it shorter; Ctrl-C stops it, --resume continues"
            )
