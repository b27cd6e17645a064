"""`Dataset` and `Split`: labeled images, and which of them are held out."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cnntk.data.images import Images
from cnntk.runtime.artifact.spec import Resize
from cnntk.runtime.errors import DataError

__all__ = ["Dataset", "Labels", "Split"]

Labels = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Dataset:
    """Labeled images.

    Attributes:
        images: N of them.
        labels: int64 (N,), each an index into ``classes``.
        classes: names, in the order of the network's logits.
    """

    images: Images
    labels: Labels
    classes: tuple[str, ...]

    def __post_init__(self) -> None:
        if self.labels.shape != (len(self.images),) or self.labels.dtype != np.int64:
            raise ValueError(
                f"labels are {self.labels.dtype}{list(self.labels.shape)}, not int64[{len(self.images)}]"
            )

    def __len__(self) -> int:
        return len(self.images)


@dataclass(frozen=True, eq=False)
class Split:
    """What a network is trained on, and what it is judged by.

    Attributes:
        name: of the data, for people and for the spec; no path in it.
        train: to learn from.
        test: held out; only ever looked at to report the accuracy.
        resize: how the images come to the network's size.
        handwriting: light strokes on black, as MNIST has them: a light background is inverted at
            inference, and mirror images are other signs.
    """

    name: str
    train: Dataset
    test: Dataset
    resize: Resize = "stretch"
    handwriting: bool = False

    def __post_init__(self) -> None:
        if self.train.classes != self.test.classes:
            raise DataError(f"{self.name}: the classes of the training and of the test images differ")
        if len(self.classes) < 2:
            raise DataError(f"{self.name}: one class only ({', '.join(self.classes)}); at least 2 are needed")
        if not len(self.test):
            raise DataError(f"{self.name}: there are no test images; add some")
        counts = np.bincount(self.train.labels, minlength=len(self.classes))
        if empty := [name for name, count in zip(self.classes, counts, strict=True) if not count]:
            raise DataError(f"{self.name}: class {empty[0]!r} is empty: there is no training image of it")

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the classes, in the order of the logits."""
        return self.train.classes

    def fingerprint(self) -> str:
        """SHA-256 over classes, labels and images in their order: other data, another fingerprint.

        Images count as `cnntk.data.images.Images.digest` says: pixels in memory, name and size of files.

        Raises:
            DataError: a file is no longer there.
        """
        digest = hashlib.sha256("\0".join(self.classes).encode())
        for dataset in (self.train, self.test):
            digest.update(len(dataset).to_bytes(8, "little"))
            digest.update(dataset.labels.astype("<i8").tobytes())
            digest.update(dataset.images.digest())
        return digest.hexdigest()
