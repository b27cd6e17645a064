"""The exceptions that cnntk raises on purpose.

::

    CnntkError
    ├── UsageError            an option, a file or a name is not valid or does not exist
    ├── MissingDependency     an optional package is not installed
    ├── DeviceUnavailable     the requested device is not available
    ├── DataError             training or calibration data is corrupt, mismatched or empty
    ├── CheckpointError       a checkpoint is corrupt or belongs to another network
    ├── ImageError            an image can't be read
    │   └── ImageTooLarge         an image is over the size limit
    ├── InputError            an array does not match the model's input
    ├── InferenceError        onnxruntime failed to run a model
    │   ├── InferenceTimeout      a run, or loading, exceeded its time limit
    │   ├── NonFiniteOutput       an output contains NaN or infinity
    │   └── OutOfMemory           a model needs more memory than there is, or than max_memory
    ├── EngineClosed          the engine was closed before a request ran
    ├── QueueFull             the queue has no free slot for a request
    ├── ArtifactError
    │   ├── ArtifactCorrupt       a model file is damaged
    │   ├── UnsupportedArtifact   a model file is valid, but not for this version
    │   └── SelfTestFailed        a model computes different outputs on this device
    ├── CaptureError          a source can't be converted to a graph
    └── ExportCheckError      a check of the export failed
        ├── ShapeMismatch
        └── ParityError

``exit_status`` is the exit status of the command line: 1 if cnntk did the work and the result is negative
(parity failed, an image can't be read), 2 if it can't do the work with the inputs and options it got.
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
    "ImageTooLarge",
    "InferenceError",
    "InferenceTimeout",
    "InputError",
    "MissingDependency",
    "NonFiniteOutput",
    "OutOfMemory",
    "ParityError",
    "QueueFull",
    "SelfTestFailed",
    "ShapeMismatch",
    "UnsupportedArtifact",
    "UsageError",
]


class CnntkError(Exception):
    """Base class. Messages have one or two lines: the file or tensor, what is wrong, and what to do.

    Attributes:
        missing_arguments: Arguments that the same command needs besides to work; empty where none are known.
    """

    exit_status = 2
    missing_arguments: tuple[str, ...] = ()


class UsageError(CnntkError):
    """An option, a file or a name is not valid or does not exist."""


class MissingDependency(CnntkError):  # noqa: N818 - named after the problem, like ArtifactCorrupt
    """An optional package is not installed; the message names the extra that installs it."""


class DeviceUnavailable(CnntkError):  # noqa: N818
    """The requested device is not available; the message has the reason and the fix."""


class DataError(CnntkError):
    """Training or calibration data is corrupt, mismatched or empty; the message names the file."""


class CheckpointError(CnntkError):
    """A checkpoint is corrupt or belongs to another network."""


class ImageError(CnntkError):
    """An image can't be read; the message names the file."""

    exit_status = 1

    def for_option(self, option: str) -> str:
        """Returns the message with ``option`` for ``max_megapixels``, or without either if empty."""
        return str(self)


class ImageTooLarge(ImageError):  # noqa: N818
    """An image is over the size limit; the message names the argument ``max_megapixels`` last."""

    def for_option(self, option: str) -> str:
        """Returns the message with ``option`` for ``max_megapixels``, or without either if empty."""
        problem, separator, rest = str(self).rpartition(", or raise max_megapixels")
        return f"{problem}, or raise {option}{rest}" if option and separator else problem or rest


class InputError(CnntkError):
    """An array does not match the model's input; the message has both."""


class InferenceError(CnntkError):
    """onnxruntime failed to run a model."""

    exit_status = 1


class InferenceTimeout(InferenceError, TimeoutError):  # noqa: N818
    """A run, or loading, exceeded its time limit."""


class NonFiniteOutput(InferenceError):  # noqa: N818
    """An output contains NaN or infinity; the message names it."""


class OutOfMemory(InferenceError, MemoryError):  # noqa: N818
    """A model needs more memory than there is, or than ``max_memory``, to be loaded or to run."""


class EngineClosed(CnntkError):  # noqa: N818
    """The engine was closed before a request ran."""


class QueueFull(CnntkError):  # noqa: N818
    """The queue has no free slot; try again later, or send fewer requests at once."""

    exit_status = 1


class ArtifactError(CnntkError):
    """A model file can't be used."""


class ArtifactCorrupt(ArtifactError):  # noqa: N818
    """A model file is damaged."""


class UnsupportedArtifact(ArtifactError):  # noqa: N818
    """A model file is valid, but made for another version of cnntk or onnxruntime."""


class SelfTestFailed(ArtifactError):  # noqa: N818
    """A model computes different outputs on this device than when it was exported."""

    exit_status = 1


class CaptureError(CnntkError):
    """A source can't be converted to a graph."""

    exit_status = 1


class ExportCheckError(CnntkError):
    """A check of the export failed."""

    exit_status = 1


class ShapeMismatch(ExportCheckError):  # noqa: N818
    """Formula, torch, ONNX and onnxruntime do not agree on a shape."""


class ParityError(ExportCheckError):
    """Outputs of the exported model differ from torch's by more than rounding."""
