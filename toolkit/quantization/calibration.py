"""Calibration: statistics of the values inside a graph over many images, in one pass and in fixed memory."""

from __future__ import annotations

import copy
import hashlib
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from cnntk.data.batches import Batch
from cnntk.exporters.passes.graph import constant, only_user
from cnntk.exporters.session import Arrays, GraphSession
from cnntk.quantization.config import linear_layers, reads_integers
from cnntk.quantization.histogram import ChannelStats, Histogram, HistogramRecord
from cnntk.runtime.codec import as_json, decode
from cnntk.runtime.contract import InputContract
from cnntk.runtime.errors import DataError, InferenceError, UsageError

__all__ = [
    "CALIBRATION_VERSION",
    "CalibrationData",
    "behind_activation",
    "calibrate",
    "channels_to_calibrate",
    "check_calibration",
    "clip_limits",
    "dense_reader",
    "is_non_negative",
    "is_spatial_mean",
    "tensors_to_calibrate",
]

CALIBRATION_VERSION = 2

MIN_IMAGES = 10
"""Number of images below which ranges are those of the images and not of the network."""

GOOD_IMAGES = 100
"""Number of images below which the tails of the distributions rest on a handful of images."""


@dataclass(frozen=True)
class _CalibrationFile:
    """A calibration as JSON; fields as in `CalibrationData`."""

    version: int
    images: int
    classes: Mapping[str, int]
    first_digest: str
    images_differ: bool
    histograms: tuple[HistogramRecord, ...]
    channels: Mapping[str, ChannelStats]


@dataclass(eq=False)
class CalibrationData:
    """Statistics of some tensors of a graph, which grow image by image.

    Attributes:
        histograms: Histograms by tensor, in the order of the graph.
        channels: Statistics of the channels by tensor, for those tensors that they were requested of.
        images: Number of images.
        classes: Number of labeled images by class index.
        first_digest: SHA-256 of the first image's inputs; empty without images.
        images_differ: Whether any other image differs from the first.
    """

    histograms: dict[str, Histogram]
    channels: dict[str, ChannelStats] = field(default_factory=dict)
    images: int = 0
    classes: dict[int, int] = field(default_factory=dict)
    first_digest: str = ""
    images_differ: bool = False

    def add(
        self, values: Arrays, axes: Mapping[str, int], inputs: Arrays, name: str, label: int | None
    ) -> None:
        """Adds one image.

        Args:
            values: Values of the tensors.
            axes: Channel axis of the tensors whose channels are counted.
            inputs: Inputs of the graph.
            name: Name of the image.
            label: Class index of the image; None if unknown.
        """
        for tensor, histogram in self.histograms.items():
            histogram.add(values[tensor], name)
        for tensor, axis in axes.items():
            self._add_channels(tensor, values[tensor], axis)
        if not self.images_differ:
            digest = _digest(inputs)
            self.first_digest = self.first_digest or digest
            self.images_differ = digest != self.first_digest
        self.images += 1
        if label is not None:
            self.classes[label] = self.classes.get(label, 0) + 1

    def _add_channels(self, name: str, values: NDArray[Any], axis: int) -> None:
        if not -values.ndim <= axis < values.ndim:
            raise UsageError(f"tensor {name!r}: has no axis {axis}; its shape is {list(values.shape)}")
        stats, earlier = ChannelStats.of(values, axis), self.channels.get(name)
        if earlier is not None and len(earlier.minimum) != len(stats.minimum):
            raise UsageError(
                f"tensor {name!r}: axis {axis} has {len(stats.minimum)} channels, and had "
                f"{len(earlier.minimum)} for other images; name the axis of the channels"
            )
        self.channels[name] = stats if earlier is None else earlier.merge(stats)

    def to_text(self) -> str:
        """A JSON document from which `calibrate` can resume; numbers lose no digit."""
        document = _CalibrationFile(
            CALIBRATION_VERSION,
            self.images,
            {str(label): count for label, count in sorted(self.classes.items())},
            self.first_digest,
            self.images_differ,
            tuple(histogram.record() for histogram in self.histograms.values()),
            self.channels,
        )
        return json.dumps(as_json(document))

    @classmethod
    def from_text(cls, text: str | bytes, source: str) -> CalibrationData:
        """Reads what `to_text` returned.

        Args:
            text: JSON document.
            source: File that it comes from, for messages.

        Raises:
            DataError: The document is not a calibration, has another version, or is damaged.
        """
        try:
            data = decode(_CalibrationFile, json.loads(text), "calibration")
            if data.version != CALIBRATION_VERSION:
                raise ValueError(f"version {data.version}, expected {CALIBRATION_VERSION}")
            return cls(
                {record.tensor: Histogram.from_record(record) for record in data.histograms},
                dict(data.channels),
                data.images,
                {int(label): count for label, count in data.classes.items()},
                data.first_digest,
                data.images_differ,
            )
        except (ValueError, OverflowError) as error:
            reason = " ".join(str(error).split())[:200]
            raise DataError(
                f"{source}: not a valid calibration ({reason}); remove it and calibrate from the start"
            ) from error


