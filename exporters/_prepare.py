"""From a source to a candidate: capture, passes, head."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

import onnx_ir as ir

from cnntk.exporters._float64_attributes import widen_attributes
from cnntk.exporters._head import HeadRecord, add_head, network_output, output_values
from cnntk.exporters._model_inputs import add_interface, takes_images
from cnntk.exporters._op_support import unsupported_op_error
from cnntk.exporters.capture import Captured, capture
from cnntk.exporters.checks._batch_axis import batch_axes, batch_first
from cnntk.exporters.checks._candidate import Candidate
from cnntk.exporters.checks._inputs import (
    FEW,
    KINDS,
    SAMPLES,
    CheckInputs,
    Samples,
    array_inputs,
    image_inputs,
)
from cnntk.exporters.checks.reference import (
    Float64Reference,
    GraphReference,
    ProgramReference,
    Reference,
    flatten_reference,
)
from cnntk.exporters.options import ExportOptions
from cnntk.exporters.passes import deterministic
from cnntk.exporters.passes.graph import epsilon
from cnntk.exporters.passes.infra import GraphPass, PassRecord
from cnntk.exporters.passes.order import PASSES, REPAIRS
from cnntk.exporters.passes.run import run_passes
from cnntk.exporters.shapes.shape_table import layer_table
from cnntk.exporters.source import Source
from cnntk.runtime.artifact.spec import Layer
from cnntk.runtime.errors import CaptureError, InferenceError, UsageError

_LARGE = 500_000_000
"""Multiply-adds of an image from which a network is checked on `FEW` inputs: float64 is slow."""


_HEAD_INPUTS = 4
"""Inputs on which the head of a large network is recognized, the most telling kinds."""


@dataclass(frozen=True)
class Prepared:
    """A candidate, and how it was made.

    Attributes:
        candidate: Graph with its reference and inputs.
        head: What the model was recognized as.
        passes: Outcome of each pass.
        layers: Layers of the graph.
    """

    candidate: Candidate
    head: HeadRecord
    passes: tuple[PassRecord, ...]
    layers: tuple[Layer, ...]


def prepare(source: Source, options: ExportOptions, samples: Samples | None = None) -> Prepared:
    """Captures a source, repairs and simplifies its graph, and adds its head and preprocessing.

    Args:
        source: Model to export.
        options: Options of the export.
        samples: The user's own inputs.

    Raises:
        CaptureError: torch can't capture the source, or onnxruntime has no kernels for its precision.
        ExportCheckError: Its softmax is applied twice, or over the batch.
        UsageError: The head or the preprocessing does not fit the model.
    """
    if options.static_size:
        _check_static_size(source, options)
    captured = capture(source)
    if captured.program is not None:
        widen_attributes(captured.model)
    large = sum(layer.multiply_adds for layer in layer_table(captured.model)) > _LARGE
    inputs = _inputs(source, samples, takes_images(source, options.preprocess), large)
    first, others = inputs.ordinary[:1], inputs.ordinary[1:3]
    batches = [inputs.select(numbers) for numbers in ([first] if large else [first, others])]
    try:
        model, passes = run_passes(captured.model, batches, _passes(options))
        names = {id(v): v.name for node in model.graph for v in node.outputs}
        head = _add_head(model, source, options, _HEAD_INPUTS if large else len(KINDS))
    except InferenceError as error:
        raise unsupported_op_error(source, captured.model, error) from error
    returned = tuple(v.name or "" for v in captured.model.graph.outputs)
    bodies = {v.name or "": network_output(v) for v in model.graph.outputs}
    outputs = {output: str(names[id(v)]) for output, v in bodies.items() if id(v) in names}
    flat = frozenset(v.name or "" for v in model.graph.outputs if v.shape != bodies[v.name or ""].shape)
    substitutions = {
        k: v for p in passes if p.status == "applied" for k, v in p.rewrites.substitutions.items()
    }
    candidate = Candidate(
        source=source,
        captured=captured,
        model=model,
        interface=add_interface(model, source, options, inputs.batch(2)),
        reference=flatten_reference(_reference(source, captured, outputs, substitutions), flat),
        inputs=_with_batch(inputs, options.batch),
        eps=max(_precision(model), _coarsest(model.graph.outputs, default=0.0)),
        module=None if substitutions else source.module,
        output_names=_output_names(
            returned, {node: output for output, node in outputs.items()}, head.softmax
        ),
        large=large,
        softmax_of_logits=head.softmax_of_logits,
        batch_axes=batch_axes(model),
        tolerance=options.tolerance or 0.0,
        samples=samples,
        skipped=tuple(line for p in passes for line in p.rewrites.skipped),
    )
    return Prepared(candidate, head, passes, layer_table(model))


def _passes(options: ExportOptions) -> tuple[GraphPass, ...]:
    """All passes, or those alone without which the model would be wrong."""
    return tuple(each for each in PASSES if options.simplify == "safe" or each.name in REPAIRS)


def _check_static_size(source: Source, options: ExportOptions) -> None:
    p = source.preprocessing
    if p is None or not takes_images(source, options.preprocess):
        raise UsageError(
            "--static-size fixes the size of an image input, but the file takes arrays, which have one size"
        )
    if p.levels != "uint8":
        raise UsageError(
            f"--static-size: {source.name} resizes to {p.levels} pixel values, but images are uint8; use "
            "--preprocess host"
        )


def _with_batch(inputs: CheckInputs, batch: int | None) -> CheckInputs:
    """The same inputs for a graph that takes only batches of this size."""
    if batch is None or batch == inputs.fixed_batch:
        return inputs
    if inputs.fixed_batch is not None:
        raise UsageError(f"--batch {batch}: the graph takes only batches of {inputs.fixed_batch}")
    return replace(inputs, batches=(batch,), fixed_batch=batch)


def _add_head(model: ir.Model, source: Source, options: ExportOptions, count: int) -> HeadRecord:
    """Recognizes the head from the outputs on ``count`` inputs, and adds it."""
    inputs = array_inputs(source.inputs, source.preprocessing, count)
    values = batch_first(output_values(model, inputs.arrays), batch_axes(model), count)
    return add_head(model, options.head, source.classifier, options.allow_double_softmax, values)


def _inputs(source: Source, samples: Samples | None, images: bool, large: bool) -> CheckInputs:
    limit = SAMPLES // 2 if large else SAMPLES
    count = FEW if large else len(KINDS)
    if images and source.preprocessing is not None:
        pixels = () if samples is None else samples.images[:limit]
        return image_inputs(source.inputs, source.preprocessing, count, pixels)
    arrays = None if samples is None else {name: array[:limit] for name, array in samples.arrays.items()}
    return array_inputs(source.inputs, source.preprocessing, count, arrays)


def _reference(
    source: Source, captured: Captured, outputs: dict[str, str], substitutions: dict[str, str]
) -> Reference:
    """A reference for every output of the graph that the captured program has by name."""
    if captured.program is None:
        original = source.original_graph or captured.model
        return GraphReference(deterministic(original) if substitutions else original, outputs)
    nodes = {node.name for node in captured.program.graph_module.graph.nodes}
    comparable = {output: node for output, node in outputs.items() if node in nodes}
    if not comparable:
        raise CaptureError(f"{source.name}: none of its outputs can be compared with torch's program")
    is_float64 = _precision(captured.model) == epsilon(ir.DataType.DOUBLE)
    kind = Float64Reference if is_float64 else ProgramReference
    return kind(captured.program, comparable, substitutions)


def _output_names(returned: tuple[str, ...], names: dict[str, str], softmax: str) -> tuple[str, ...]:
    """Names in the artifact of the module's outputs; the one that the head removed is a softmax."""
    missing = [name for name in returned if name not in names]
    return tuple(names.get(name, softmax if len(missing) == 1 else "") for name in returned)


def _precision(model: ir.Model) -> float:
    """The coarsest step of its weights; of its inputs where it has none; float32's where those are no floats.

    Scalars are left out: they are attributes of operators, and of any type.
    """
    weights = [v for v in model.graph.initializers.values() if v.shape is not None and len(v.shape)]
    return _coarsest(weights, default=_coarsest(model.graph.inputs, default=epsilon(ir.DataType.FLOAT)))


def _coarsest(values: Iterable[ir.Value], default: float) -> float:
    """The largest step of the values that are floats."""
    floats = (v.dtype for v in values if v.dtype is not None and v.dtype.is_floating_point())
    return max(map(epsilon, floats), default=default)
