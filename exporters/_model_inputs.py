"""The inputs of the written file: the network's own arrays, or images."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import onnx_ir as ir
from numpy.typing import NDArray

from cnntk.exporters._opset import change_opset
from cnntk.exporters.options import ExportOptions, PreprocessOption
from cnntk.exporters.passes import FoldConstants
from cnntk.exporters.passes.graph import opset
from cnntk.exporters.preprocessing import PreprocessingRecord, add_preprocessing
from cnntk.exporters.source import Source
from cnntk.exporters.sources._onnx_batch import set_batch
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
    model: ir.Model, source: Source, options: ExportOptions, row: Mapping[str, NDArray[Any]]
) -> ExportedInterface:
    """Puts the preprocessing in front of a copy of the network, or leaves it to the host.

    The batch is fixed and the opset is changed as the options say.

    Args:
        model: Graph of the network; it is not changed.
        source: Source with its inputs and preprocessing.
        options: Options of the export.
        row: Arrays for the network's inputs, to run the other inputs' nodes.

    Raises:
        UsageError: ONNX has no operator for the preprocessing.
        CaptureError: An operator does not exist in the opset.
    """
    p = source.preprocessing
    if p is None or not takes_images(source, options.preprocess):
        interface = ExportedInterface(model, source.inputs, p if options.preprocess != "none" else None)
    else:
        others = {name: array for name, array in row.items() if name != source.inputs[0].name}
        model = model.clone()
        record = add_preprocessing(
            model, p, others=others, static_size=options.static_size, fold=options.simplify == "safe"
        )
        interface = ExportedInterface(model, (record.input, *source.inputs[1:]), p, record)
    return _for_device(interface, options)


def _for_device(interface: ExportedInterface, options: ExportOptions) -> ExportedInterface:
    """A copy with the batch and the opset of the options."""
    model, record, inputs = interface.model.clone(), interface.record, interface.inputs
    if options.batch is not None:
        inputs = tuple(replace(spec, shape=(options.batch, *spec.shape[1:])) for spec in inputs)
        set_batch(model, options.batch)
        record = record and replace(record, input=inputs[0])
    if options.opset is not None:
        if options.simplify == "none" and options.opset < opset(model):
            FoldConstants()(model)  # what older opsets have as attributes must be constant
        change_opset(model, options.opset)
    return ExportedInterface(model, inputs, interface.preprocessing, record)