def tensors_to_calibrate(model: ir.Model) -> tuple[str, ...]:
    """Values whose ranges quantization needs.

    They are inputs of convolutions and of fully connected layers that read integers, and outputs of
    convolutions, sums and means.
    """
    names: dict[str, None] = {}
    dense = {node for node in linear_layers(model) if reads_integers(node)}
    for node in model.graph:
        pooled = is_spatial_mean(node) and dense_reader(node.outputs[0]) is not None
        if node in dense and node.inputs[0] is not None:
            names[str(node.inputs[0].name)] = None
        if not pooled and (node.op_type not in ("Conv", "Add", "Concat") or node.domain):
            continue
        if node.outputs[0].dtype is not ir.DataType.FLOAT:  # arithmetic on an image's sizes
            continue
        inputs = (node.inputs[0],) if node.op_type == "Conv" else ()
        for value in (*inputs, behind_activation(node.outputs[0])):
            if value is not None and value.name and not value.is_initializer():
                names[value.name] = None
    return tuple(names)


def channels_to_calibrate(model: ir.Model) -> dict[str, int]:
    """Inputs of linear layers and their channel axis, for bias correction and equalization."""
    return {
        str(v.name): 1 if node.op_type == "Conv" else len(v.shape) - 1
        for node in linear_layers(model)
        if (v := node.inputs[0]) is not None and v.name and v.shape is not None and len(v.shape) > 1
    }


def behind_activation(value: ir.Value) -> ir.Value:
    """The value whose range counts: behind the ReLU and max-pooling that follow as the only readers."""
    while (user := only_user(value)) is not None and (_is_relu(user) or _is_max_pool(user)):
        value = user.outputs[0]
    return value


def is_non_negative(value: ir.Value) -> bool:
    """Whether no reader sees what is below zero in a value."""
    while (user := only_user(value)) is not None and _is_max_pool(user):
        value = user.outputs[0]
    readers = [use.node for use in value.uses()]
    return bool(readers) and not value.is_graph_output() and all(map(_is_relu, readers))


def is_spatial_mean(node: ir.Node) -> bool:
    """Whether a node computes the mean over height and width of (N, C, H, W)."""
    if node.domain or node.op_type not in ("GlobalAveragePool", "ReduceMean"):
        return False
    axes = constant(node.inputs[1]) if len(node.inputs) > 1 else None
    spatial = axes is not None and sorted(int(a) % 4 for a in np.ravel(axes)) == [2, 3]
    return node.op_type == "GlobalAveragePool" or spatial


