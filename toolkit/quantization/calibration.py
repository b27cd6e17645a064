"""`calibrate`: what the values inside a graph are, over many images, in one pass and in fixed memory."""

from __future__ import annotations

import copy
import hashlib
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from cnntk.data.batches import Batch
from cnntk.exporters.session import GraphSession
from cnntk.quantization.channels import Channels, Vector
from cnntk.quantization.histogram import Histogram
from cnntk.runtime.contract import InputContract
from cnntk.runtime.errors import DataError, InferenceError, UsageError

__all__ = ["CALIBRATION_VERSION", "Calibration", "calibrate"]

Arrays = dict[str, NDArray[Any]]

CALIBRATION_VERSION = 1

_MALFORMED = (KeyError, TypeError, ValueError, AttributeError, OverflowError)


@dataclass(frozen=True, eq=False)
class Calibration:
    """What the values of some tensors were.

    Attributes:
        histograms: by tensor, in the order of the graph.
        channels: of those tensors of which they were asked for.
        images: how many were counted.
        classes: images of each class, by its number; images without a label are in none.
        first: SHA-256 of what the first image was to the graph; empty while there is none.
        varied: whether another image differed from it.
    """

    histograms: dict[str, Histogram]
    channels: dict[str, Channels] = field(default_factory=dict)
    images: int = 0
    classes: dict[int, int] = field(default_factory=dict)
    first: str = ""
    varied: bool = False

    def channel_mean(self, tensor: str) -> Vector:
        """The mean of each channel, float64 (C,).

        Raises:
            UsageError: the channels of this tensor were not asked for.
        """
        if tensor not in self.channels:
            told = ", ".join(self.channels) or "none"
            raise UsageError(f"{tensor}: its channels were not counted, only those of: {told}; ask for them")
        return self.channels[tensor].mean

    def to_json(self) -> str:
        """As a JSON document, from which `calibrate` can go on; numbers lose no digit."""
        return json.dumps(
            {
                "calibration": CALIBRATION_VERSION,
                "images": self.images,
                "classes": {str(k): n for k, n in sorted(self.classes.items())},
                "first": self.first,
                "varied": self.varied,
                "histograms": [h.to_json() for h in self.histograms.values()],
                "channels": {name: c.to_json() for name, c in self.channels.items()},
            }
        )

    @classmethod
    def from_json(cls, text: str | bytes, where: str) -> Calibration:
        """Reads what `to_json` wrote.

        Args:
            text: the document.
            where: the file it comes from, for messages.

        Raises:
            DataError: it is no calibration, one of another version, or a damaged one.
        """
        try:
            data = json.loads(text)
            if data["calibration"] != CALIBRATION_VERSION:
                raise ValueError(f"version {data['calibration']!r}, not {CALIBRATION_VERSION}")
            found = [Histogram.from_json(h) for h in data["histograms"]]
            return cls(
                {h.tensor: h for h in found},
                {str(name): Channels.from_json(c) for name, c in data["channels"].items()},
                int(data["images"]),
                {int(k): int(n) for k, n in data["classes"].items()},
                str(data["first"]),
                bool(data["varied"]),
            )
        except _MALFORMED as error:
            told = " ".join(str(error).split())[:200]
            raise DataError(
                f"{where}: is no sound calibration ({told}); remove it, and calibrate from the start"
            ) from error


def calibrate(
    model: ir.Model,
    batches: Iterable[Batch],
    tensors: Sequence[str],
    *,
    channels: Mapping[str, int] | None = None,
    so_far: Calibration | None = None,
    on_image: Callable[[Calibration], None] | None = None,
) -> Calibration:
    """Runs a graph on images, and counts the values of some of its tensors as they come.

    The graph runs in onnxruntime with every optimization off, so that each value is there under its name, and
    always on one image: among others an image gets other last digits, as onnxruntime picks its kernels by the
    batch. So the same images in the same order give the same calibration to the bit, however they are put
    into batches, and no more is held than one image's tensors. Batches of 8 would take a quarter less time.

    Args:
        model: the graph; it is not changed.
        batches: of images, as `batches_of` makes them or by hand; they are drawn as they are needed.
        tensors: values or inputs of the graph, by name.
        channels: tensors of which each channel's range and mean is wanted too, with the axis of their
            channels, counted with the batch: 1 in (N, C, H, W).
        so_far: to go on from, for the same graph, tensors and channels; ``batches`` then begins behind its
            ``images``. It is not changed.
        on_image: is shown the calibration after each image, to tell the progress or to save it as JSON. Its
            histograms are those that go on growing.

    Raises:
        DataError: a value is NaN or infinite; the message names the tensor and the image.
        UsageError: the graph has no such tensor, or ``so_far`` is of others.
        InputError: a batch is not what the graph takes.
        InferenceError: onnxruntime failed.
    """
    probe = _Probe(model, [*tensors, *(channels or {})])
    tally = _begun(probe.names, dict(channels or {}), so_far)
    for batch in batches:
        for i, name in enumerate(batch.names):
            inputs = {key: array[i : i + 1] for key, array in batch.inputs.items()}
            tally.add(probe(inputs, name), inputs, name, batch.labels[i])
            if on_image is not None:
                on_image(tally.calibration())
    return tally.calibration()


