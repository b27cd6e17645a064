"""What the file takes: the network's own arrays, or images."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from cnntk.exporters.checks.inputs import numpy_dtype
from cnntk.exporters.checks.pixels import PixelsPart
from cnntk.exporters.checks.prove import Case
from cnntk.exporters.checks.reference import Arrays, Reference
from cnntk.exporters.preprocessing import PreprocessingRecord, add_preprocessing
from cnntk.exporters.source import Source
from cnntk.runtime.artifact.spec import IMAGE_INPUT, Preprocessing, TensorSpec
from cnntk.runtime.errors import UsageError

__all__ = ["AskedByImages", "Face", "PreprocessOption", "face_of", "takes_images"]

PreprocessOption = Literal["graph", "host", "none"]

_NUDGED = 0.06
"""Share of the resized levels that another device's Resize may round the other way: 0.052 was seen between
Pillow and onnxruntime from 64 to 80, which makes many ties, and 0.004 on photographs."""

_FEWEST = 12
"""Levels that are off at least: in a small image a share is none."""


@dataclass(frozen=True)
class Face:
    """The model that is written, and what it takes.

    Attributes:
        model: with preprocessing in front of it, or the network alone.
        inputs: of it.
        preprocessing: for the spec; None where the file takes arrays only.
        record: of what was put in front; None where nothing was.
    """

    model: ir.Model
    inputs: tuple[TensorSpec, ...]
    preprocessing: Preprocessing | None
    record: PreprocessingRecord | None = None

    @property
    def images(self) -> Preprocessing | None:
        """How images become the network's input, where the graph does it."""
        return None if self.record is None else self.preprocessing


def takes_images(source: Source, way: PreprocessOption) -> bool:
    """Whether the file of ``source`` will take images.

    Raises:
        UsageError: it can't.
    """
    if way != "graph" or source.preprocessing is None:
        return False
    if source.inputs and source.inputs[0].name == IMAGE_INPUT and source.inputs[0].dtype == "uint8":
        raise UsageError(f"{source.name}: takes images already; use --preprocess none")
    return True


def face_of(source: Source, case: Case, way: PreprocessOption) -> Face:
    """Puts the preprocessing in front of the network, or leaves it to the host.

    Raises:
        UsageError: ONNX has no operator for it.
    """
    p = source.preprocessing
    if p is None or not takes_images(source, way):
        return Face(case.model, source.inputs, p if way != "none" else None)
    model = case.model.clone()
    rows = case.trials.batch(2)
    others = {name: array for name, array in rows.items() if name != source.inputs[0].name}
    record = add_preprocessing(model, p, others=others)
    return Face(model, (record.input, *source.inputs[1:]), p, record)


class AskedByImages:
    """A reference of arrays, asked by images, of which the graph's own nodes make the arrays.

    That those make the right ones is a check of its own (`cnntk.exporters.checks.pixels`).

    Args:
        reference: takes arrays.
        part: from images to the first of them.
        first: that one.
    """

    def __init__(self, reference: Reference, part: PixelsPart, first: TensorSpec) -> None:
        self._reference = reference
        self._part = part
        self._first = first

    def exact(self, inputs: Arrays) -> Arrays:
        """The answers in float64."""
        return self._reference.exact(self._arrays(inputs))

    def single(self, inputs: Arrays) -> Arrays:
        """The answers in the source's own precision."""
        return self._reference.single(self._arrays(inputs))

    def nudged(self, inputs: Arrays) -> Arrays:
        """The answers in float64 where some of the resized levels are one off."""
        values = self._part(inputs[IMAGE_INPUT], "the self-test")
        share = min(1.0, max(_NUDGED, _FEWEST / values.size))
        off = np.random.default_rng(0).choice([-1, 0, 1], values.shape, p=[share / 2, 1 - share, share / 2])
        return self._reference.exact(self._named(inputs, values + off * self._part.level))

    def _arrays(self, inputs: Arrays) -> Arrays:
        return self._named(inputs, self._part(inputs[IMAGE_INPUT], "the self-test"))

    def _named(self, inputs: Arrays, values: NDArray[np.float64]) -> Arrays:
        rest = {name: array for name, array in inputs.items() if name != IMAGE_INPUT}
        return {self._first.name: values.astype(numpy_dtype(self._first.dtype)), **rest}
