"""scikit-learn's digits."""

import subprocess
import sys

import numpy as np

from cnntk.data.digits import open_digits
from cnntk.runtime.artifact.spec import Preprocessing


def test_digits() -> None:
    split = open_digits()
    assert (len(split.train), len(split.test)) == (1438, 359)
    assert np.bincount(split.test.labels).min() >= 34
    pixels = split.train.images.take(range(9), Preprocessing("gray", 8, 8))
    assert (pixels.dtype, pixels.shape, pixels.min(), pixels.max()) == (np.uint8, (9, 8, 8, 1), 0, 255)
    assert (split.handwriting, split.classes) == (True, tuple("0123456789"))


def test_without_scikit_learn() -> None:
    program = """
import sys
sys.modules["sklearn"] = None
from cnntk.data import open_data
from cnntk.runtime.errors import MissingDependency
try:
    open_data("digits")
except MissingDependency as error:
    print(error)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == 'the data set digits needs scikit-learn; run: pip install "cnntk[train]"\n'
