"""A window with a camera's image and its predicted classes; here the camera draws moving digits.

pip install 'cnntk[cpu]' PySide6-Essentials
python examples/camera_window.py

The model runs in a thread of its own, on the newest frame whenever it is free. The window never waits for it,
and frames that arrive while it is busy are shown but not classified.
"""

from __future__ import annotations

import math
import sys

import numpy as np
from drawn_digits import drawn_digit
from numpy.typing import NDArray
from PySide6.QtCore import QObject, Qt, QThread, QTimer, Signal, Slot
from PySide6.QtGui import QCloseEvent, QImage, QPixmap
from PySide6.QtWidgets import QApplication, QLabel, QVBoxLayout, QWidget

from cnntk.runtime import Classifier, CnntkError
from cnntk.shipped import shipped_model

Frame = NDArray[np.uint8]

FRAME_MS = 33
FRAMES_PER_DIGIT = 60


class Camera:
    """A stand-in for a camera: one digit after the other, moving in a circle."""

    def __init__(self) -> None:
        self.frames = 0

    def read(self) -> Frame:
        """Returns the next frame, uint8 (H, W)."""
        digit, angle = self.frames // FRAMES_PER_DIGIT % 10, self.frames / 10
        self.frames += 1
        return drawn_digit(digit, size=280, shift=(2 * math.cos(angle), 2 * math.sin(angle)))


class Worker(QObject):
    """Classifies frames in the thread that it was moved to."""

    classified = Signal(str)

    def __init__(self, classifier: Classifier) -> None:
        super().__init__()
        self._classifier = classifier

    @Slot(object)
    def classify(self, frame: Frame) -> None:
        """Emits a line for each of the three most probable classes, or the error message."""
        try:
            top = self._classifier(frame).top(3)
            self.classified.emit("\n".join(f"{p.label}  {p.probability:.1%}" for p in top))
        except CnntkError as error:
            self.classified.emit(str(error))


class Window(QWidget):
    """A window that shows every frame and the newest prediction."""

    submitted = Signal(object)

    def __init__(self, camera: Camera, classifier: Classifier) -> None:
        super().__init__(windowTitle="cnntk")
        self.camera, self.image, self.predictions = camera, QLabel(), QLabel("\n\n")
        layout = QVBoxLayout(self)
        layout.addWidget(self.image)
        layout.addWidget(self.predictions)
        self._busy = False
        self._thread, self._worker = QThread(self), Worker(classifier)
        self._worker.moveToThread(self._thread)
        self.submitted.connect(self._worker.classify)
        self._worker.classified.connect(self._show_predictions)
        self._thread.start()
        self._timer = QTimer(self, interval=FRAME_MS, timerType=Qt.TimerType.PreciseTimer)
        self._timer.timeout.connect(self._next_frame)
        self._timer.start()

    def closeEvent(self, event: QCloseEvent) -> None:  # noqa: N802
        """Stops the thread after the prediction that is running."""
        self._timer.stop()
        self._thread.quit()
        self._thread.wait()
        super().closeEvent(event)

    @Slot()
    def _next_frame(self) -> None:
        frame = self.camera.read()
        height, width = frame.shape
        image = QImage(frame.data, width, height, width, QImage.Format.Format_Grayscale8)
        self.image.setPixmap(QPixmap.fromImage(image))
        if not self._busy:
            self._busy = True
            self.submitted.emit(frame)

    @Slot(str)
    def _show_predictions(self, text: str) -> None:
        self._busy = False
        self.predictions.setText(text)


def main() -> int:
    """Shows the window until the user closes it."""
    app = QApplication(sys.argv)
    window = Window(Camera(), Classifier(shipped_model(), threads=1))
    window.show()
    return app.exec()


if __name__ == "__main__":
    sys.exit(main())
