"""Every exception that cnntk raises on purpose.

::

    CnntkError
    ├── UsageError            what was asked for does not exist: a network, a file, an option's value
    ├── MissingDependency     an optional package is not installed
    ├── DeviceUnavailable     the device that was asked for can't be had
    ├── DataError             training or calibration data: corrupt, mismatched, empty
    ├── CheckpointError       a checkpoint is corrupt or belongs to another network
    ├── ImageError            an image can't be read
    ├── InputError            an array does not fit the model's input
    ├── InferenceError        onnxruntime failed while it ran a model
    │   ├── InferenceTimeout      the run was ended because its time was over
    │   └── NonFiniteOutput       the model's output holds NaN or infinity
    ├── EngineClosed          a request came after the engine was closed, or was left in its queue
    ├── QueueFull             more requests wait than the queue holds
    ├── ArtifactError
    │   ├── ArtifactCorrupt       the file is damaged
    │   ├── UnsupportedArtifact   the file is sound, but not for this version
    │   └── SelfTestFailed        the model computes something else on this device
    ├── CaptureError          the source can't be turned into a graph
    └── ExportCheckError      the export is not the model that was trained
        ├── ShapeMismatch
        └── ParityError

``exit_status`` is what the command line exits with: 1 where cnntk did the work and the answer is no
(parity failed, an image can't be read), 2 where it can't do the work with what it was given.
"""

from __future__ import annotations

__all__ = [
    "ArtifactCorrupt",
    "ArtifactError",
    "CaptureError",
    "CheckpointError",
    "CnntkError",
    "DataError",
    "DeviceUnavailable",
    "EngineClosed",
    "ExportCheckError",
    "ImageError",
    "InferenceError",
    "InferenceTimeout",
    "InputError",
    "MissingDependency",
    "NonFiniteOutput",
    "ParityError",
    "QueueFull",
    "SelfTestFailed",
    "ShapeMismatch",
    "UnsupportedArtifact",
    "UsageError",
]


class CnntkError(Exception):
    """Base class: one or two lines that say what, which file or tensor, and what to do."""

    exit_status = 2


class UsageError(CnntkError):
    """What was asked for does not exist."""


class MissingDependency(CnntkError):  # noqa: N818 - named for what is wrong, like ArtifactCorrupt
    """An optional package is not installed; the message names the extra that brings it."""


class DeviceUnavailable(CnntkError):  # noqa: N818
    """The device that was asked for can't be had; the message says why and what mends it."""


class DataError(CnntkError):
    """Training or calibration data is corrupt, mismatched or empty; the message names the file."""


class CheckpointError(CnntkError):
    """A checkpoint is corrupt or belongs to another network."""


class ImageError(CnntkError):
    """An image can't be read; the message names the file."""

    exit_status = 1


class InputError(CnntkError):
    """An array does not fit the model's input; the message says expected and got."""


class InferenceError(CnntkError):
    """onnxruntime failed while it ran a model."""

    exit_status = 1


class InferenceTimeout(InferenceError, TimeoutError):  # noqa: N818
    """A run was ended because its time was over."""


class NonFiniteOutput(InferenceError):  # noqa: N818
    """The model answered NaN or infinity; the message names the output."""


class EngineClosed(CnntkError):  # noqa: N818
    """A request came after the engine was closed, or was still waiting then."""


class QueueFull(CnntkError):  # noqa: N818
    """More requests wait than the queue holds; try again later, or send fewer at once."""

    exit_status = 1


class ArtifactError(CnntkError):
    """A model file can't be used."""


class ArtifactCorrupt(ArtifactError):  # noqa: N818
    """A model file is damaged."""


class UnsupportedArtifact(ArtifactError):  # noqa: N818
    """A model file is sound, but made for another version of cnntk or onnxruntime."""


class SelfTestFailed(ArtifactError):  # noqa: N818
    """A model does not answer on this device what it answered when it was exported."""

    exit_status = 1


class CaptureError(CnntkError):
    """A source can't be turned into a graph."""

    exit_status = 1


class ExportCheckError(CnntkError):
    """The exported model is not the model that was trained."""

    exit_status = 1


class ShapeMismatch(ExportCheckError):  # noqa: N818
    """A shape is not what the formula, torch, ONNX and onnxruntime agree on."""


class ParityError(ExportCheckError):
    """The exported model's answers differ from torch's by more than rounding."""
