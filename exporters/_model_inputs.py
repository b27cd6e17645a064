"""The inputs of the written file: the network's own arrays, or images."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import onnx_ir as ir
from numpy.typing import NDArray

from cnntk.exporters.options import PreprocessOption
from cnntk.exporters.preprocessing import PreprocessingRecord, add_preprocessing
from cnntk.exporters.source import Source
from cnntk.runtime.artifact.spec import IMAGE_INPUT, Preprocessing, TensorSpec
from cnntk.runtime.errors import UsageError


@dataclass(frozen=True)
class ExportedInterface:
    """The graph that is written, and its inputs.

    Attributes:
        model: Graph with preprocessing in front of it, or the network alone.
        inputs: Inputs of the graph.
        preprocessing: Preprocessing for the spec; None where the file takes arrays only.
        record: Nodes that were added in front; None where there are none.
    """

    model: ir.Model
    inputs: tuple[TensorSpec, ...]
    preprocessing: Preprocessing | None
    record: PreprocessingRecord | None = None


def takes_images(source: Source, preprocess: PreprocessOption) -> bool:
    """Whether the written file takes images.

    Raises:
        UsageError: The source takes images already.
    """
    if preprocess != "graph" or source.preprocessing is None:
        return False
    if source.inputs and source.inputs[0].name == IMAGE_INPUT and source.inputs[0].dtype == "uint8":
        raise UsageError(f"{source.name}: the source takes images already; use --preprocess none")
    return True


def add_interface(
    model: ir.Model, source: Source, preprocess: PreprocessOption, row: Mapping[str, NDArray[Any]]
) -> ExportedInterface:
    """Puts the preprocessing in front of a copy of the network, or leaves it to the host.

    Args:
        model: Graph of the network; it is not changed.
        source: Source with its inputs and preprocessing.
        preprocess: Where images are preprocessed.
        row: Arrays for the network's inputs, to run the other inputs' nodes.

    Raises:
        UsageError: ONNX has no operator for the preprocessing.
    """
    p = source.preprocessing
    if p is None or not takes_images(source, preprocess):
        return ExportedInterface(model, source.inputs, p if preprocess != "none" else None)
    others = {name: array for name, array in row.items() if name != source.inputs[0].name}
    model = model.clone()
    record = add_preprocessing(model, p, others=others)
    return ExportedInterface(model, (record.input, *source.inputs[1:]), p, record)