def dense_reader(value: ir.Value) -> ir.Node | None:
    """The fully connected layer that alone reads a mean (N, C), also as (N, C, 1, 1) behind a Reshape."""
    user = only_user(value)
    while user is not None and not user.domain and user.op_type in ("Reshape", "Flatten", "Squeeze"):
        shape = user.outputs[0].shape
        if user.inputs[0] is not value or shape is None or len(shape) != 2:
            return None
        value = user.outputs[0]
        user = only_user(value)
    is_dense = user is not None and not user.domain and user.op_type in ("Gemm", "MatMul")
    return user if is_dense and user is not None and user.inputs[0] is value else None


def clip_limits(node: ir.Node) -> tuple[float | None, float | None]:
    """Lower and upper limit of a Clip; None if there is none, or it is not a constant."""
    limits = [constant(value) for value in (*node.inputs[1:3], None, None)[:2]]
    low, high = (None if v is None or v.size != 1 else float(v.reshape(-1)[0]) for v in limits)
    return low, high


def _is_max_pool(node: ir.Node) -> bool:
    return node.op_type == "MaxPool" and not node.domain


def _is_relu(node: ir.Node) -> bool:
    """Whether a node is a ReLU, also one with an upper limit."""
    if node.op_type == "Clip" and not node.domain:
        return clip_limits(node)[0] == 0
    return node.op_type == "Relu" and not node.domain


def calibrate(
    model: ir.Model,
    batches: Iterable[Batch],
    tensors: Sequence[str] | None = None,
    *,
    channels: Mapping[str, int] | None = None,
    resume_from: CalibrationData | None = None,
    on_image: Callable[[CalibrationData], None] | None = None,
) -> CalibrationData:
    """Runs a graph on images and gathers statistics of some of its tensors.

    The graph runs in onnxruntime with every optimization off, so that each value exists under its name, and
    always on one image: in a batch an image gets other last digits, because onnxruntime selects its kernels
    by the batch. So the same images in the same order give the same calibration to the bit, however they are
    batched, and only one image's tensors are in memory. Batches of 8 would take a quarter less time.

    Args:
        model: Graph to run; it is not changed.
        batches: Batches of images, as `batches_of` creates them; they are drawn as they are needed.
        tensors: Names of values or inputs of the graph. Default: `tensors_to_calibrate` and
            `channels_to_calibrate`.
        channels: Tensors whose channels' ranges and means are gathered, too, with the axis of the channels,
            counted with the batch: 1 in (N, C, H, W).
        resume_from: Calibration of the same graph, tensors and channels to continue; ``batches`` then begins
            after its ``images``. It is not changed.
        on_image: Callback that receives the growing calibration after each image, to show or save it.

    Raises:
        DataError: A value is NaN or infinite; the message names the tensor and the image.
        UsageError: The graph has no such tensor, or ``resume_from`` has other tensors.
        InputError: A batch is not a valid input of the graph.
        InferenceError: onnxruntime failed.
    """
    if tensors is None:
        tensors, channels = tensors_to_calibrate(model), channels_to_calibrate(model)
    axes = channels or {}
    probe = _Probe(model, [*tensors, *axes])
    calibration = _start(probe.names, axes, resume_from)
    for batch in batches:
        for i, name in enumerate(batch.names):
            inputs = {key: array[i : i + 1] for key, array in batch.inputs.items()}
            calibration.add(probe(inputs, name), axes, inputs, name, batch.labels[i])
            if on_image is not None:
                on_image(calibration)
    return calibration


