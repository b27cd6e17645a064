"""Trains the LeNet that ships with cnntk on MNIST: the checkpoint and the artifact in toolkit/shipped/.

    python benchmarks/train_shipped_model.py mnist:DIR

They are not replaced by a network with an accuracy of less than 99.0 % on the test images.
"""

from __future__ import annotations

import shutil
import sys
import tempfile
from pathlib import Path

from cnntk.exporters import export
from cnntk.shipped import shipped_checkpoint, shipped_model
from cnntk.training import train

MIN_ACCURACY = 0.990
EPOCHS = 30
AUGMENT = ("shift", "zoom")  # people draw digits smaller, and less centered, than MNIST shows them


def main(data: str) -> None:
    """Trains, checks the accuracy, exports, and replaces both."""
    with tempfile.TemporaryDirectory() as folder:
        checkpoint = Path(folder) / "lenet"
        report = train("lenet", data, checkpoint, epochs=EPOCHS, augment=AUGMENT)
        if report.accuracy < MIN_ACCURACY:
            raise SystemExit(
                f"{report.accuracy:.2%} on the test images, less than {MIN_ACCURACY:.1%}; nothing replaced"
            )
        shutil.rmtree(shipped_checkpoint(), ignore_errors=True)
        shutil.copytree(checkpoint, shipped_checkpoint(), ignore=shutil.ignore_patterns("report.json"))
    export(shipped_checkpoint(), shipped_model(), force=True)


if __name__ == "__main__":
    main(sys.argv[1])
