"""An ``.onnx`` file that cnntk did not write."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from cnntk.exporters.checks._inputs import numpy_dtype
from cnntk.exporters.onnx_reader import read_onnx
from cnntk.exporters.options import INPUT, ExportOptions, InputShape
from cnntk.exporters.passes.graph import dimensions, fresh_name
from cnntk.exporters.session import Arrays
from cnntk.exporters.source import Source
from cnntk.exporters.sources._onnx_batch import BATCH, follow_batch
from cnntk.exporters.sources._onnx_opset import convert_opset, infer_shapes
from cnntk.exporters.sources.console import suppress_output
from cnntk.exporters.sources.inputs import form, input_specs, refuse_build_options
from cnntk.runtime.artifact.spec import METADATA_KEY, TensorSpec
from cnntk.runtime.errors import UsageError
from cnntk.runtime.files import model_file
from cnntk.runtime.session.devices import resolve_device
from cnntk.runtime.session.session_factory import SessionSettings, open_session

_OPTIONAL_INPUTS = 4
"""Oldest IR version in which a weight that is also an input is one that callers may replace."""

_OLDEST_IR = 8
"""IR version that belongs to opset 18."""


def from_onnx(text: str, options: ExportOptions) -> Source:
    """Opens the graph in the file, with its batch named ``N`` and every other size fixed.

    The graph has opset 18 or newer, and takes any batch, where a form with these properties computes the same
    as the file; else it keeps its opset or its batch.
    """
    refuse_build_options(f"{text}: an .onnx file contains its weights", options)
    file = model_file(text, "an ONNX file")
    open_session(file, resolve_device("cpu"), SessionSettings(threads=1))
    with suppress_output():
        model, left_out = read_onnx(file)
    if METADATA_KEY in model.metadata_props:
        raise UsageError(f"{file}: already an artifact; check it with cnntk verify {file}")
    constants = [*_drop_default_inputs(model), *_give_way(model)]
    batch = _fix_sizes(model, options.input_shape, file)
    infer_shapes(model)
    original, images = model.clone(), _images(model)
    producer = (model.producer_name, model.producer_version)
    model, converted = convert_opset(model, images)
    model, freed = follow_batch(original, model, batch, images)
    _check_outputs(model, file)
    return Source(
        name=file.stem,
        inputs=_specs(model),
        graph=model,
        original_graph=original,
        provenance={"onnx": file.name, "producer": " ".join(filter(None, producer))},
        notes=(*left_out, *constants, *converted, *freed),
    )


def _give_way(model: ir.Model) -> list[str]:
    """Renames inputs that have the names of a classifier's outputs."""
    renamed = [v for v in model.graph.inputs if v.name in ("logits", "probabilities")]
    for value in renamed:
        value.name = fresh_name(model.graph, f"{value.name}_input")
    names = ", ".join(str(v.name) for v in renamed)
    return [f"inputs are renamed, because outputs get their names: {names}"] if renamed else []


def _check_outputs(model: ir.Model, file: Path) -> None:
    """Where the batch is fixed, each output has it in front, so that a batch can be filled up."""
    batch = dimensions(model.graph.inputs[0]) or ("?",)
    for output in model.graph.outputs:
        shape = dimensions(output) or ()
        if isinstance(batch[0], int) and shape[:1] != batch[:1]:
            raise UsageError(
                f"{file}: the output {output.name!r} has shape [{', '.join(map(str, shape))}], expected the "
                f"fixed batch of {batch[0]} in front; export it with an axis for the batch"
            )


def _images(model: ir.Model) -> list[Arrays]:
    """Inputs of one image each: noise, which amplifies no rounding as flat images may."""
    rng = np.random.default_rng(0)
    return [{spec.name: _noise(rng, spec) for spec in _specs(model)} for _ in range(3)]


def _noise(rng: np.random.Generator, spec: TensorSpec) -> NDArray[Any]:
    pixels, dtype = rng.integers(0, 256, (1, *map(int, spec.shape[1:]))), numpy_dtype(spec.dtype)
    return (pixels / 127.5 - 1 if dtype.kind == "f" else pixels).astype(dtype)


def _drop_default_inputs(model: ir.Model) -> list[str]:
    """Makes constants of inputs with a default: old files list every weight as an input."""
    defaults = [v for v in model.graph.inputs if v.name in model.graph.initializers]
    for value in defaults:
        model.graph.inputs.remove(value)
    old = model.ir_version < _OPTIONAL_INPUTS
    model.ir_version = max(model.ir_version, _OLDEST_IR)
    if not defaults or old:
        return []
    return [f"inputs with a default became constants: {', '.join(str(v.name) for v in defaults)}"]


def _fix_sizes(model: ir.Model, shape: InputShape | None, file: Path) -> int | None:
    """Names a dynamic batch ``N`` and fixes every other dynamic size of an input, in the whole graph.

    Returns:
        The batch that the file fixes; None where it is dynamic.
    """
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
    batches = {v.name: v.shape[0] for v in model.graph.inputs if v.shape is not None}
    fixed = {d for d in batches.values() if isinstance(d, int)}
    if len(fixed) > 1:
        sizes = ", ".join(f"{name} {size}" for name, size in batches.items())
        raise UsageError(f"{file}: its inputs have different batch sizes: {sizes}; expected one for all")
    return next(iter(fixed), None)


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
    if value.shape is None and user_sizes is not None:
        value.shape = ir.Shape((None, *user_sizes))
    if value.shape is None or not isinstance(value.type, ir.TensorType) or value.dtype is ir.DataType.STRING:
        raise UsageError(f"{where} is not a tensor of numbers with a known number of axes")
    if not len(value.shape):
        raise UsageError(f"{where} is a single number; expected an axis for the batch")
    declared = tuple(_size(d) for d in value.shape)
    sizes = user_sizes or tuple(d if isinstance(d, int) else "?" for d in declared[1:])
    fits = len(sizes) == len(declared) - 1 and all(
        size == d for size, d in zip(sizes, declared[1:], strict=True) if isinstance(d, int)
    )
    if not fits:
        raise UsageError(f"--input {form(sizes)}: {where} is {_text(declared[1:])}")
    if "?" in sizes:
        raise UsageError(f"{where} has dynamic sizes {_text(declared[1:])}; set them, like --input 3x224x224")
    batch = declared[0] if isinstance(declared[0], int) else BATCH
    value.shape = ir.Shape((batch, *sizes))
    symbols = zip(declared, (batch, *sizes), strict=True)
    return {symbol: size for symbol, size in symbols if isinstance(symbol, str)}


def _size(dimension: int | ir.SymbolicDim) -> int | str | None:
    """A declared size: a number from 1, a name, or None for an open one, as -1 and 0 are by some tools."""
    size = dimension.value if isinstance(dimension, ir.SymbolicDim) else dimension
    return None if isinstance(size, int) and size < 1 else size or None


def _symbol(dimension: int | ir.SymbolicDim) -> str | None:
    return dimension.value if isinstance(dimension, ir.SymbolicDim) else None


def _text(sizes: Sequence[int | str | None]) -> str:
    return form(["?" if size is None else size for size in sizes])


def _specs(model: ir.Model) -> tuple[TensorSpec, ...]:
    return tuple(_spec(value) for value in model.graph.inputs)


def _spec(value: ir.Value) -> TensorSpec:
    sizes = [d if isinstance(d, int) else BATCH for d in value.shape or ()]
    dtype = value.dtype or ir.DataType.FLOAT
    return TensorSpec(str(value.name), dtype.numpy().name, tuple(sizes))
