"""Runs a model on pixel values behind its preprocessing (resized, but not yet normalized).

Where preprocessing runs on the host, they are normalized and passed to the model. A model with preprocessing
in its graph receives the image that the graph turns into exactly these pixel values, where there is one. A
uint8 image can't express another scale, mean or std, nor fractional pixel values: for these the network is
extracted from the graph, in memory.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from cnntk.runtime.artifact.spec import Preprocessing
from cnntk.runtime.classifier import Classifier
from cnntk.runtime.engine import Engine
from cnntk.runtime.errors import ArtifactError
from cnntk.runtime.preprocessing.preprocess import normalize, resize_and_crop

if TYPE_CHECKING:
    import onnx_ir as ir

__all__ = ["NetworkInput", "NoNetwork", "normalization_input"]

Array = NDArray[Any]

_SCOPE = "preprocess/"
_NORMALIZING = ("less_mean", "normalized", "narrow")
_MIDDLE = 127.5
_TOLERANCE = 1e-3
"""Largest difference between the extracted network and its graph, relative to the largest logit."""


class NetworkInput:
    """Logits of a model for pixel values behind its preprocessing.

    Args:
        model: Path of the model.
        classifier: Classifier of the model.

    Attributes:
        note: Reason why some pixel values can't be tried; None where all can.
    """

    def __init__(self, model: str | os.PathLike[str], classifier: Classifier) -> None:
        self._classifier, self._engine = classifier, classifier.engine
        self._p, self._takes_images = classifier.preprocessing, classifier.takes_images
        self._extracted: Engine | None = None
        self.note: str | None = None
        if self._takes_images:
            self._extract(model)

    def logits(self, pixels: Array, preprocessing: Preprocessing) -> Array | None:
        """Logits for a batch.

        Args:
            pixels: Pixel values, uint8 or float32 (N, height, width, C), as `resize_and_crop` returns them.
            preprocessing: Preprocessing whose scale, mean and std are applied.

        Returns:
            Logits (N, K); None where the model can't receive these pixel values.
        """
        if not self._takes_images:
            return self._logits(normalize(pixels, preprocessing))
        if _range(preprocessing) == _range(self._p):
            images = _image_of(pixels, self._p)
            if images is not None:
                return self._logits(images)
        if self._extracted is None:
            return None
        return _logits(self._extracted, self._before_normalizing(normalize(pixels, preprocessing)))

    def _logits(self, batch: Array) -> Array:
        """Logits of the whole model; of probabilities alone their logarithm."""
        outputs = self._classifier.run_batch(batch.astype(self._engine.inputs[0].dtype, copy=False))
        logits = self._classifier.scores.logits(outputs)
        if logits is not None:
            return logits
        smallest = np.finfo(np.float32).tiny
        return np.asarray(np.log(np.maximum(self._classifier.scores.probabilities(outputs), smallest)))

    def _before_normalizing(self, values: Array) -> Array:
        """Input of the graph's normalization that gives ``values`` (``exporters.preprocessing``)."""
        p = self._p
        shape = (-1, 1, 1) if p.layout == "NCHW" else (-1,)
        std, mean = (np.array(v, dtype=np.float64).reshape(shape) for v in (p.std, p.mean))
        pixels = (values.astype(np.float64) * std + mean) / p.scale
        if p.invert == "always":
            pixels = 255 - pixels
        elif p.invert == "light-background":
            pixels -= _MIDDLE
        return pixels.astype(np.float32)

    def _extract(self, model: str | os.PathLike[str]) -> None:
        """Extracts the network from the graph, and checks it against the whole model."""
        try:
            self._extracted = Engine(_network(model), self._engine.device, threads=self._engine.threads)
        except ImportError:
            self.note = "trying another scale, mean or std needs onnx; run: pip install 'cnntk[export]'"
        except (NoNetwork, ArtifactError) as error:
            self.note = f"another scale, mean or std can't be tried: {error}"
        else:
            self._check()

    def _check(self) -> None:
        """Drops the extracted network where it does not take the values before the normalization."""
        if self._extracted is not None and self._extracted.inputs[0].dtype == "uint8":
            self._extracted = None
            self.note = "its first layer reads bytes; verify the model that was quantized to try all"
            return
        p, rng = self._p, np.random.default_rng(0)
        pixels = rng.integers(0, 128, (2, p.height, p.width, p.channels), dtype=np.uint8)
        images = _image_of(pixels, p)
        if images is None or self._extracted is None:
            raise AssertionError("dark noise is the result of an image, whatever the preprocessing")
        expected = self._logits(images)
        actual = _logits(self._extracted, self._before_normalizing(normalize(pixels, p)))
        difference = float(np.abs(expected - actual).max()) / (float(np.abs(expected).max()) or 1.0)
        if not difference <= _TOLERANCE:
            self._extracted = None
            self.note = (
                "another scale, mean or std can't be tried: the network extracted from the graph gives "
                f"logits that differ by {difference:.2g} of the largest logit (limit {_TOLERANCE:g})"
            )


class NoNetwork(Exception):  # noqa: N818 - it never leaves the package
    """Network and preprocessing can't be extracted from the graph."""


def _network(model: str | os.PathLike[str]) -> bytes:
    """Extracts the part of the graph from the normalization on, as a model."""
    import onnx_ir as ir

    from cnntk.exporters.session import extract_model

    loaded = ir.load(model)
    names = (str(value.name) for value in (normalization_input(loaded), *loaded.graph.outputs))
    try:
        data: bytes = ir.to_proto(extract_model(loaded, *names)).SerializeToString()
    except ValueError as error:
        raise NoNetwork(f"a second copy of its weights does not fit in memory ({error})") from error
    return data


def normalization_input(model: ir.Model) -> ir.Value:
    """Input of the normalization, or of the first layer where the normalization was folded into it.

    The names of preprocessing nodes, and of those in their branches, begin with `_SCOPE`.
    """

    def prepares(node: ir.Node) -> bool:
        return (node.name or "").startswith(_SCOPE)

    outputs = [
        value
        for node in model.graph
        if prepares(node)
        for value in node.outputs
        if any(not prepares(use.node) for use in value.uses())
    ]
    if len(outputs) != 1:
        raise NoNetwork(f"{len(outputs)} values lead from its preprocessing into the network; expected one")
    value = outputs[0]
    while (node := value.producer()) is not None and str(node.name).removeprefix(_SCOPE).startswith(
        _NORMALIZING
    ):
        source = node.inputs[0]
        if source is None:
            break
        value = source
    return value


def _logits(engine: Engine, array: Array) -> Array:
    tensor = engine.inputs[0]
    return engine.run({tensor.name: array.astype(tensor.dtype, copy=False)})["logits"]


def _range(p: Preprocessing) -> tuple[Any, ...]:
    return p.scale, p.mean, p.std


def _image_of(pixels: Array, p: Preprocessing) -> NDArray[np.uint8] | None:
    """Images that ``p`` turns into ``pixels`` without resizing; None where there are none."""
    clipped = np.clip(pixels, 0, 255).astype(np.uint8)
    images = 255 - clipped if p.invert == "always" else clipped
    images = images[..., ::-1] if p.color == "bgr" else images
    room = [fitted - side for fitted, side in zip(p.fitted_size, (p.height, p.width), strict=True)]
    around = [(0, 0), *((p.crop_offset(r), r - p.crop_offset(r)) for r in room), (0, 0)]
    images = np.ascontiguousarray(np.pad(images, around, mode="edge"))
    same = all(
        np.array_equal(resize_and_crop(image, p), expected)
        for image, expected in zip(images, pixels, strict=True)
    )
    return images if same else None
