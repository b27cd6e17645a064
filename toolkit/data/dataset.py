"""`Dataset` and `Split`: labeled images, for training and held out."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from cnntk.data.images import Images
from cnntk.runtime.artifact.spec import Resize
from cnntk.runtime.errors import DataError

__all__ = ["HELD_OUT", "Dataset", "Labels", "Split", "held_out"]

Labels = NDArray[np.int64]

HELD_OUT = 0.2
"""Share of each class that is held out where the data is not split."""


@dataclass(frozen=True, eq=False)
class Dataset:
    """Labeled images.

    Attributes:
        images: N images.
        labels: Indices into ``classes``, int64 (N,).
        classes: Names of the classes, in the order of the network's logits.
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

    def limited(self, max_images: int) -> Dataset:
        """At most so many images, always the same, with classes balanced as far as they have images."""
        if len(self) <= max_images:
            return self
        order = np.random.RandomState(0).permutation(len(self))  # unlike default_rng, the same in every numpy
        turns, counts = np.empty(len(self), np.int64), np.zeros(len(self.classes), np.int64)
        for position, label in enumerate(self.labels[order]):
            turns[position] = counts[label]
            counts[label] += 1
        chosen = np.sort(order[np.argsort(turns, kind="stable")[:max_images]])
        return Dataset(self.images.select(chosen), self.labels[chosen], self.classes)


@dataclass(frozen=True, eq=False)
class Split:
    """Labeled images to train a network and to measure its accuracy.

    Attributes:
        name: Name of the data, without a path, for people and for the spec.
        train: Images to train on.
        test: Held-out images, which only measure the accuracy.
        resize: How images are resized to the network's input.
        handwriting: Whether the images are light strokes on black, as in MNIST: a light background is
            inverted at inference, and mirror images are other signs.
    """

    name: str
    train: Dataset
    test: Dataset
    resize: Resize = "stretch"
    handwriting: bool = False

    def __post_init__(self) -> None:
        if self.train.classes != self.test.classes:
            raise DataError(f"{self.name}: the classes of the training images and of the test images differ")
        if len(self.classes) < 2:
            raise DataError(f"{self.name}: one class only ({', '.join(self.classes)}); expected at least 2")
        if not len(self.test):
            raise DataError(f"{self.name}: there are no test images; add some")
        counts = np.bincount(self.train.labels, minlength=len(self.classes))
        if empty := [name for name, count in zip(self.classes, counts, strict=True) if not count]:
            raise DataError(f"{self.name}: class {empty[0]!r} is empty: there is no training image of it")

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the classes, in the order of the logits."""
        return self.train.classes

    def limited(self, max_images: int) -> Split:
        """At most so many images to train on, and as many to test with, for a quick try.

        Raises:
            DataError: These are fewer than there are classes.
        """
        if max_images < len(self.classes):
            classes = len(self.classes)
            raise DataError(
                f"{self.name}: {max_images} images (--max-images) are fewer than its {classes} classes"
            )
        return replace(self, train=self.train.limited(max_images), test=self.test.limited(max_images))

    def fingerprint(self) -> str:
        """SHA-256 over classes, labels and images in their order, which identifies the data.

        Images are digested by `cnntk.data.images.Images.digest`: pixels in memory, name and size of files.

        Raises:
            DataError: A file no longer exists.
        """
        digest = hashlib.sha256("\0".join(self.classes).encode())
        for dataset in (self.train, self.test):
            digest.update(len(dataset).to_bytes(8, "little"))
            digest.update(dataset.labels.astype("<i8").tobytes())
            digest.update(dataset.images.digest())
        return digest.hexdigest()


def held_out(labels: Labels) -> NDArray[np.bool_]:
    """Selects a fixed fifth of each class, at least one image.

    Args:
        labels: Labels, int64 (N,).

    Returns:
        Mask, bool (N,), which is true for the held-out images.
    """
    random = np.random.RandomState(0)  # unlike default_rng, its stream is the same in every numpy
    mask = np.zeros(len(labels), dtype=np.bool_)
    for label in np.unique(labels):
        members = np.flatnonzero(labels == label)
        count = max(1, round(len(members) * HELD_OUT))
        mask[random.permutation(members)[:count]] = True
    return mask