class _Probe:
    """A graph that returns the requested tensors.

    Attributes:
        names: Names of the tensors, each once, in the order of the graph.
    """

    def __init__(self, model: ir.Model, requested: Sequence[str]) -> None:
        inputs = [v for v in model.graph.inputs if v.name not in model.graph.initializers]
        computed = [v for node in model.graph for v in node.outputs]
        for name in requested:
            _require(name, [*inputs, *computed], model)
        self.names = [str(v.name) for v in (*inputs, *computed) if v.name in requested]
        self._computed = [str(v.name) for v in computed if v.name in requested]
        self._session = GraphSession(model, self._computed or None)
        self._contract = InputContract(self._session.inputs, str(model.graph.name or "the graph"))

    def __call__(self, inputs: Arrays, image: str) -> Arrays:
        """Values of the tensors for one image, by name."""
        filled = {key: self._fill_batch(key, array) for key, array in inputs.items()}
        self._contract.check(filled)
        try:  # without requested outputs, onnxruntime would compute them all
            values = self._session.run(filled) if self._computed else {}
        except InferenceError as error:
            raise InferenceError(f"image {image}: {error}") from error
        return {name: values[name] if name in values else inputs[name] for name in self.names}

    def _fill_batch(self, name: str, array: NDArray[Any]) -> NDArray[Any]:
        """Repeats one image for a graph with a fixed batch size; its counts are as many times larger."""
        size = next((spec.shape[0] for spec in self._session.inputs if spec.name == name and spec.shape), 1)
        return np.repeat(array, size, axis=0) if isinstance(size, int) and size > 1 else array


def _require(name: str, values: Sequence[ir.Value], model: ir.Model) -> None:
    if name in model.graph.initializers:
        raise UsageError(f"tensor {name!r}: a weight, which needs no calibration; leave it out")
    value = next((v for v in values if v.name == name), None)
    if value is None:
        raise UsageError(f"tensor {name!r}: the graph has no value of this name; cnntk inspect lists them")
    if value.type is None:
        raise UsageError(f"tensor {name!r}: its type is unknown, so it can't be read; infer shapes first")


def _start(
    names: Sequence[str], axes: Mapping[str, int], resume_from: CalibrationData | None
) -> CalibrationData:
    if resume_from is None:
        return CalibrationData({name: Histogram(name) for name in names})
    if (list(names), sorted(axes)) != (list(resume_from.histograms), sorted(resume_from.channels)):
        differing = set(names) ^ set(resume_from.histograms) or set(axes) ^ set(resume_from.channels)
        which = f": {min(differing)!r} is in one of them only" if differing else ""
        raise UsageError(f"calibration to resume: has other tensors{which}; calibrate from the start")
    return copy.deepcopy(resume_from)


def _digest(inputs: Arrays) -> str:
    digest = hashlib.sha256()
    for name in sorted(inputs):
        array = np.ascontiguousarray(inputs[name])
        digest.update(f"{name} {array.dtype} {array.shape}\0".encode())
        digest.update(array.tobytes())
    return digest.hexdigest()


def check_calibration(calibration: CalibrationData) -> tuple[str, ...]:
    """Checks whether the images of a calibration are enough and different.

    Returns:
        Warnings, one line each. NaN and infinity need no check: `calibrate` stops at them.

    Raises:
        DataError: There are fewer than `MIN_IMAGES` images, or all are equal.
    """
    count = calibration.images
    if count < MIN_IMAGES:
        raise DataError(
            f"calibration: {count} images; at least {MIN_IMAGES} are needed and {GOOD_IMAGES} are good; add "
            "images"
        )
    if not calibration.images_differ:
        raise DataError(f"calibration: all {count} images are equal for the network; use different ones")
    return tuple(_warnings(calibration))


def _warnings(calibration: CalibrationData) -> Iterator[str]:
    if calibration.images < GOOD_IMAGES:
        yield (
            f"calibration: only {calibration.images} images; ranges are more reliable with {GOOD_IMAGES} or "
            "more"
        )
    if len(calibration.classes) == 1:
        (label,) = calibration.classes
        yield (
            f"calibration: all labeled images are of class {label}; other classes may have other ranges, add "
            "images of them"
        )
    for histogram in calibration.histograms.values():
        if histogram.count and histogram.minimum == histogram.maximum:
            yield (
                f"{histogram.tensor}: is {histogram.minimum:g} everywhere in all images: a dead layer, or "
                "images without content"
            )
