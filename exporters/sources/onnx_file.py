"""Somebody's ``.onnx``."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

import onnx
import onnx_ir as ir
from google.protobuf.message import DecodeError  # type: ignore[import-untyped]
from onnx_ir.passes.common import ShapeInferencePass

from cnntk.exporters.source import InputShape, Source, SourceOptions
from cnntk.exporters.sources.console import suppress_output
from cnntk.exporters.sources.inputs import INPUT, form, input_specs
from cnntk.runtime.artifact.external import check_external_tensors, find_external_tensors
from cnntk.runtime.artifact.spec import METADATA_KEY, TensorSpec
from cnntk.runtime.errors import ArtifactCorrupt, UsageError
from cnntk.runtime.files import readable_file
from cnntk.runtime.session.devices import resolve_device
from cnntk.runtime.session.session_factory import SessionSettings, open_session

__all__ = ["OLDEST_OPSET", "from_onnx"]

OLDEST_OPSET = 18
"""Older graphs are kept as they are: converting a stranger's graph can change what it computes, or crash."""

BATCH = "N"

# What onnx_ir raises where the protobuf can be read and what it says makes no sense.
_DAMAGE = (DecodeError, ValueError, TypeError, LookupError, AttributeError, NotImplementedError)


def from_onnx(text: str, options: SourceOptions) -> Source:
    """The graph in the file, its batch called ``N`` and every other size fixed.

    Raises:
        UsageError: there is no such file, it is cnntk's own, its batch is fixed, or another size is free and
            was not given.
        ArtifactCorrupt: it not a valid ONNX file, or damaged.
        UnsupportedArtifact: onnxruntime can't run it.
    """
    if options.weights or options.kwargs or options.random:
        raise UsageError(
            f"{text}: an .onnx has weights of its own: leave out --weights, --kwargs and --random"
        )
    file = readable_file(text, "an ONNX model")
    check_external_tensors(find_external_tensors(str(file), str(file)), file, None, has_digest=False)
    model = _read(file)
    if METADATA_KEY in model.metadata_props:
        if not options.as_graph:
            raise UsageError(f"{file}: is an artifact already; use cnntk verify {file}")
        del model.metadata_props[METADATA_KEY]
    open_session(file, resolve_device("cpu"), SessionSettings(threads=1))
    constants = _drop_default_inputs(model)
    _settle_sizes(model, options.input_shape, file)
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
        raise ArtifactCorrupt(f"{file}: not a valid ONNX file, or damaged: {_line(error)}") from error
    if not model.graph.outputs or not model.opset_imports:
        raise ArtifactCorrupt(f"{file}: not a valid ONNX file, or damaged: it has no outputs or no opset")
    return model


def _line(error: Exception) -> str:
    return " ".join(str(error).split())[:200]


def _drop_default_inputs(model: ir.Model) -> list[str]:
    """Inputs with a default, as old files list every weight, become constants."""
    given = [v for v in model.graph.inputs if v.name in model.graph.initializers]
    for value in given:
        model.graph.inputs.remove(value)
    if not given or model.ir_version < 4:
        return []
    return [f"inputs with a default are constants now: {', '.join(str(v.name) for v in given)}"]


def _settle_sizes(model: ir.Model, given: InputShape | None, file: Path) -> None:
    """Calls the batch ``N`` and gives every other free size of an input its value, all over the graph."""
    if not model.graph.inputs:
        raise UsageError(f"{file}: takes no input")
    wanted = _wanted(model, given, file)
    known: dict[str, int | str] = {}
    for value in model.graph.inputs:
        known |= _settle(value, wanted.get(str(value.name)), file)
    for graph in model.graphs():
        for value in _values(graph):
            if value.shape is not None:
                value.shape = ir.Shape(known.get(str(_symbol(d)), d) for d in value.shape)


def _wanted(model: ir.Model, given: InputShape | None, file: Path) -> Mapping[str, tuple[int | str, ...]]:
    if given is None:
        return {}
    names = [str(value.name) for value in model.graph.inputs]
    specs = {spec.name: spec.shape[1:] for spec in input_specs(given, "float32")}
    if set(specs) == {INPUT} and len(names) == 1:
        return {names[0]: specs[INPUT]}
    if unknown := sorted(specs.keys() - set(names)):
        raise UsageError(f"--input {unknown[0]}=...: {file} takes {', '.join(names)}")
    return specs


def _settle(value: ir.Value, wanted: tuple[int | str, ...] | None, file: Path) -> dict[str, int | str]:
    """Fixes one input's shape; returns what its symbols stand for."""
    where = f"{file}: the input {value.name!r}"
    if value.shape is None or not isinstance(value.type, ir.TensorType) or value.dtype is ir.DataType.STRING:
        raise UsageError(f"{where} is no tensor of numbers with a known number of axes")
    if not len(value.shape) or isinstance(value.shape[0], int):
        raise UsageError(
            f"{where} has the shape {form([str(d) for d in value.shape])}, so its batch is fixed; "
            "export it again with a free batch (dynamic_axes or dynamic_shapes)"
        )
    sizes = wanted or tuple(d if isinstance(d, int) else "?" for d in value.shape[1:])
    fits = len(sizes) == len(value.shape) - 1 and all(
        size == d for size, d in zip(sizes, value.shape[1:], strict=True) if isinstance(d, int)
    )
    if not fits:
        raise UsageError(f"--input {form(sizes)}: {where} is {form([str(d) for d in value.shape[1:]])}")
    if "?" in sizes:
        free = form([str(d) for d in value.shape[1:]])
        raise UsageError(f"{where} leaves {free} free; say the size, like --input 3x224x224")
    symbols = dict(zip([_symbol(d) for d in value.shape], (BATCH, *sizes), strict=True))
    value.shape = ir.Shape((BATCH, *sizes))
    return {symbol: size for symbol, size in symbols.items() if symbol is not None}


def _symbol(dimension: int | ir.SymbolicDim) -> str | None:
    return dimension.value if isinstance(dimension, ir.SymbolicDim) else None


def _values(graph: ir.Graph) -> Iterator[ir.Value]:
    for node in graph:
        yield from node.outputs


def _spec(value: ir.Value) -> TensorSpec:
    sizes = [d if isinstance(d, int) else BATCH for d in value.shape or ()]
    dtype = value.dtype or ir.DataType.FLOAT
    return TensorSpec(str(value.name), dtype.numpy().name, tuple(sizes))


def _notes(model: ir.Model) -> list[str]:
    opset = model.opset_imports.get("", model.opset_imports.get("ai.onnx", onnx.defs.onnx_opset_version()))
    if opset >= OLDEST_OPSET:
        return []
    return [f"the graph is of opset {opset}, below {OLDEST_OPSET}; onnxruntime runs it, so it stays as it is"]