class _Probe:
    """A graph that answers the tensors that were asked for.

    Attributes:
        names: of the tensors, each once, in the order of the graph.
    """

    def __init__(self, model: ir.Model, wanted: Sequence[str]) -> None:
        given = [v for v in model.graph.inputs if v.name not in model.graph.initializers]
        made = [v for node in model.graph for v in node.outputs]
        for name in wanted:
            _require(name, [*given, *made], model)
        self.names = [str(v.name) for v in (*given, *made) if v.name in wanted]
        self._made = [str(v.name) for v in made if v.name in wanted]
        self._session = GraphSession(model, self._made or None)
        self._inputs = self._session.inputs
        self._contract = InputContract(self._inputs, str(model.graph.name or "the graph"))

    def __call__(self, inputs: Arrays, image: str) -> Arrays:
        """Each tensor by name, for one image."""
        filled = {key: self._filled(key, array) for key, array in inputs.items()}
        self._contract.check(filled)
        try:  # asked for nothing, onnxruntime would answer everything
            found = self._session.run(filled) if self._made else {}
        except InferenceError as error:
            raise InferenceError(f"image {image}: {error}") from error
        return {name: found[name] if name in found else inputs[name] for name in self.names}

    def _filled(self, name: str, array: NDArray[Any]) -> NDArray[Any]:
        """One image, as often as a batch of fixed size wants it; its counts are then as many times more."""
        size = next((spec.shape[0] for spec in self._inputs if spec.name == name and spec.shape), 1)
        return np.repeat(array, size, axis=0) if isinstance(size, int) and size > 1 else array


def _require(name: str, values: Sequence[ir.Value], model: ir.Model) -> None:
    if name in model.graph.initializers:
        raise UsageError(f"tensor {name!r}: is a weight, and needs no calibration; leave it out")
    value = next((v for v in values if v.name == name), None)
    if value is None:
        raise UsageError(f"tensor {name!r}: the graph has no value of this name; cnntk inspect lists them")
    if value.type is None:
        raise UsageError(f"tensor {name!r}: its type is not known, so it can't be seen; infer shapes first")


def _begun(names: Sequence[str], axes: dict[str, int], so_far: Calibration | None) -> _Tally:
    if so_far is None:
        return _Tally({name: Histogram(name) for name in names}, axes)
    wanted = (list(names), sorted(axes))
    there = (list(so_far.histograms), sorted(so_far.channels))
    if wanted != there:
        missing = sorted(set(names) ^ set(so_far.histograms)) or sorted(set(axes) ^ set(so_far.channels))
        which = f": {missing[0]!r} is in one of them only" if missing else ""
        raise UsageError(f"calibration to go on from: is of other tensors{which}; calibrate from the start")
    tally = _Tally(copy.deepcopy(so_far.histograms), axes)
    tally.channels, tally.classes = dict(so_far.channels), dict(so_far.classes)
    tally.images, tally.first, tally.varied = so_far.images, so_far.first, so_far.varied
    return tally


class _Tally:
    """A calibration that grows image by image."""

    def __init__(self, histograms: dict[str, Histogram], axes: dict[str, int]) -> None:
        self._axes = axes
        self.histograms = histograms
        self.channels: dict[str, Channels] = {}
        self.classes: dict[int, int] = {}
        self.images = 0
        self.first = ""
        self.varied = False

    def add(self, values: Arrays, inputs: Arrays, image: str, label: int | None) -> None:
        for name, histogram in self.histograms.items():
            histogram.add(values[name], image)
        for name, axis in self._axes.items():
            self._add_channels(name, values[name], axis)
        if not self.varied:
            told = _digest(inputs)
            self.first = self.first or told
            self.varied = told != self.first
        self.images += 1
        if label is not None:
            self.classes[label] = self.classes.get(label, 0) + 1

    def calibration(self) -> Calibration:
        """As it is now; the histograms are the ones that go on growing."""
        return Calibration(
            self.histograms, dict(self.channels), self.images, dict(self.classes), self.first, self.varied
        )

    def _add_channels(self, name: str, values: NDArray[Any], axis: int) -> None:
        if not -values.ndim <= axis < values.ndim:
            raise UsageError(f"tensor {name!r}: has no axis {axis}; it is {list(values.shape)}")
        found, there = Channels.of(values, axis), self.channels.get(name)
        if there is not None and there.minimum.shape != found.minimum.shape:
            raise UsageError(
                f"tensor {name!r}: axis {axis} has {len(found.minimum)} channels, and had "
                f"{len(there.minimum)} for other images; name the axis of the channels"
            )
        self.channels[name] = found if there is None else there.and_then(found)


def _digest(inputs: Arrays) -> str:
    digest = hashlib.sha256()
    for name in sorted(inputs):
        array = np.ascontiguousarray(inputs[name])
        digest.update(f"{name} {array.dtype} {array.shape}\0".encode())
        digest.update(array.tobytes())
    return digest.hexdigest()
