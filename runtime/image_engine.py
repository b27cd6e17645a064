"""`ImageEngine`: runs a model on images."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cnntk.runtime.artifact.spec import IMAGE_INPUT, Preprocessing
from cnntk.runtime.engine import Engine
from cnntk.runtime.errors import UnsupportedArtifact
from cnntk.runtime.images.reading import MAX_MEGAPIXELS, DecodedImage, ImageSource, Pixels, decode_image

__all__ = ["ImageEngine"]

Arrays = dict[str, NDArray[Any]]


class ImageEngine:
    """Images in, arrays out: a model of any kind, with the preprocessing of its images.

    Args:
        model: Path or bytes of an ``.onnx`` file, or an `Engine`.
        device: Device as for `Engine`.
        threads: Threads as for `Engine`.
        preprocessing: Preprocessing from an image to the model's input, for files that do not state it.

    Attributes:
        engine: Engine that runs the model.
        preprocessing: Preprocessing of images.
        takes_images: Whether the graph preprocesses images itself.
        takes_one_size: Whether it takes only images of one size, which are resized before.

    Raises:
        UnsupportedArtifact: Nothing states the preprocessing, or the model has several inputs.
    """

    def __init__(
        self,
        model: str | os.PathLike[str] | bytes | Engine,
        device: str = "cpu",
        *,
        threads: int | None = None,
        preprocessing: Preprocessing | None = None,
    ) -> None:
        self.engine = model if isinstance(model, Engine) else Engine(model, device, threads=threads)
        spec = self.engine.spec
        p = spec.preprocessing if spec is not None and spec.preprocessing is not None else preprocessing
        if p is None:
            raise UnsupportedArtifact(
                f"{self.engine.name}: has no preprocessing in its spec, so it takes arrays only; use Engine"
            )
        if len(self.engine.inputs) > 1:
            names = ", ".join(each.name for each in self.engine.inputs)
            raise UnsupportedArtifact(f"{self.engine.name}: takes several inputs ({names}); use Engine")
        self.preprocessing = p
        self._input = self.engine.inputs[0]
        self.takes_images = (
            spec is not None and self._input.name == IMAGE_INPUT and self._input.dtype == "uint8"
        )

        self.takes_one_size = self.takes_images and isinstance(self._input.shape[1], int)

    def run(self, image: ImageSource) -> Arrays:
        """Runs the model on one image: each output by name, as the model returns it for a batch of one.

        Raises:
            ImageError: The image can't be read.
        """
        return self.run_prepared(self.prepare(self.read(image)))

    def read(self, image: ImageSource) -> Pixels:
        """Reads the pixels of an image like `decode`."""
        return self.decode(image).pixels

    def decode(self, image: ImageSource, *, max_megapixels: float = MAX_MEGAPIXELS) -> DecodedImage:
        """Reads the pixels of an image like `decode_image`; gray for networks with gray input.

        Transparency is composed on the background in the preprocessing.
        """
        background = self.preprocessing.background
        gray = self.preprocessing.color == "gray"
        return decode_image(image, background=background, max_megapixels=max_megapixels, gray=gray)

    def prepare(self, image: Pixels) -> Pixels:
        """Resizes and crops a decoded image to what the network uses, of one size if possible.

        This is the part of preprocessing that threads can run in parallel, image by image.
        """
        if not self.takes_images:
            from cnntk.runtime.preprocessing.preprocess import resize_and_crop

            return resize_and_crop(image, self.preprocessing)
        if self.takes_one_size:
            from cnntk.runtime.preprocessing.preprocess import fit

            return fit(image, self.preprocessing)
        from cnntk.runtime.preprocessing.resizing import shrink, shrinkable

        return shrink(image, self.preprocessing) if shrinkable(self.preprocessing) else image

    def run_prepared(self, image: Pixels) -> Arrays:
        """Runs the model on an image from `prepare`, as `run` does."""
        return self.run_batch(self.batch([image]))

    def batch(self, images: Sequence[Pixels]) -> NDArray[Any]:
        """Returns the model's input for images of one size from `prepare`."""
        batch: NDArray[Any] = images[0][None] if len(images) == 1 else np.stack(images)
        if self.takes_images:
            return batch
        from cnntk.runtime.preprocessing.preprocess import normalize

        return normalize(batch, self.preprocessing).astype(self._input.dtype, copy=False)

    def run_batch(self, batch: NDArray[Any]) -> Arrays:
        """Runs the model on its input; a fixed batch is filled up, and a larger one is run in several."""
        size = self._input.shape[0] if self._input.shape else None
        run = self.engine.run_many if isinstance(size, int) and size != len(batch) else self.engine.run
        return run({self._input.name: batch})
