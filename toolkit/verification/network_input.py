"""Ways into a network behind the preprocessing: from levels to answers.

Of a file with preprocessing on the host that is its input. A graph that takes images is given the image of
which it makes these very levels, where there is one. Bytes can't say another scale, mean or standard
deviation, nor levels between bytes: for these the network is taken out of the graph, in memory.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from cnntk.runtime.artifact.spec import IMAGE_INPUT, Preprocessing
from cnntk.runtime.engine import Engine
from cnntk.runtime.errors import ArtifactError, UsageError
from cnntk.runtime.preprocessing.preprocess import normalize, resize_and_crop

if TYPE_CHECKING:
    import onnx_ir as ir

__all__ = ["NetworkInput"]

Array = NDArray[Any]

_SCOPE = "preprocess/"
_NORMALIZING = ("less_mean", "normalized", "narrow")
_MIDDLE = 127.5
_ALIKE = 1e-3
"""Share of the largest logit by which the network may answer otherwise alone than in its graph."""


class NetworkInput:
    """Answers to levels, whatever the file takes.

    Args:
        model: path of an artifact that says how images become its input.
        engine: of it.

    Attributes:
        note: why some levels can't be tried; None where all can.
    """

    def __init__(self, model: str | os.PathLike[str], engine: Engine) -> None:
        if engine.spec is None or engine.spec.preprocessing is None:
            raise ValueError(f"{engine.name}: has no preprocessing")
        if len(engine.inputs) != 1:
            raise UsageError(
                f"{engine.name}: has {len(engine.inputs)} inputs, so an image alone gives no answer"
            )
        self._engine, self._p = engine, engine.spec.preprocessing
        self._takes_images = engine.inputs[0].name == IMAGE_INPUT and engine.inputs[0].dtype == "uint8"
        self._inside: Engine | None = None
        self.note: str | None = None
        if self._takes_images:
            self._take_out(model)

    def logits(self, levels: Array, wanted: Preprocessing) -> Array | None:
        """What the network answers.

        Args:
            levels: uint8 or float32 (N, height, width, C), as `fit` gives them.
            wanted: its scale, mean and standard deviation are taken.

        Returns:
            (N, K); None where there is no way to ask.
        """
        if not self._takes_images:
            return _logits(self._engine, normalize(levels, wanted))
        if _range(wanted) == _range(self._p):
            images = _image_of(levels, self._p)
            if images is not None:
                return _logits(self._engine, images)
        if self._inside is None:
            return None
        return _logits(self._inside, self._before_normalizing(normalize(levels, wanted)))

    def _before_normalizing(self, values: Array) -> Array:
        """Of which the graph's own normalization makes ``values`` (exporters.pixels.normalize, backwards)."""
        p = self._p
        shape = (-1, 1, 1) if p.layout == "NCHW" else (-1,)
        std, mean = (np.array(v, dtype=np.float64).reshape(shape) for v in (p.std, p.mean))
        levels = (values.astype(np.float64) * std + mean) / p.scale
        if p.invert == "always":
            levels = 255 - levels
        elif p.invert == "light-background":
            levels -= _MIDDLE
        return levels.astype(np.float32)

    def _take_out(self, model: str | os.PathLike[str]) -> None:
        """Opens the network alone, and lets it answer beside the file."""
        try:
            self._inside = Engine(_network(model), self._engine.device, threads=self._engine.threads)
        except ImportError:
            self.note = "other ranges (scale, mean, std) are tried with onnx: pip install 'cnntk[export]'"
        except (_NoNetwork, ArtifactError) as error:
            self.note = f"other ranges (scale, mean, std) can't be tried: {error}"
        else:
            self._check()

    def _check(self) -> None:
        p, rng = self._p, np.random.default_rng(0)
        levels = rng.integers(0, 128, (2, p.height, p.width, p.channels), dtype=np.uint8)
        images = _image_of(levels, p)
        if images is None or self._inside is None:
            raise AssertionError("noise in dark bytes comes of an image, whatever the preprocessing")
        whole = _logits(self._engine, images)
        alone = _logits(self._inside, self._before_normalizing(normalize(levels, p)))
        apart = float(np.abs(whole - alone).max()) / (float(np.abs(whole).max()) or 1.0)
        if not apart <= _ALIKE:
            self._inside = None
            self.note = (
                "other ranges (scale, mean, std) can't be tried: taken out of the graph the network answers "
                f"otherwise, by {apart:.2g} of the largest logit"
            )


class _NoNetwork(Exception):  # noqa: N818 - never leaves this file
    """The graph can't be cut."""


def _network(model: str | os.PathLike[str]) -> bytes:
    """The part of an artifact behind levels and before the normalization, as a model of its own."""
    import onnx_ir as ir

    whole = ir.load(model)
    graph = ir.convenience.extract(whole.graph, [_levels(whole)], list(whole.graph.outputs))
    graph.opset_imports.update(whole.graph.opset_imports)
    functions = list(whole.functions.values())
    try:
        data: bytes = ir.to_proto(
            ir.Model(graph, ir_version=whole.ir_version, functions=functions)
        ).SerializeToString()
    except ValueError as error:
        raise _NoNetwork(f"its weights don't fit in memory once more ({error})") from error
    return data


def _levels(model: ir.Model) -> ir.Value:
    """What goes into the normalization, or into the first layer where that took it over.

    Nodes that were put in front of the network bear `_SCOPE`.
    """
    ours = {node.name for node in model.graph if (node.name or "").startswith(_SCOPE)}
    passed = [
        value
        for node in model.graph
        if node.name in ours
        for value in node.outputs
        if any(use.node.name not in ours for use in value.uses())
    ]
    if len(passed) != 1:
        raise _NoNetwork(f"{len(passed)} values lead from its preprocessing into the network, and not one")
    value = passed[0]
    while (node := value.producer()) is not None and str(node.name).removeprefix(_SCOPE).startswith(
        _NORMALIZING
    ):
        given = node.inputs[0]
        if given is None:
            break
        value = given
    return value


def _logits(engine: Engine, array: Array) -> Array:
    given = engine.inputs[0]
    answers = engine.run({given.name: array.astype(given.dtype, copy=False)})
    return answers["logits"]


def _range(p: Preprocessing) -> tuple[Any, ...]:
    return p.scale, p.mean, p.std


def _image_of(levels: Array, p: Preprocessing) -> NDArray[np.uint8] | None:
    """Images of the size at which nothing is resized, of which ``p`` makes ``levels``; None where none do."""
    whole = np.clip(levels, 0, 255).astype(np.uint8)
    images = 255 - whole if p.invert == "always" else whole
    images = images[..., ::-1] if p.color == "bgr" else images
    room = [fitted - side for fitted, side in zip(p.fitted_size, (p.height, p.width), strict=True)]
    around = [(0, 0), *((p.crop_offset(r), r - p.crop_offset(r)) for r in room), (0, 0)]
    images = np.ascontiguousarray(np.pad(images, around, mode="edge"))
    same = all(
        np.array_equal(resize_and_crop(image, p), level) for image, level in zip(images, levels, strict=True)
    )
    return images if same else None
