"""Runs the camera's window as a user would see it, and prints what it shows as JSON."""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable

import numpy as np
from camera_window import Camera, Frame, Window
from drawn_digits import drawn_digit
from PySide6.QtWidgets import QApplication, QWidget

from cnntk.runtime import Classifier, Predictions
from cnntk.runtime.images.reading import ImageSource
from cnntk.shipped import shipped_model

SLOW_S = 0.4
TIMEOUT_S = 10


class OneDigit(Camera):
    """A camera that sees one digit."""

    digit: int | None = 0

    def read(self) -> Frame:
        """Returns the digit, or an empty array if there is none."""
        self.frames += 1
        return np.zeros((0, 0), np.uint8) if self.digit is None else drawn_digit(self.digit, size=280)


class SlowClassifier(Classifier):
    """A classifier that takes `SLOW_S` longer."""

    def __call__(self, image: ImageSource) -> Predictions:
        """Classifies after `SLOW_S`."""
        time.sleep(SLOW_S)
        return super().__call__(image)


def labels(window: Window) -> list[str]:
    """Returns the classes that the window shows, best first."""
    return [line.split()[0] for line in window.predictions.text().splitlines() if line]


def until(app: QApplication, done: Callable[[], bool], seconds: float = TIMEOUT_S) -> bool:
    """Handles events until ``done()``; returns False on a timeout."""
    end = time.monotonic() + seconds
    while not done():
        if time.monotonic() > end:
            return False
        app.processEvents()
        time.sleep(0.001)
    return True


def frames_later(app: QApplication, camera: Camera, count: int) -> None:
    """Handles events until ``count`` more frames are shown."""
    last = camera.frames + count
    until(app, lambda: camera.frames >= last)


def gray_levels(widget: QWidget) -> list[int]:
    """Returns the darkest and the lightest gray level of a widget."""
    image = widget.grab().toImage()
    levels = [
        image.pixelColor(x, y).lightness()
        for x in range(0, image.width(), 4)
        for y in range(0, image.height(), 4)
    ]
    return [min(levels), max(levels)]


def read_digits(app: QApplication) -> dict[str, object]:
    """Shows the camera every digit, then nothing, then a digit again."""
    camera = OneDigit()
    window = Window(camera, Classifier(shipped_model(), threads=1))
    window.show()
    shown = []
    for camera.digit in range(10):
        until(app, lambda: labels(window)[:1] == [str(camera.digit)])
        frames_later(app, camera, 3)  # and it stays so
        shown.append(labels(window))
    levels = gray_levels(window.image)
    camera.digit = None
    until(app, lambda: "expected" in window.predictions.text())
    error = window.predictions.text()
    camera.digit = 3
    until(app, lambda: labels(window)[:1] == ["3"])
    recovered = labels(window)
    mistaken = until(app, lambda: labels(window)[:1] == ["7"], seconds=0.5)
    window.close()
    return {
        "shown": shown,
        "gray_levels": levels,
        "error": error,
        "recovered": recovered,
        "mistaken": mistaken,
    }


def outpace(app: QApplication) -> dict[str, object]:
    """Runs a model that is slower than the camera."""
    camera = OneDigit()
    window = Window(camera, SlowClassifier(shipped_model(), threads=1))
    window.show()
    camera.digit = 1
    frames_later(app, camera, 3)
    camera.digit = 2  # while 1 is classified
    until(app, lambda: bool(labels(window)))
    first, frames = labels(window), camera.frames
    until(app, lambda: labels(window) != first)
    second = labels(window)
    window.close()
    return {"first": first, "second": second, "frames": frames}


def main() -> None:
    """Prints the results as JSON."""
    app = QApplication(sys.argv)
    print(json.dumps({"digits": read_digits(app), "slow": outpace(app)}), flush=True)
    os._exit(0)  # PySide6 6.12 counts references to False wrongly: Python 3.11 aborts when it ends


if __name__ == "__main__":
    main()
