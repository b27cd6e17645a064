"""Runs the camera's window as a user would see it, and prints what was seen as JSON; a process of its own."""

from __future__ import annotations

import json
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
PATIENCE_S = 10


class OneDigit(Camera):
    """A camera before which a digit is held."""

    digit: int | None = 0

    def read(self) -> Frame:
        """The digit that is held, or nothing at all: an empty array."""
        self.frames += 1
        return np.zeros((0, 0), np.uint8) if self.digit is None else drawn_digit(self.digit, size=280)


class Slow(Classifier):
    """Answers late."""

    def __call__(self, image: ImageSource) -> Predictions:
        """As a classifier does, but after `SLOW_S`."""
        time.sleep(SLOW_S)
        return super().__call__(image)


def labels(window: Window) -> list[str]:
    """The classes that the window shows, best first."""
    return [line.split()[0] for line in window.answer.text().splitlines() if line]


def until(app: QApplication, done: Callable[[], bool], seconds: float = PATIENCE_S) -> bool:
    """Handles events until it is so; False where it takes too long."""
    end = time.monotonic() + seconds
    while not done():
        if time.monotonic() > end:
            return False
        app.processEvents()
        time.sleep(0.001)
    return True


def frames_later(app: QApplication, camera: Camera, count: int) -> None:
    """Handles events until so many more frames were shown."""
    last = camera.frames + count
    until(app, lambda: camera.frames >= last)


def gray_levels(widget: QWidget) -> list[int]:
    """The darkest and the lightest level of what the widget shows."""
    image = widget.grab().toImage()
    levels = [
        image.pixelColor(x, y).lightness()
        for x in range(0, image.width(), 4)
        for y in range(0, image.height(), 4)
    ]
    return [min(levels), max(levels)]


def read_digits(app: QApplication) -> dict[str, object]:
    """Every digit is held before the camera, then nothing, then a digit again."""
    camera = OneDigit()
    window = Window(camera, Classifier(shipped_model(), threads=1))
    window.show()
    shown = []
    for camera.digit in range(10):
        until(app, lambda: labels(window)[:1] == [str(camera.digit)])
        frames_later(app, camera, 3)  # and it stays so
        shown.append(labels(window))
    picture = gray_levels(window.picture)
    camera.digit = None
    until(app, lambda: "expected" in window.answer.text())
    complaint = window.answer.text()
    camera.digit = 3
    until(app, lambda: labels(window)[:1] == ["3"])
    recovered = labels(window)
    mistaken = until(app, lambda: labels(window)[:1] == ["7"], seconds=0.5)
    window.close()
    return {
        "shown": shown,
        "picture": picture,
        "complaint": complaint,
        "recovered": recovered,
        "mistaken": mistaken,
    }


def outpace(app: QApplication) -> dict[str, object]:
    """A model that is slower than the camera."""
    camera = OneDigit()
    window = Window(camera, Slow(shipped_model(), threads=1))
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
    """Prints what was seen."""
    app = QApplication(sys.argv)
    print(json.dumps({"digits": read_digits(app), "slow": outpace(app)}))


if __name__ == "__main__":
    main()
