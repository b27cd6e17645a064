"""An ``.onnx`` file that cnntk did not write."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import onnx
import onnx_ir as ir
from google.protobuf.message import DecodeError  # type: ignore[import-untyped]
from onnx_ir.passes.common import ShapeInferencePass

from cnntk.exporters.options import INPUT, ExportOptions, InputShape
from cnntk.exporters.source import Source
from cnntk.exporters.sources.console import suppress_output
from cnntk.exporters.sources.inputs import form, input_specs, refuse_build_options
from cnntk.models.user_errors import one_line
from cnntk.runtime.artifact.external import check_external_tensors, find_external_tensors
from cnntk.runtime.artifact.spec import METADATA_KEY, TensorSpec
from cnntk.runtime.errors import ArtifactCorrupt, UsageError
from cnntk.runtime.files import readable_file
from cnntk.runtime.session.devices import resolve_device
from cnntk.runtime.session.session_factory import SessionSettings, open_session

OLDEST_OPSET = 18
"""Older graphs are kept as they are: a conversion can change what they compute, or crash."""

BATCH = "N"

# What onnx_ir raises where the protobuf can be read and what it says makes no sense.
_DAMAGE = (DecodeError, ValueError, TypeError, LookupError, AttributeError, NotImplementedError)


def from_onnx(text: str, options: ExportOptions) -> Source:
    """Opens the graph in the file, with its batch named ``N`` and every other size fixed."""
    refuse_build_options(f"{text}: an .onnx file contains its weights", options)
    file = readable_file(text, "an ONNX file")
    check_external_tensors(find_external_tensors(str(file), str(file)), file, None, has_digest=False)
    model = _read(file)
    if METADATA_KEY in model.metadata_props:
        raise UsageError(f"{file}: already an artifact; check it with cnntk verify {file}")
    open_session(file, resolve_device("cpu"), SessionSettings(threads=1))
    constants = _drop_default_inputs(model)
    _fix_sizes(model, options.input_shape, file)
    with suppress_output():
        ShapeInferencePass(check_type=False, strict_mode=False)(model)
    return Source(
        name=file.stem,
        inputs=tuple(_spec(value) for value in model.graph.inputs),
        graph=model,
        provenance={"onnx": file.name, "producer": f"{model.producer_name} {model.producer_version}".strip()},
        notes=(*constants, *_notes(model)),
    )


def _read(file: Path) -> ir.Model:
    try:
        with suppress_output():
            model = ir.load(file)
    except _DAMAGE as error:
        raise ArtifactCorrupt(f"{file}: not a valid ONNX file, or damaged: {one_line(error)}") from error
    if not model.graph.outputs or not model.opset_imports:
        raise ArtifactCorrupt(f"{file}: not a valid ONNX file, or damaged: it has no outputs or no opset")
    return model


def _drop_default_inputs(model: ir.Model) -> list[str]:
    """Makes constants of inputs with a default: old files list every weight as an input."""
    defaults = [v for v in model.graph.inputs if v.name in model.graph.initializers]
    for value in defaults:
        model.graph.inputs.remove(value)
    if not defaults or model.ir_version < 4:
        return []
    return [f"inputs with a default became constants: {', '.join(str(v.name) for v in defaults)}"]


def _fix_sizes(model: ir.Model, shape: InputShape | None, file: Path) -> None:
    """Names the batch ``N`` and fixes every other dynamic size of an input, in the whole graph."""
    if not model.graph.inputs:
        raise UsageError(f"{file}: the graph has no input")
    sizes_by_name = _user_sizes(model, shape, file)
    sizes_by_symbol: dict[str, int | str] = {}
    for value in model.graph.inputs:
        sizes_by_symbol |= _fix_input(value, sizes_by_name.get(str(value.name)), file)
    for graph in model.graphs():
        for value in (v for node in graph for v in node.outputs):
            if value.shape is not None:
                value.shape = ir.Shape(sizes_by_symbol.get(str(_symbol(d)), d) for d in value.shape)


def _user_sizes(model: ir.Model, shape: InputShape | None, file: Path) -> Mapping[str, tuple[int | str, ...]]:
    if shape is None:
        return {}
    names = [str(value.name) for value in model.graph.inputs]
    specs = {spec.name: spec.shape[1:] for spec in input_specs(shape, "float32")}
    if set(specs) == {INPUT} and len(names) == 1:
        return {names[0]: specs[INPUT]}
    if unknown := sorted(specs.keys() - set(names)):
        raise UsageError(f"--input {unknown[0]}=...: no such input; {file} takes {', '.join(names)}")
    return specs


def _fix_input(value: ir.Value, user_sizes: tuple[int | str, ...] | None, file: Path) -> dict[str, int | str]:
    """Fixes one input's shape.

    Returns:
        The value of each of its symbolic dimensions.
    """
    where = f"{file}: the input {value.name!r}"
    if value.shape is None or not isinstance(value.type, ir.TensorType) or value.dtype is ir.DataType.STRING:
        raise UsageError(f"{where} is not a tensor of numbers with a known number of axes")
    if not len(value.shape) or isinstance(value.shape[0], int):
        raise UsageError(
            f"{where} has the shape {form([str(d) for d in value.shape])} with a fixed batch; "
            "export it again with a dynamic batch (dynamic_axes or dynamic_shapes)"
        )
    sizes = user_sizes or tuple(d if isinstance(d, int) else "?" for d in value.shape[1:])
    fits = len(sizes) == len(value.shape) - 1 and all(
        size == d for size, d in zip(sizes, value.shape[1:], strict=True) if isinstance(d, int)
    )
    if not fits:
        raise UsageError(f"--input {form(sizes)}: {where} is {form([str(d) for d in value.shape[1:]])}")
    if "?" in sizes:
        free = form([str(d) for d in value.shape[1:]])
        raise UsageError(f"{where} has dynamic sizes {free}; set them, like --input 3x224x224")
    symbols = dict(zip([_symbol(d) for d in value.shape], (BATCH, *sizes), strict=True))
    value.shape = ir.Shape((BATCH, *sizes))
    return {symbol: size for symbol, size in symbols.items() if symbol is not None}


def _symbol(dimension: int | ir.SymbolicDim) -> str | None:
    return dimension.value if isinstance(dimension, ir.SymbolicDim) else None


def _spec(value: ir.Value) -> TensorSpec:
    sizes = [d if isinstance(d, int) else BATCH for d in value.shape or ()]
    dtype = value.dtype or ir.DataType.FLOAT
    return TensorSpec(str(value.name), dtype.numpy().name, tuple(sizes))


def _notes(model: ir.Model) -> list[str]:
    opset = model.opset_imports.get("", model.opset_imports.get("ai.onnx", onnx.defs.onnx_opset_version()))
    if opset >= OLDEST_OPSET:
        return []
    return [f"the graph has opset {opset}, below {OLDEST_OPSET}; onnxruntime runs it, so it is not converted"]
